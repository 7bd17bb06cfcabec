/** Transactions on their way to an epoch, and what becomes of them. */
import { type Deferred, defer } from "../base/deferred.ts";
import { ClusterError } from "../errors.ts";

/** An epoch that is in the store. */
export interface DurableEpoch {
  readonly epoch: number;
}

/** What `transaction` gives at once. */
export interface Ack<T> {
  /** What the transaction function returned. */
  readonly value: T;
  /**
   * Resolves when the transaction is in the store. Rejects with `fenced` or
   * `unavailable` if it was not written, with `outcome_unknown` if that cannot
   * be told.
   */
  readonly durable: Promise<DurableEpoch>;
}

/** Transactions that become durable together. */
export interface Batch {
  readonly durable: Deferred<DurableEpoch>;
  transactions: number;
  isSubmitted: boolean;
}

/** An empty one. */
export function newBatch(): Batch {
  return { durable: defer(), transactions: 0, isSubmitted: false };
}

/** The batch is full. */
export function overloaded(what: string, found: number, limit: number): ClusterError {
  return new ClusterError(
    "overloaded",
    "batch_full",
    `${found} ${what} wait for their epoch, the limit is ${limit}: wait for an ack`,
    { found, limit },
  );
}

/** Nobody can tell whether it was written. */
export function unknownOutcome(reason: string): ClusterError {
  return new ClusterError("outcome_unknown", "outcome_unknown", `the transaction may or may not be written: ${reason}`);
}

/** The node ended before it was sealed. */
export function nodeClosed(): ClusterError {
  return new ClusterError("closed", "node_closed", "the node was shut down: the transaction was not written");
}

/** The leadership ended before it was sealed. */
export function steppedDown(): ClusterError {
  return new ClusterError("fenced", "stepped_down", "the node gave up the leadership: the transaction was not written");
}

/** The leader rolled back before it was sealed. */
export function rolledBack(to: number): ClusterError {
  return new ClusterError(
    "fenced",
    "rolled_back",
    `the database is rolled back to epoch ${to}: the transaction was not written`,
    { to },
  );
}

/** Nothing is taken for the moment: a rollback is on its way. */
export function rollingBack(why: string): ClusterError {
  return new ClusterError("unavailable", "rolling_back", `${why}: try again when it is done`);
}
