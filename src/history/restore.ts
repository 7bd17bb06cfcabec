/**
 * Builds a database from the bucket: the newest one to join, or that of an earlier epoch (docs/architecture.md §5).
 * Nothing of it is shown to readers before it is complete and proven.
 *
 * What is read proves itself step by step (`restore-walk.ts`). What turns out wrong is left aside for another way; where
 * it is one of several objects, each is looked at by itself, and where even that does not tell, one after the other is
 * left aside.
 */
import { type Clock, readClock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { ClusterSettings } from "../config.ts";
import { ClusterError, isClusterError } from "../errors.ts";
import { packKey, snapshotKey, walKey } from "../format/keys.ts";
import { elapsedMs, type Instant, instantOf, readInstant, TRIM_AGE_MIN_MS } from "../protocol/moment.ts";
import {
  firstMissing,
  type HistoryObjects,
  newestEpoch,
  planRestore,
  type RestorePlan,
  type RestoreStep,
} from "../protocol/restore-plan.ts";
import type { ReplicaState, SystemReader } from "../sqlite/replica-state.ts";
import type { ObjectStore } from "../store/store.ts";
import { discoverAll, discoverFrom, isPackInStore, packsBeyond } from "./discover.ts";
import { findSnapshotUpTo, readSnapshotMarker, readVacuumMarker } from "./listing.ts";
import { ObjectGone } from "./object-gone.ts";
import type { ByteProgress } from "./progress.ts";
import { RestoreWalk, type Suspects } from "./restore-walk.ts";

/** How often a restore starts over because objects went away under it, or nothing proves what it has read. */
const ATTEMPTS_MAX = 5;
/** Ways that are tried before a restore gives up. */
const WALKS_MAX = 200;

/** How far a restore has come. */
export interface JoinProgress extends ByteProgress {
  /** The epoch reached, of the newest that is known. */
  readonly epoch: number;
  readonly headEpoch: number;
}

/** What a restore may take, and how long it may. */
export interface RestoreLimits {
  readonly parallel: number;
  readonly bytesMax: number;
  readonly clock: Clock;
  /** How long the cluster keeps its history. */
  readonly retentionMs: number;
}

/** As a cluster is set. */
export function restoreLimits(settings: ClusterSettings): RestoreLimits {
  const { fetchParallel: parallel, fetchBytesMax: bytesMax, clock, retentionMs } = settings;
  return { parallel, bytesMax, clock, retentionMs };
}

export interface RestoreParts extends RestoreLimits {
  readonly store: ObjectStore;
  readonly system: SystemReader;
  readonly log: Log;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: JoinProgress) => void) | undefined;
  /** The epoch to restore; without it the newest. */
  readonly upTo?: number | undefined;
}

export interface Restored {
  readonly state: ReplicaState;
  /** Age of the newest epoch by the store's clock. */
  readonly newestAgeMs: number;
  /** What it started from. */
  readonly base: RestorePlan["base"];
  /** What was applied to the base. */
  readonly steps: readonly RestoreStep[];
  /** False if nothing after it tells whether the state is right. */
  readonly isProven: boolean;
}

/** Of the newest epoch. */
export interface RestoredAt extends Restored {
  /** As of when nothing after the epoch was trimmed. */
  readonly readAt: Instant;
}

/**
 * Reads the newest state there is, or that of an epoch.
 *
 * @throws ClusterError `invalid`/`not_initialized` if the store holds no cluster, `invalid`/`point_in_future`,
 *   `corrupt` if no undamaged way leads to the epoch, `unavailable`/`restore_too_slow` if what it reads is trimmed
 *   before it is through
 */
export async function restore(parts: RestoreParts): Promise<RestoredAt> {
  let unproven: Unproven | undefined;
  for (let attempt = 1; ; attempt++) {
    const began = instantOf(readClock(parts.clock));
    try {
      const found = await new Restore(parts).run();
      const restored = { ...found, readAt: readInstant(began, parts.retentionMs, readClock(parts.clock)) };
      if (elapsedMs(restored.readAt, readClock(parts.clock)) > TRIM_AGE_MIN_MS) throw new ReadTooLong();
      if (restored.isProven) return restored;
      const again = describeUnproven(restored);
      // What is damaged on the way is damaged in another way each time.
      if (isSame(unproven, again)) return restored;
      if (attempt === ATTEMPTS_MAX) throw unreliable(again);
      unproven = again;
    } catch (error) {
      if (!(error instanceof ObjectGone || error instanceof ReadTooLong)) throw error;
      if (attempt === ATTEMPTS_MAX) throw error.toClusterError();
      parts.log({ level: "info", event: "restore_restarted", attempt, reason: error.message });
    }
  }
}

