/**
 * Point-in-time rollback: one new epoch whose pages restore the state of an earlier one.
 *
 * ```
 *  resolve the point ─► read its state from the store ─► compare it with the image   writes go on
 *        │
 *        ▼ the open batch is rejected; transactions are refused until what is in flight is durable
 *  seal: the pages that differ, under the system table of now                        one turn
 *        │
 *        ▼ PUT and acknowledgement like any epoch                                    writes go on above it
 * ```
 *
 * History stays as it is, so a rollback can be rolled back.
 */
import type { Clock } from "../base/clock.ts";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import type { Point } from "../history/point.ts";
import type { LongCallOptions } from "../history/progress.ts";
import type { DurableImage } from "../sqlite/image.ts";
import type { ReplicaState } from "../sqlite/replica-state.ts";
import { SamePages } from "../sqlite/rollback-wal.ts";
import { rollingBack } from "./batch.ts";
import type { Leadership } from "./leadership.ts";
import type { PendingRollback } from "./rollback-seal.ts";
import { type WaitOptions, withLimits } from "./waiting.ts";

/** What a rollback did. */
export interface Rollback {
  /** The newest epoch before it. */
  readonly from: number;
  /** The epoch whose state it restored. */
  readonly to: number;
  /** Its own epoch. */
  readonly epoch: number;
  /** Pages that it changed. */
  readonly pages: number;
}

/**
 * Limits of a rollback. Until it is sealed they give it up, and nothing is written; after that they end only the waiting
 * for it. `onProgress` is told of the reading of the old state, on the node that leads.
 */
export interface RollbackOptions extends WaitOptions, LongCallOptions {}

/** What rolling back needs of the node and its history. */
export interface RollbacksParts {
  readonly clock: Clock;
  /** The epoch that the node has reached. */
  epoch(): number;
  /** The image of that epoch. */
  image(): DurableImage;
  /** The epoch that a point means. */
  resolve(point: Point, signal: AbortSignal): Promise<number>;
  /** The state at an epoch, its image nobody else's. */
  readState(epoch: number, options: LongCallOptions & { readonly signal: AbortSignal }): Promise<ReplicaState>;
}

/** The rollbacks of a node while it leads. */
export class Rollbacks {
  readonly #parts: RollbacksParts;
  #isRunning = false;

  constructor(parts: RollbacksParts) {
    this.#parts = parts;
  }

  /** See `ClusterNode.rollback`. One at a time: each holds a second copy of the database. */
  async run(leadership: Leadership, point: Point, options: RollbackOptions): Promise<Rollback> {
    if (this.#isRunning) throw rollingBack("another rollback is under way");
    this.#isRunning = true;
    try {
      const beganMs = this.#parts.clock.monotonicMs();
      const pending = await this.#prepare(leadership, point, options);
      const { timeoutMs } = options;
      const elapsedMs = Math.round(this.#parts.clock.monotonicMs() - beganMs);
      const leftMs = timeoutMs === undefined ? undefined : timeoutMs - elapsedMs;
      return await this.#write(leadership, pending, { ...options, timeoutMs: leftMs });
    } finally {
      this.#isRunning = false;
    }
  }

  /** Everything that takes long, while transactions go on. */
  async #prepare(leadership: Leadership, point: Point, options: RollbackOptions): Promise<PendingRollback> {
    const { onProgress } = options;
    let prepared: PendingRollback | undefined;
    const { signal: own, timeoutMs } = options;
    const ending = own === undefined ? leadership.signal : AbortSignal.any([own, leadership.signal]);
    const what = `rollback to ${describePoint(point)}: reading its state`;
    try {
      await withLimits(this.#limits(what, { timeoutMs, signal: ending }), async (signal) => {
        const to = await this.#parts.resolve(point, signal);
        const target = await this.#parts.readState(to, { signal, onProgress });
        const same = await this.#compare(target, signal);
        // Nobody waits for it any more.
        if (signal.aborted) same.release();
        prepared = { target, same, pages: 0 };
      });
    } catch (error) {
      if (leadership.signal.aborted) throw leadershipOver(point, error);
      throw error;
    }
    return prepared as unknown as PendingRollback;
  }

  async #compare(target: ReplicaState, signal: AbortSignal): Promise<SamePages> {
    return await SamePages.find(this.#parts.image(), target.image, async () => {
      await new Promise<void>((resolve) => this.#parts.clock.soon(resolve));
      signal.throwIfAborted();
    });
  }

  async #write(leadership: Leadership, pending: PendingRollback, limits: WaitOptions): Promise<Rollback> {
    const to = pending.target.epoch;
    let epoch = 0;
    const durable = leadership.rollback(pending).finally(() => pending.same.release());
    durable.catch(() => {});
    try {
      await withLimits(this.#limits(`rollback to epoch ${to}`, limits), async () => {
        epoch = (await durable).epoch;
      });
    } catch (error) {
      throw failed(to, error);
    }
    return { from: epoch - 1, to, epoch, pages: pending.pages };
  }

  #limits(what: string, { timeoutMs, signal }: WaitOptions): Parameters<typeof withLimits>[0] {
    const { clock } = this.#parts;
    return { what, timeoutMs, signal, clock, epoch: () => this.#parts.epoch() };
  }
}

/** Text of a point for messages. */
export function describePoint(point: Point): string {
  if (point instanceof Date) return Number.isNaN(point.getTime()) ? "an invalid date" : point.toISOString();
  return typeof point === "number" ? `epoch ${point}` : JSON.stringify(point);
}

function leadershipOver(point: Point, cause: unknown): ClusterError {
  return new ClusterError(
    "fenced",
    "leadership_over",
    `cannot roll back to ${describePoint(point)}: the node gave up the leadership or lost it before anything was written; roll back again, through whoever leads now`,
    {},
    { cause },
  );
}

/** What a rollback that was submitted ends with. */
function failed(to: number, error: unknown): unknown {
  if (!isClusterError(error)) return error;
  if (error.kind === "not_leader") return leadershipOver(to, error);
  const { kind, code, details } = error;
  if (code === "wait_timeout") {
    return new ClusterError(
      "outcome_unknown",
      "rollback_unsettled",
      `the rollback to epoch ${to} goes on, its epoch was not durable in time: see whether the row "rollback" of a later epoch names it`,
      { ...details, to },
      { cause: error },
    );
  }
  const message = `cannot roll back to epoch ${to}: ${errorMessage(error)}`;
  return new ClusterError(kind, code, message, { ...details, to }, { cause: error });
}
