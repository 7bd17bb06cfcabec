/** One member as the harness sees it: a process that is started, stopped and killed, and the way to it. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { Agent } from "node:http";
import process from "node:process";
import { createInterface } from "node:readline";
import { commandOf, ROOT, type RuntimeName } from "../../tests/support/runtimes.ts";
import { getJson, postJson } from "./http-client.ts";
import type { Link } from "./link.ts";
import { type MemberConfig, PATHS, type StateAnswer } from "./member-protocol.ts";

const SCRIPT = "scripts/chaos/member.ts";
const LEAVE_MAX_MS = 15_000;
const STATE_MAX_MS = 2000;
const STEP_DOWN_MAX_MS = 4000;
const SOCKETS_MAX = 64;

/** How a process ended that nobody had ended. */
export interface UnexpectedEnd {
  readonly member: string;
  readonly code: number | null;
  readonly signal: string | null;
}

export interface MemberParts {
  readonly name: string;
  readonly runtime: RuntimeName;
  readonly config: MemberConfig;
  readonly environment: Readonly<Record<string, string>>;
  readonly link: Link;
  readonly logFile: string;
  onUnexpectedEnd(end: UnexpectedEnd): void;
}

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  isExpectedToEnd: boolean;
  isOver: boolean;
}

export class Member {
  readonly name: string;
  readonly runtime: RuntimeName;
  readonly link: Link;
  /** Process ids of runs that were killed. */
  readonly killed: number[] = [];
  readonly #parts: MemberParts;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_MAX });
  #run: Run | undefined;
  #ready: Promise<unknown> = Promise.resolve();

  constructor(parts: MemberParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.runtime = parts.runtime;
    this.link = parts.link;
  }

  /** Resolves when the newest run has joined; never if it ends before. */
  get ready(): Promise<unknown> {
    return this.#ready;
  }

  get isRunning(): boolean {
    return this.#run !== undefined && !this.#run.isOver;
  }

  /** Where clients reach it: `direct`, or by the way of the other members. */
  urlOf(path: string, way: "direct" | "link"): string {
    return `http://${way === "direct" ? this.#parts.config.address : this.link.address}${path}`;
  }

  get agent(): Agent {
    return this.#agent;
  }

  start(): void {
    if (this.isRunning) return;
    const { runtime, config, environment, logFile } = this.#parts;
    const [command, ...args] = commandOf(runtime, SCRIPT);
    const log = openSync(logFile, "a");
    const child = spawn(command, args, {
      cwd: ROOT,
      stdio: ["pipe", "pipe", log],
      env: { ...process.env, ...environment },
    });
    closeSync(log);
    child.stdin?.on("error", () => {});
    child.stdin?.write(`${JSON.stringify(config)}\n`);
    const output = child.stdout as NonNullable<typeof child.stdout>;
    this.#ready = new Promise((resolve) => createInterface({ input: output }).once("line", resolve));
    const run: Run = {
      child,
      isExpectedToEnd: false,
      isOver: false,
      ended: new Promise((resolve) => {
        child.once("error", () => resolve());
        child.once("exit", (code, signal) => {
          run.isOver = true;
          if (!run.isExpectedToEnd) this.#parts.onUnexpectedEnd({ member: this.name, code, signal });
          resolve();
        });
      }),
    };
    this.#run = run;
  }

  async kill(): Promise<void> {
    const run = this.#expectEnd();
    if (run === undefined) return;
    if (run.child.pid !== undefined) this.killed.push(run.child.pid);
    run.child.kill("SIGKILL");
    await run.ended;
  }

  /** SIGTERM. @returns how long the graceful end took, and its exit code; killed if it takes too long */
  async leave(): Promise<{ readonly tookMs: number; readonly code: number | null }> {
    const beganMs = performance.now();
    const run = this.#expectEnd();
    if (run === undefined) return { tookMs: 0, code: 0 };
    run.child.kill("SIGTERM");
    const timer = setTimeout(() => void this.kill(), LEAVE_MAX_MS);
    await run.ended;
    clearTimeout(timer);
    return { tookMs: performance.now() - beganMs, code: run.child.exitCode };
  }

  /** SIGSTOP. @returns what lets it go on */
  pause(): (() => void) | undefined {
    const run = this.#run;
    if (run === undefined || run.isOver) return undefined;
    run.child.kill("SIGSTOP");
    return () => {
      if (!run.isOver) run.child.kill("SIGCONT");
    };
  }

  async state(withDigest: boolean = false, timeoutMs: number = STATE_MAX_MS): Promise<StateAnswer> {
    const url = this.urlOf(`${PATHS.state}${withDigest ? "?digest" : ""}`, "direct");
    return (await getJson(url, timeoutMs, this.#agent)) as StateAnswer;
  }

  async stepDown(): Promise<void> {
    await postJson(this.urlOf(PATHS.stepDown, "direct"), {}, STEP_DOWN_MAX_MS, this.#agent);
  }

  async close(): Promise<void> {
    await this.kill();
    this.#agent.destroy();
    await this.link.close();
  }

  #expectEnd(): Run | undefined {
    const run = this.#run;
    if (run === undefined || run.isOver) return undefined;
    run.isExpectedToEnd = true;
    return run;
  }
}
