/** The `lbc` command: here, beside the nodes of a test, or in a process of its own, as users run it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import process from "node:process";
import { PassThrough, Readable } from "node:stream";
import { makeContext } from "../../src/cli/process-context.ts";
import { run } from "../../src/cli/program.ts";
import { commandOf, ROOT, type RuntimeName } from "./runtimes.ts";
import { within } from "./wait.ts";

const RUN_MAX_MS = 60_000;
const ENTRY = "src/cli/main.ts";

/** What a run of the command left behind. */
export interface LbcResult {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface LbcOptions {
  readonly runtime?: RuntimeName;
  /** `LBC_STORE`. */
  readonly store?: string | undefined;
  readonly environment?: Readonly<Record<string, string>>;
  /** Standard input; closed after it. */
  readonly input?: string;
  /** A file that is its standard output. */
  readonly stdout?: number;
}

/** Starts the command; its output goes into pipes. */
export function startLbc(args: readonly string[], options: LbcOptions = {}): ChildProcess {
  const [command, ...first] = commandOf(options.runtime ?? "node", ENTRY);
  const env = environmentOf(options);
  return spawn(command, [...first, ...args], { cwd: ROOT, env, stdio: ["pipe", options.stdout ?? "pipe", "pipe"] });
}

/** Runs the command in this process: everything of it but the process itself. */
export async function lbcHere(args: readonly string[], options: LbcOptions = {}): Promise<LbcResult> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const texts = [stdout, stderr].map((stream) => textOf(stream));
  const context = makeContext({
    stdin: Readable.from([Buffer.from(options.input ?? "")]),
    stdout,
    stderr,
    environment: { ...(options.store === undefined ? {} : { LBC_STORE: options.store }), ...options.environment },
    ending: new AbortController(),
    interruptibly: async (work) => work(),
  });
  const code = await within(`lbc ${args.join(" ")}`, run(context, args), RUN_MAX_MS);
  stdout.end();
  stderr.end();
  const [out = "", err = ""] = await Promise.all(texts);
  return { code, signal: null, stdout: out, stderr: err };
}

async function textOf(stream: Readable): Promise<string> {
  let text = "";
  for await (const chunk of stream) text += chunk;
  return text;
}

/** Runs the command to its end. */
export async function lbc(args: readonly string[], options: LbcOptions = {}): Promise<LbcResult> {
  const child = startLbc(args, options);
  child.stdin?.on("error", () => {});
  child.stdin?.end(options.input ?? "");
  return await ended(child, `lbc ${args.join(" ")}`);
}

/** Waits for the end. */
export async function ended(child: ChildProcess, what: string): Promise<LbcResult> {
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  const exit = new Promise<LbcResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  try {
    return await within(what, exit, RUN_MAX_MS);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** The JSON document that the command prints here, which must go well. */
export async function lbcJson<T>(args: readonly string[], options: LbcOptions = {}): Promise<T> {
  const { code, stdout, stderr } = await lbcHere([...args, "--json"], options);
  if (code !== 0) throw new Error(`lbc ${args.join(" ")} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** True if there is the program that makes terminals for tests; says so if not. */
export const hasTerminals: boolean = findScript();

function findScript(): boolean {
  try {
    execFileSync("script", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    console.warn("skipped: there is no script program on this machine to make a terminal with");
    return false;
  }
}

/** The command at a terminal. */
export class LbcTerminal {
  readonly exited: Promise<LbcResult>;
  readonly #child: ChildProcess;
  #screen = "";
  #seen = 0;

  constructor(args: readonly string[], options: LbcOptions = {}) {
    const command = [...commandOf(options.runtime ?? "node", ENTRY), ...args];
    const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
    const child = spawn("script", ["-qec", `stty cols 120; ${quoted}`, "/dev/null"], {
      cwd: ROOT,
      env: environmentOf(options),
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child = child;
    child.stdout.on("data", (chunk) => {
      this.#screen += chunk;
    });
    this.exited = ended(child, `lbc ${args.join(" ")} at a terminal`);
    this.exited.catch(() => {});
  }

  /** Everything that was shown. */
  get screen(): string {
    return this.#screen;
  }

  /** Types it as it is; Enter is `\r`, Ctrl-C `\x03`, Ctrl-D `\x04`. */
  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until the text is shown, after what was waited for before. */
  async shows(text: string): Promise<void> {
    for (const endMs = performance.now() + RUN_MAX_MS; ; ) {
      const found = this.#screen.indexOf(text, this.#seen);
      if (found >= 0) {
        this.#seen = found + text.length;
        return;
      }
      if (performance.now() > endMs) throw new Error(`never shown: ${JSON.stringify(text)}, but:\n${this.#screen}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function environmentOf({ store, environment }: LbcOptions): Record<string, string> {
  const inherited = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !/^(LBC_|AWS_|VITEST|NODE_ENV)/.test(entry[0]),
  );
  return { ...Object.fromEntries(inherited), ...(store === undefined ? {} : { LBC_STORE: store }), ...environment };
}
