/** Simulates many seeds in several processes. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Answer, Assignment } from "./worker.ts";

const WORKER = fileURLToPath(new URL("./worker.ts", import.meta.url));

/**
 * A process is exchanged after so many seeds. Node keeps an `AbortSignal.any` that somebody listens to for ever, and who
 * was killed in a simulation never stops listening: that holds his whole world.
 */
const SEEDS_PER_PROCESS = 400;

export interface FleetOptions {
  readonly processes: number;
  /** The next seed; `undefined` when there is none. */
  next(): Assignment | undefined;
  /** Gives false to end early. */
  onAnswer(answer: Answer): boolean;
  /** A process died over a seed. */
  onDeath(assignment: Assignment, reason: string): void;
}

/** Resolves when every seed is done, or `onAnswer` ended it. */
export async function runFleet(options: FleetOptions): Promise<void> {
  const fleet: Fleet = { children: new Set(), isOver: false };
  const runOneAfterTheOther = async () => {
    while (!fleet.isOver && !(await runProcess(options, fleet)));
  };
  await Promise.all(Array.from({ length: options.processes }, runOneAfterTheOther));
}

interface Fleet {
  readonly children: Set<ChildProcess>;
  isOver: boolean;
}

function end(fleet: Fleet): void {
  fleet.isOver = true;
  for (const child of fleet.children) if (child.connected) child.disconnect();
}

/** Gives whether it found no seed left. Rejects if the process does not even begin. */
function runProcess(options: FleetOptions, fleet: Fleet): Promise<boolean> {
  const { children } = fleet;
  return new Promise((resolve, reject) => {
    const child = fork(WORKER, { stdio: ["ignore", "inherit", "pipe", "ipc"] });
    let assignment: Assignment | undefined;
    let seeds = 0;
    let isReady = false;
    let isDone = false;
    let errors = "";
    children.add(child);
    child.stderr?.on("data", (bytes: Uint8Array) => {
      errors = (errors + new TextDecoder().decode(bytes)).slice(-4000);
    });
    const goOn = () => {
      assignment = seeds++ < SEEDS_PER_PROCESS ? options.next() : undefined;
      if (assignment === undefined) {
        isDone = seeds <= SEEDS_PER_PROCESS;
        if (child.connected) child.disconnect();
      } else {
        child.send(assignment);
      }
    };
    child.on("message", (message: Answer | "ready") => {
      assignment = undefined;
      isReady = true;
      if (message === "ready" || options.onAnswer(message)) goOn();
      else end(fleet);
    });
    child.on("exit", (code) => {
      children.delete(child);
      // One that was still about to begin when it was over cannot even say so.
      if (!isReady && !fleet.isOver) reject(new Error(`a process that simulates cannot begin:\n${errors}`));
      if (assignment !== undefined && code !== 0) options.onDeath(assignment, errors);
      resolve(isDone);
    });
  });
}
