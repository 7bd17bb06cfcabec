/** What `verify` finds out. */
import type { ByteProgress } from "./progress.ts";

/** What is wrong with an object. */
export type Problem =
  /** It should be there and is not. */
  | "missing"
  /** Its bytes are not what anybody wrote: cut, changed, or those of another object. */
  | "damaged"
  /** It is sound in itself, and contradicts the rest of the history. */
  | "contradicts"
  /** Nothing refers to it: left over. */
  | "orphan";

/** One thing that is wrong. */
export interface Finding {
  /** The object's key. */
  readonly object: string;
  readonly problem: Problem;
  /** In words: where, expected, found. */
  readonly reason: string;
  /** Whether it can be made good from the rest of the history; `repaired` if it was. */
  readonly repair: "repaired" | "repairable" | "impossible" | "unneeded";
  /** Whether points in time are lost by it, or only comfort. */
  readonly isHarmless: boolean;
}

/** Epochs from the first to the last, both included. */
export interface EpochSpan {
  readonly first: number;
  readonly last: number;
}

/** The outcome of `verify`. */
export interface VerifyReport {
  /** Every epoch in between was looked at. */
  readonly from: number;
  readonly to: number;
  /** Objects read, and their bytes. */
  readonly objects: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
  /** Epochs that cannot be restored, in order. */
  readonly lost: readonly EpochSpan[];
  /** What SQLite's integrity check says of the newest state: `ok`, or what is wrong; `undefined` if it was not asked. */
  readonly integrity: readonly string[] | "ok" | undefined;
  /** Every epoch between `from` and `to` can be restored, and the newest state is sound. */
  readonly isRestorable: boolean;
  readonly elapsedMs: number;
}

/** How far it has come. */
export interface VerifyProgress extends ByteProgress {
  readonly epoch: number;
  readonly headEpoch: number;
}
