/**
 * What clients asked for and what they were told: the evidence that checkers judge, whether a simulator or real
 * processes produced it.
 *
 * Every write adds its id to a log in the database, in the same transaction as whatever else it does; so the order of the
 * ids is the order of the writes, and any state is a list of ids.
 */

/** How fresh a read had to be: see `ClusterNode.sync`. */
export type ReadLevel = (typeof READ_LEVELS)[number];

/** All of them. */
export const READ_LEVELS = ["any", "atLeast", "maxStaleness", "linearizable"] as const;

/**
 * How an operation ended.
 *
 * | outcome | of a write | of a read |
 * |---|---|---|
 * | `ok` | acknowledged, with its epoch | answered |
 * | `not_written` | certainly without effect: refused, or reported as fenced | refused |
 * | `unknown` | perhaps: no answer, a time-out, a lost connection, `outcome_unknown` | no answer |
 */
export type Outcome = "ok" | "not_written" | "unknown";

interface OperationBase {
  /** Who asked. A client does one thing at a time, so its operations do not overlap. */
  readonly client: string;
  /** The run of a node that served it, as far as it is known. */
  readonly node: string | undefined;
  /** By one clock for all clients, in milliseconds. */
  readonly invokedAtMs: number;
  /** `Infinity` if there was no answer. */
  readonly endedAtMs: number;
  readonly outcome: Outcome;
}

/** A transaction. */
export interface WriteOperation extends OperationBase {
  readonly type: "write";
  /** Unique over all operations; what the log holds. */
  readonly id: string;
  /** Of an acknowledged one. */
  readonly epoch: number | undefined;
}

/** What the database showed. */
export interface ReadOperation extends OperationBase {
  readonly type: "read";
  readonly level: ReadLevel;
  /** Of level `atLeast`. */
  readonly atLeast: number | undefined;
  /** Of level `maxStaleness`. */
  readonly maxStalenessMs: number | undefined;
  /** The epoch that the node showed; of answered ones. */
  readonly epoch: number | undefined;
  /** The log as it was read: of answered ones. */
  readonly ids: readonly string[] | undefined;
}

export type Operation = WriteOperation | ReadOperation;

/** What the history in the store says afterwards, epoch by epoch, whoever asks: the truth that operations are held against. */
export interface Timeline {
  /** The first that can be read; absent for 0. What was trimmed before it cannot be judged. */
  readonly earliestEpoch?: number;
  readonly newestEpoch: number;
  /**
   * The epochs that were rollbacks, each with the one whose state it restored; absent if there were none. Only they may
   * make the log shorter: anywhere else an entry that vanishes is a write that was lost.
   */
  readonly rollbacks?: ReadonlyMap<number, number>;
  /** The log as of an epoch, for every one from the earliest to the newest. Asked for each once or more, so it should be quick. */
  idsAt(epoch: number): readonly string[];
  /**
   * The epochs whose transactions wrote this id: one, for a write that took effect once. Of what the log of the earliest
   * epoch holds, that epoch.
   */
  epochsOf(id: string): readonly number[];
}

/** A promise that was broken. */
export interface Violation {
  /** The rule, e.g. `acknowledged write is missing`. */
  readonly rule: string;
  /** The promise of docs/architecture.md §1, e.g. `P1`, or the section that promises it, e.g. `§7`. */
  readonly promise: string;
  /** With ids, epochs and times. */
  readonly text: string;
}
