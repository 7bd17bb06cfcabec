/** Making a node's database as fresh as somebody asks for (docs/architecture.md §7). */
import { type ClockReading, readClock } from "../base/clock.ts";
import { ClusterError, errorMessage } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { listObjects } from "../history/listing.ts";
import { expectManyListeners } from "../platform/listeners.ts";
import { sleep } from "../platform/sleep.ts";
import { backoffMs, elapsedMs, type Instant, instantOf } from "../protocol/moment.ts";
import type { DurableEpoch } from "./batch.ts";
import { EpochWaiters } from "./epoch-waiters.ts";
import type { NodeParts } from "./parts.ts";

/** How fresh `sync` makes the node. */
export type SyncLevel =
  /** This epoch or a later one: read your writes, with the epoch that an ack gave. */
  | { readonly atLeast: number }
  /** Everything that was durable so many milliseconds before `sync` was called. */
  | { readonly maxStalenessMs: number }
  /** Everything that was durable anywhere when `sync` was called. */
  | "linearizable";

export interface SyncingNode {
  epoch(): number;
  /** As the leader: how long ago, at the most, somebody else could have gone on; `undefined` for who does not lead. */
  leadingProvenAgeMs(): number | undefined;
  /** When the database was last found to hold all that there is. */
  provenAt(): Instant;
  /** How long ago an epoch was applied. */
  silentMs(): number;
  /** The newest epoch that the leader's stream told of; -1 if there is none. */
  offeredEpoch(): number;
  /** An epoch of the leader's that begins after the call. */
  barrier(signal: AbortSignal, timeoutMs: number): Promise<DurableEpoch>;
  /** Somebody waits for this epoch. */
  want(epoch: number, untilMs: number): void;
}

interface Proof {
  readonly began: Instant;
  readonly done: Promise<void>;
}

/** Names the call in errors, after checking what it asks for. */
export function describeLevel(level: SyncLevel): string {
  if (level === "linearizable") return "sync(linearizable)";
  // Not every caller has a compiler.
  const { atLeast, maxStalenessMs } = (level ?? {}) as {
    readonly atLeast?: unknown;
    readonly maxStalenessMs?: unknown;
  };
  if (typeof maxStalenessMs === "number" && maxStalenessMs >= 0) return `sync(maxStalenessMs ${maxStalenessMs})`;
  if (typeof atLeast === "number" && Number.isSafeInteger(atLeast)) return `sync(atLeast ${atLeast})`;
  throw new ClusterError(
    "invalid",
    "bad_sync_level",
    `cannot sync to ${JSON.stringify(level)}: give { atLeast: epoch }, { maxStalenessMs: milliseconds } or "linearizable"`,
  );
}

export class Syncing {
  readonly #parts: NodeParts;
  readonly #node: SyncingNode;
  readonly #waiters = new EpochWaiters();
  readonly #closing = new AbortController();
  #proof: Proof | undefined;

  constructor(parts: NodeParts, node: SyncingNode) {
    this.#parts = parts;
    this.#node = node;
    expectManyListeners(this.#closing.signal);
  }

  /** Resolves when the node is as fresh as that. */
  async sync(level: SyncLevel, caller: AbortSignal, timeoutMs: number): Promise<void> {
    const signal = AbortSignal.any([caller, this.#closing.signal]);
    if (level === "linearizable")
      await this.#reach((await this.#node.barrier(signal, timeoutMs)).epoch, signal, timeoutMs);
    else if ("atLeast" in level) await this.#reach(level.atLeast, signal, timeoutMs);
    else await this.#freshen(level.maxStalenessMs, signal, timeoutMs);
  }

  /** The node is at this epoch now. */
  reached(epoch: number): void {
    this.#waiters.reached(epoch);
  }

  /** Rejects everyone who waits. */
  close(reason: unknown): void {
    this.#closing.abort(reason);
    this.#waiters.close(reason);
  }

  async #reach(epoch: number, signal: AbortSignal, timeoutMs: number): Promise<void> {
    if (this.#node.epoch() >= epoch) return;
    this.#node.want(epoch, this.#nowMs() + timeoutMs);
    await this.#waiters.wait(epoch, signal);
  }

  async #freshen(maxStalenessMs: number, signal: AbortSignal, timeoutMs: number): Promise<void> {
    const called = this.#now();
    // By both clocks: one of them does not tell for how long the machine was suspended.
    const isFresh = (instant: Instant) => elapsedMs(instant, called) <= maxStalenessMs;
    const leadingAgeMs = this.#node.leadingProvenAgeMs();
    if (leadingAgeMs !== undefined) {
      if (leadingAgeMs > maxStalenessMs) await this.#node.barrier(signal, timeoutMs);
      return;
    }
    const { clock, random, retryBaseMs, retryMaxMs } = this.#parts.settings;
    for (let failures = 0; !isFresh(this.#node.provenAt()); ) {
      // One question serves everyone to whom it is recent enough.
      if (this.#proof === undefined || !isFresh(this.#proof.began)) this.#proof = this.#prove(signal, timeoutMs);
      const proof = this.#proof;
      try {
        await proof.done;
        return;
      } catch (error) {
        if (this.#proof === proof) this.#proof = undefined;
        // Else the store failed, or it was somebody else's signal that ended it.
        if (signal.aborted) throw error;
        this.#parts.log({ level: "debug", event: "sync_failed", reason: errorMessage(error) });
        await sleep(clock, backoffMs(++failures, retryBaseMs, retryMaxMs, random.fraction()), signal);
      }
    }
  }

  #prove(signal: AbortSignal, timeoutMs: number): Proof {
    return { began: instantOf(this.#now()), done: this.#readAll(signal, timeoutMs) };
  }

  /** Reaches the newest epoch that the store has at this moment. */
  async #readAll(signal: AbortSignal, timeoutMs: number): Promise<void> {
    const { store } = this.#parts;
    const epoch = this.#node.epoch();
    // Looked at when the answer is here: what is missing after a pause may have been there, and be trimmed.
    if (this.#isRecent(epoch) && !(await store.head(walKey(epoch + 1), { signal })) && this.#isRecent(epoch)) return;
    const later = await listObjects(store, walKey(epoch), signal);
    const newest = later.reduce((max, one) => (one.kind === "wal" ? Math.max(max, one.epoch) : max), epoch);
    await this.#reach(newest, signal, timeoutMs);
  }

  /** Whether an epoch that followed this one could not be trimmed yet. */
  #isRecent(epoch: number): boolean {
    return this.#node.silentMs() <= this.#parts.settings.sessionTimeoutMs && this.#node.offeredEpoch() <= epoch;
  }

  #nowMs(): number {
    return this.#parts.settings.clock.monotonicMs();
  }

  #now(): ClockReading {
    return readClock(this.#parts.settings.clock);
  }
}