/** So long that what was read last may be an epoch that was trimmed, and created again by a leader that was away. */
class ReadTooLong extends Error {
  constructor() {
    super("what was read may have been trimmed meanwhile");
  }

  toClusterError(): ClusterError {
    const text = `reading the newest state takes about as long as history is kept, ${ATTEMPTS_MAX} times: a faster way to the store is needed, or a longer retentionMs`;
    return new ClusterError("unavailable", "restore_too_slow", text);
  }
}

/** A state that nothing in the store speaks for. */
interface Unproven {
  readonly epoch: number;
  readonly stateChecksum: string;
}

function describeUnproven({ state }: Restored): Unproven {
  return { epoch: state.epoch, stateChecksum: state.image.stateChecksum };
}

function isSame(one: Unproven | undefined, other: Unproven): boolean {
  return one?.epoch === other.epoch && one.stateChecksum === other.stateChecksum;
}

function unreliable({ epoch }: Unproven): ClusterError {
  const text = `epoch ${epoch} cannot be proven, and what is read differs each time: the store, or the way to it, damages objects`;
  return new ClusterError("corrupt", "history_unproven", text, { epoch });
}

/** One attempt. */
class Restore {
  readonly #parts: RestoreParts;
  /** Objects found to be wrong. */
  readonly #refused = new Set<string>();
  /** Packs that are no part of this history, whatever their names say. */
  readonly #foreign = new Set<string>();
  #walks = 0;
  /** Each snapshot and pack is looked at by itself: something was wrong with one of several. */
  #isCareful = false;
  #firstError: ClusterError | undefined;

  constructor(parts: RestoreParts) {
    this.#parts = parts;
  }

