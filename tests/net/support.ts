import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { commandOf, ROOT, RUNTIMES, type RuntimeName } from "../support/runtimes.ts";

export { RUNTIMES, type RuntimeName };

/** A child that has not said what it should by then is killed. */
const CHILD_TIMEOUT_MS = 30_000;

/** What runs these tests. */
export function currentRuntime(): RuntimeName {
  if ("Deno" in globalThis) return "deno";
  return "Bun" in globalThis ? "bun" : "node";
}

/** A fixture that runs in a process of its own. */
export class Child {
  readonly process: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  readonly #lines: AsyncIterator<string>;
  #stderr = "";
  #ended = false;

  constructor(runtime: RuntimeName, script: string, args: readonly (string | number)[] = []) {
    const [command, ...rest] = commandOf(runtime, `tests/net/fixtures/${script}`);
    this.process = spawn(command, [...rest, ...args.map(String)], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
    const { stderr, stdout } = this.process;
    if (stdout === null || stderr === null) throw new Error("the child has no pipes");
    stderr.on("data", (chunk) => {
      this.#stderr += chunk;
    });
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
    this.exited = new Promise((resolve) => {
      this.process.once("exit", (code, signal) => {
        this.#ended = true;
        resolve({ code, signal });
      });
    });
    const timer = setTimeout(() => this.kill(), CHILD_TIMEOUT_MS);
    void this.exited.then(() => clearTimeout(timer));
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The next line of its output, parsed. */
  async line<T>(): Promise<T> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error(`the child ended without saying anything: ${this.#stderr}`);
    return JSON.parse(value) as T;
  }

  /** kill -9, and waits for the end. */
  async kill(): Promise<void> {
    // By its id: on Deno 2.9.6 `ChildProcess.kill` sends nothing after a first signal, not even after SIGSTOP.
    if (!this.#ended && this.process.pid !== undefined) process.kill(this.process.pid, "SIGKILL");
    await this.exited;
  }
}

/** Waits until `condition` holds; fails after a generous while. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error(`it never happened: ${what}`);
}

/** A promise with its handles. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
