import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished } from "vitest";
import type { NodeStatus } from "../../src/node/status.ts";
import { commandOf, ROOT, RUNTIMES, type RuntimeName } from "./runtimes.ts";
import { until, within } from "./wait.ts";

export { RUNTIMES, type RuntimeName };
export const SESSION_TIMEOUT_MS = 2500;

const START_MAX_MS = 30_000;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One `examples/lol_cluster.ts` in a process of its own, killed when the test ends. */
export class Lol {
  readonly exited: Promise<Exit>;
  output = "";
  errors = "";
  url = "";
  readonly #child: ChildProcess;
  #exit: Exit | undefined;

  constructor(runtime: RuntimeName, args: readonly string[]) {
    const [command, ...rest] = commandOf(runtime, "examples/lol_cluster.ts");
    const env = { ...process.env, NO_COLOR: undefined, FORCE_COLOR: undefined };
    const child = spawn(command, [...rest, ...args], {
      cwd: ROOT,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    child.stdout.on("data", (chunk) => {
      this.output += chunk;
    });
    child.stderr.on("data", (chunk) => {
      this.errors += chunk;
    });
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
    onTestFinished(() => this.kill());
  }

  /** Waits for its address. */
  async listening(): Promise<this> {
    const found = await until(
      "the joining",
      () => {
        if (this.#exit !== undefined) throw new Error(`it ended: ${JSON.stringify(this.#exit)} ${this.errors}`);
        return /Listening on (http:\S+)/.exec(this.output)?.[1];
      },
      START_MAX_MS,
    );
    this.url = found as string;
    return this;
  }

  /** By its id: on Deno `ChildProcess.kill` sends nothing after a first signal. */
  signal(signal: NodeJS.Signals): void {
    if (this.#exit === undefined && this.#child.pid !== undefined) process.kill(this.#child.pid, signal);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.exited;
  }

  async status(): Promise<NodeStatus> {
    return (await (await this.fetch("/.lbc/status")).json()) as NodeStatus;
  }

  async isLeading(): Promise<boolean> {
    return (await this.status()).is_leader;
  }

  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    try {
      return await fetch(`${this.url}${path}`, { signal: AbortSignal.timeout(20_000), ...init });
    } catch (error) {
      // A connection ends a moment before the process that held it is seen to have ended.
      await sleep(500);
      if (this.#exit === undefined) throw error;
      throw new Error(`it ended: ${JSON.stringify(this.#exit)} ${this.errors}`, { cause: error });
    }
  }

  /** What it said, without the time stamps; tables are as they are. */
  get lines(): string[] {
    return this.output.split("\n").map((line) => line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /, ""));
  }
}

/** A node in `directory`, as soon as it listens. */
export function startNode(
  runtime: RuntimeName,
  command: "leader" | "follower",
  directory: string,
  args: readonly string[] = [],
): Promise<Lol> {
  const timing = ["--heartbeat-ms", "300", "--session-timeout-ms", String(SESSION_TIMEOUT_MS)];
  return new Lol(runtime, ["-p", directory, "-a", "127.0.0.1:0", ...timing, ...args, command]).listening();
}

/** Runs it to its end. */
export async function runLol(
  args: readonly string[],
  runtime: RuntimeName = "bun",
): Promise<Exit & { output: string; errors: string }> {
  const lol = new Lol(runtime, args);
  const exit = await within(`lol_cluster ${args.join(" ")}`, lol.exited, START_MAX_MS);
  return { ...exit, output: lol.output, errors: lol.errors };
}

/** What became of elements that were appended, one after the other, by several writers at once. */
export class Appender {
  readonly acknowledged: string[] = [];
  readonly refused: string[] = [];
  readonly #stop = new AbortController();
  readonly #writers: Promise<void>[];

  constructor(node: Lol, key: string, writers: number) {
    this.#writers = Array.from({ length: writers }, (_, writer) => this.#write(node, key, writer));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#writers);
  }

  async #write(node: Lol, key: string, writer: number): Promise<void> {
    for (let count = 0; !this.#stop.signal.aborted; count++) {
      const element = `${writer}-${count}`;
      const response = await node.fetch(`/append/${key}`, { method: "POST", body: element }).catch(() => undefined);
      (response?.ok ? this.acknowledged : this.refused).push(element);
      await response?.arrayBuffer().catch(() => {});
      await sleep(5);
    }
  }
}

/** A server of something else. */
export async function occupyPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return (server.address() as { port: number }).port;
}
