/** Nodes in processes of their own, as tests and benchmarks start them. */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import type { AgentAnswer, AgentCommand, AgentCommands, AgentConfig, AgentReady } from "./agent-protocol.ts";
import { commandOf, ROOT, type RuntimeName } from "./runtimes.ts";
import { within } from "./wait.ts";

const START_MAX_MS = 40_000;
/** An answer that takes longer is none. */
const ANSWER_MAX_MS = 60_000;
const SCRIPT = "tests/e2e/fixtures/agent.ts";

/** How a process ended. */
export interface AgentExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What the agent answered instead of a result. */
export class AgentError extends Error {
  readonly kind: string;
  readonly code: string;

  constructor({ kind, code, message }: NonNullable<AgentAnswer["error"]>, what: string) {
    super(`${what}: ${message}`);
    this.kind = kind;
    this.code = code;
  }
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

/** One `fixtures/agent.ts`. */
export class AgentProcess {
  readonly runtime: RuntimeName;
  readonly exited: Promise<AgentExit>;
  uuid = "";
  address = "";
  readonly #child: ChildProcess;
  readonly #ready: Promise<AgentReady>;
  readonly #waiting = new Map<number, Waiting>();
  #requests = 0;
  #errors = "";
  #exit: AgentExit | undefined;

  /** @param prefix a command that runs the agent's command, e.g. inside a network namespace */
  constructor(runtime: RuntimeName, prefix: readonly string[] = []) {
    this.runtime = runtime;
    const [command = "", ...args] = [...prefix, ...commandOf(runtime, SCRIPT)];
    const child = spawn(command, args, { cwd: ROOT, stdio: ["pipe", "pipe", "pipe"] });
    this.#child = child;
    child.stdin.on("error", () => {});
    child.stderr.on("data", (chunk) => {
      this.#errors += chunk;
    });
    this.#ready = new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).on("line", (line) => this.#take(line, resolve));
      child.once("error", reject);
      child.once("close", () => reject(this.#ended()));
    });
    this.#ready.catch(() => {});
    this.exited = new Promise((resolve) => {
      child.once("close", (code, signal) => {
        this.#exit = { code, signal };
        for (const { reject } of this.#waiting.values()) reject(this.#ended());
        this.#waiting.clear();
        resolve(this.#exit);
      });
    });
  }

  /** What it said on standard error. */
  get errors(): string {
    return this.#errors;
  }

  /** Joins; once. */
  async join(config: AgentConfig): Promise<this> {
    this.#child.stdin?.write(`${JSON.stringify(config)}\n`);
    const { uuid, address } = await within(`the joining on ${this.runtime}`, this.#ready, START_MAX_MS);
    this.uuid = uuid;
    this.address = address;
    return this;
  }

  /** @throws AgentError what went wrong there; Error if the process ended before it answered */
  async ask<Name extends AgentCommand>(
    command: Name,
    ...[args]: Record<never, never> extends AgentCommands[Name]["args"]
      ? [args?: AgentCommands[Name]["args"]]
      : [args: AgentCommands[Name]["args"]]
  ): Promise<AgentCommands[Name]["result"]> {
    if (this.#exit !== undefined) throw this.#ended();
    this.#requests++;
    const id = this.#requests;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#child.stdin?.write(`${JSON.stringify({ id, command, args: args ?? {} })}\n`);
    const result = await within(`the answer to ${command} on ${this.runtime}`, answer, ANSWER_MAX_MS);
    return result as AgentCommands[Name]["result"];
  }

  /** SIGSTOP: it hears nothing and says nothing, its connections stay open. */
  pause(): void {
    this.#signal("SIGSTOP");
  }

  /** SIGCONT. */
  resume(): void {
    this.#signal("SIGCONT");
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<void> {
    this.#signal("SIGKILL");
    await this.exited;
  }

  /** By its id: on Deno `ChildProcess.kill` sends nothing after a first signal. */
  #signal(signal: NodeJS.Signals): void {
    if (this.#exit === undefined && this.#child.pid !== undefined) process.kill(this.#child.pid, signal);
  }

  #take(line: string, onReady: (ready: AgentReady) => void): void {
    const message = JSON.parse(line) as AgentAnswer & { readonly ready?: AgentReady };
    if (message.ready !== undefined) {
      onReady(message.ready);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error === undefined) waiting?.resolve(message.result);
    else waiting?.reject(new AgentError(message.error, this.runtime));
  }

  #ended(): Error {
    return new Error(`the agent on ${this.runtime} ended: ${JSON.stringify(this.#exit)} ${this.#errors}`);
  }
}
