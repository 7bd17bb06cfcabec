/** What a check of the doctor is, and what it works with. */
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { ClusterSettings } from "../../config.ts";
import type { ObjectStore } from "../../store/store.ts";
import type { CheckName, DoctorFinding } from "./finding.ts";
import type { Scratch } from "./scratch.ts";

export interface CheckParts {
  readonly store: ObjectStore;
  /** Another way to the same objects, as another process has it; the same store where there is none. */
  readonly otherHandle: ObjectStore;
  /** Gives the keys that a check may write. */
  readonly scratch: Scratch;
  /** A cluster's *defaults* on this store. */
  readonly settings: ClusterSettings;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Tells how far the check has come. */
  readonly onStep: (done: number, total: number) => void;
}

export interface Check {
  readonly name: CheckName;
  /** What it is when the check cannot be finished: a proof that is missing, or only a measurement. */
  readonly verdictIfFailed: "warning" | "bad";
  run(parts: CheckParts): Promise<readonly DoctorFinding[]>;
}

/** Small objects: about what an epoch with one little write has. */
export const SMALL_BYTES = 4096;

/** Runs `work` for each item, a few at a time. Waits for those under way before it throws. */
export async function inParallel<T>(
  items: readonly T[],
  inFlightMax: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < items.length && !failed) {
      try {
        await work(items[next++] as T);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: inFlightMax }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}