  async run(): Promise<Restored> {
    const { store, upTo, signal } = this.#parts;
    const base = await this.#findBase();
    if (base !== undefined) {
      const found = await discoverFrom(store, base, { upTo, signal });
      const restored = packsBeyond(found).length > 0 ? undefined : await this.#tryAll(found, false);
      if (restored !== undefined) return restored;
    }
    // The hint is stale, or something is damaged: then everything that there is counts.
    const everything = await discoverAll(store, signal);
    const restored = (await this.#tryWithoutForeign(everything)) ?? (await this.#tryAll(everything, true));
    if (restored !== undefined) return restored;
    if (this.#firstError !== undefined) throw this.#firstError;
    this.#checkTarget(everything);
    throw new ObjectGone(this.#missingKey(everything));
  }

  /**
   * Packs that alone tell of newer epochs: either these epochs are lost, and nobody may go on from before them, or the
   * packs are another cluster's or at the wrong place, which takes this cluster's id to tell. `undefined` if any is ours.
   */
  async #tryWithoutForeign(everything: HistoryObjects): Promise<Restored | undefined> {
    const beyond = packsBeyond(everything);
    if (beyond.length === 0) return undefined;
    const keys = beyond.map(({ from, to }) => packKey(from, to));
    const restored = await this.#tryAll(without(everything, new Set(keys)), true);
    if (restored === undefined) return undefined;
    const { clusterId } = restored.state.rows;
    const areOurs = await Promise.all(
      beyond.map((range) => isPackInStore(this.#parts.store, clusterId, range, this.#parts.signal)),
    );
    for (const [index, key] of keys.entries()) if (areOurs[index] === false) this.#foreign.add(key);
    return areOurs.includes(true) ? undefined : restored;
  }

  /** The snapshot to start from, as far as hints tell. */
  async #findBase(): Promise<number | undefined> {
    const { store, upTo, signal } = this.#parts;
    const newest = await readSnapshotMarker(store, signal);
    if (upTo === undefined || newest === undefined || newest <= upTo) return newest;
    return await findSnapshotUpTo(store, upTo, await readVacuumMarker(store, signal), signal);
  }

  /** Tries one way after the other; `undefined` if none of these objects leads there. */
  async #tryAll(objects: HistoryObjects, isEverything: boolean): Promise<Restored | undefined> {
    // Where it is not known which of several objects is wrong: what to do without, the likeliest last.
    const guesses: (readonly string[])[] = [[]];
    for (let guess = guesses.at(-1); guess !== undefined; guess = guesses.at(-1)) {
      const plan = this.#plan(objects, guess, isEverything);
      if (plan === undefined) {
        guesses.pop();
        continue;
      }
      const newest = newestEpoch(without(objects, this.#foreign)) ?? plan.target;
      const walk = new RestoreWalk(plan, this.#parts, { newest, isCareful: this.#isCareful });
      try {
        const restored = await walk.run();
        // Whoever went on from before the newest epoch would write one that exists.
        if (this.#parts.upTo !== undefined || restored.state.epoch >= newest) return restored;
        guesses.pop();
      } catch (error) {
        if (!isWorthAnotherWay(error)) throw error;
        this.#firstError ??= error;
        if (++this.#walks === WALKS_MAX) throw this.#firstError;
        this.#suspect(walk.suspects(error), guesses, plan, error);
      }
    }
    return undefined;
  }

  #plan(objects: HistoryObjects, guess: readonly string[], isEverything: boolean): RestorePlan | undefined {
    const { upTo } = this.#parts;
    const choice = planRestore(without(objects, new Set([...this.#refused, ...this.#foreign, ...guess])), upTo);
    if (choice.type !== "plans") return undefined;
    const [plan] = choice.plans;
    if (plan === undefined || (upTo !== undefined && plan.target !== upTo)) return undefined;
    return plan.isProven || isEverything ? plan : undefined;
  }

  /** Decides what to do without from now on. */
  #suspect(
    { alternatives, isEachProvable }: Suspects,
    guesses: (readonly string[])[],
    plan: RestorePlan,
    error: ClusterError,
  ): void {
    const [first = [], ...others] = alternatives;
    if (error.code === "wrong_pack") for (const key of first) this.#foreign.add(key);
    if (others.length === 0) {
      const news = first.filter((key) => !this.#refused.has(key));
      // Nothing is left to do without: it is read whatever the plan says.
      if (news.length === 0) throw this.#firstError;
      for (const key of news) this.#refused.add(key);
    } else if (isEachProvable && !this.#isCareful) {
      this.#isCareful = true;
    } else {
      const guess = guesses.pop() ?? [];
      for (const keys of [...alternatives].reverse()) guesses.push([...guess, ...keys]);
    }
    const { message: reason, details } = error;
    const base = plan.base.epoch;
    this.#parts.log({ level: "error", event: "restore_refused", base, objects: alternatives.flat(), reason, details });
  }

  #checkTarget(everything: HistoryObjects): void {
    const { store, upTo } = this.#parts;
    const newest = newestEpoch(everything);
    if (newest === undefined) throw notInitialized(store);
    if (upTo === undefined || upTo <= newest) return;
    throw new ClusterError("invalid", "point_in_future", `epoch ${upTo} does not exist yet: the newest is ${newest}`, {
      epoch: upTo,
      newest,
    });
  }

  #missingKey(everything: HistoryObjects): string {
    const { upTo } = this.#parts;
    const target = Math.min(upTo ?? Number.POSITIVE_INFINITY, newestEpoch(everything) ?? 0);
    const bases = [...everything.snapshots].filter((epoch) => epoch <= target);
    return walKey(bases.length === 0 ? target : firstMissing(Math.max(...bases), everything));
  }
}

/** There is nothing below the store's prefix that is a cluster. */
export function notInitialized(store: ObjectStore): ClusterError {
  return new ClusterError(
    "invalid",
    "not_initialized",
    `there is no cluster at ${store.url}: initialize it first, with cluster.init()`,
    { store: store.url },
  );
}

/** Damage, also one that makes an object look like another cluster's or another format's. */
function isWorthAnotherWay(error: unknown): error is ClusterError {
  if (!isClusterError(error)) return false;
  return error.kind === "corrupt" || error.code === "wrong_cluster" || error.code === "unknown_format";
}

function without(objects: HistoryObjects, refused: ReadonlySet<string>): HistoryObjects {
  if (refused.size === 0) return objects;
  return {
    snapshots: [...objects.snapshots].filter((epoch) => !refused.has(snapshotKey(epoch))),
    wals: new Map([...objects.wals].filter(([epoch]) => !refused.has(walKey(epoch)))),
    packs: objects.packs.filter(({ from, to }) => !refused.has(packKey(from, to))),
  };
}
