/** Something that goes wrong for a while. */
import type { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import type { Cluster } from "./cluster.ts";

/** Faults of different lanes happen at the same time, those of one lane one after the other. */
export type Lane = "process" | "restart" | "pause" | "network" | "store";

export interface FaultContext {
  readonly cluster: Cluster;
  readonly random: SeededRandom;
  readonly sessionTimeoutMs: number;
  /** Aborts when faults are over. */
  readonly signal: AbortSignal;
  /** A time between the two, or less if faults are over. */
  pause(minMs: number, maxMs: number): Promise<void>;
}

export interface Fault {
  readonly name: string;
  readonly lane: Lane;
  /** Begins it, waits, ends it: afterwards everything is as before, also if it was cut short. @returns to whom it was done; `undefined` if it could not be done */
  run(context: FaultContext): Promise<string | undefined>;
}
