/**
 * Builds a database from the bucket: the newest one to join, or that of an earlier epoch (docs/architecture.md §5).
 * Nothing of it is shown to readers before it is complete and proven.
 *
 * What is read proves itself step by step: an epoch's WAL tells the checksum of the state before it. So a snapshot or a
 * pack counts as wrong if the next WAL contradicts it, and is left aside for another way.
 */
import type { Log } from "../base/log.ts";
import { ClusterError, isClusterError } from "../errors.ts";
import { packKey, snapshotKey, walKey } from "../format/keys.ts";
import {
  firstMissing,
  type HistoryObjects,
  newestEpoch,
  planRestore,
  type RestorePlan,
  type RestoreStep,
} from "../protocol/restore-plan.ts";
import { ReplicaState, type SystemReader } from "../sqlite/replica-state.ts";
import type { ObjectStore, StoredObject } from "../store/store.ts";
import { discoverAll, discoverFrom } from "./discover.ts";
import { findSnapshotUpTo, readSnapshotMarker, readVacuumMarker } from "./listing.ts";
import { ObjectGone } from "./object-gone.ts";
import { prefetch } from "./prefetch.ts";
import type { ByteProgress } from "./progress.ts";
import { readSnapshot, refuseSnapshot } from "./read-snapshot.ts";

/** How often a restore starts over because objects went away under it. */
const ATTEMPTS_MAX = 5;

/** How far a restore has come. */
export interface JoinProgress extends ByteProgress {
  /** The epoch reached, of the newest that is known. */
  readonly epoch: number;
  readonly headEpoch: number;
}

export interface RestoreParts {
  readonly store: ObjectStore;
  readonly system: SystemReader;
  readonly parallel: number;
  readonly bytesMax: number;
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
}

/**
 * Reads the newest state there is, or that of an epoch.
 *
 * @throws ClusterError `invalid`/`not_initialized` if the store holds no cluster, `invalid`/`point_in_future`,
 *   `corrupt` if no undamaged way leads to the epoch
 */
export async function restore(parts: RestoreParts): Promise<Restored> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await new Restore(parts).run();
    } catch (error) {
      if (!(error instanceof ObjectGone)) throw error;
      if (attempt === ATTEMPTS_MAX) throw error.toClusterError();
      parts.log({ level: "info", event: "restore_restarted", attempt, reason: error.message });
    }
  }
}

/** One attempt. */
class Restore {
  readonly #parts: RestoreParts;
  /** Objects found to be wrong. */
  readonly #refused = new Set<string>();
  #firstError: unknown;

  constructor(parts: RestoreParts) {
    this.#parts = parts;
  }

  async run(): Promise<Restored> {
    const { store, upTo, signal } = this.#parts;
    const base = await this.#findBase();
    if (base !== undefined) {
      const restored = await this.#tryAll(await discoverFrom(store, base, { upTo, signal }), false);
      if (restored !== undefined) return restored;
    }
    // The hint is stale, or something is damaged: then everything that there is counts.
    const everything = await discoverAll(store, signal);
    const restored = await this.#tryAll(everything, true);
    if (restored !== undefined) return restored;
    if (this.#firstError !== undefined) throw this.#firstError;
    this.#checkTarget(everything);
    throw new ObjectGone(this.#missingKey(everything));
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
    const { upTo } = this.#parts;
    for (;;) {
      const choice = planRestore(without(objects, this.#refused), upTo);
      const plan = choice.type === "plans" ? choice.plans[0] : undefined;
      if (plan === undefined || (upTo !== undefined && plan.target !== upTo)) return undefined;
      if (!plan.isProven && !isEverything) return undefined;
      const walk = new Walk(plan, this.#parts, newestEpoch(objects) ?? plan.target);
      try {
        const restored = await walk.run();
        // Whoever went on from here would write an epoch that exists.
        if (upTo === undefined && restored.state.epoch < (newestEpoch(objects) ?? 0)) throw this.#firstError;
        return restored;
      } catch (error) {
        if (!isWorthAnotherWay(error)) throw error;
        this.#firstError ??= error;
        this.#refuse(walk.suspects(error), plan, error);
      }
    }
  }

  #refuse(suspects: readonly string[], plan: RestorePlan, error: ClusterError): void {
    const news = suspects.filter((key) => !this.#refused.has(key));
    // Nothing is left to do without.
    if (news.length === 0) throw this.#firstError;
    for (const key of news) this.#refused.add(key);
    const { message: reason, details } = error;
    this.#parts.log({
      level: "error",
      event: "restore_refused",
      base: plan.base.epoch,
      objects: news,
      reason,
      details,
    });
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

function stepKey(step: RestoreStep): string {
  return step.kind === "wal" ? walKey(step.epoch) : packKey(step.from, step.epoch);
}

/** Carries out one plan. */
class Walk {
  readonly #plan: RestorePlan;
  readonly #parts: RestoreParts;
  /** Keys of what no WAL has confirmed yet, in the order of their use. */
  #unproven: string[] = [];
  readonly #steps: RestoreStep[] = [];
  #state!: ReplicaState;
  #newest: StoredObject | undefined;
  #bytes = 0;
  #bytesTotal = 0;
  #headEpoch: number;

  constructor(plan: RestorePlan, parts: RestoreParts, headEpoch: number) {
    this.#plan = plan;
    this.#parts = parts;
    this.#headEpoch = headEpoch;
  }

  async run(): Promise<Restored> {
    const { store, system, parallel, bytesMax, signal, upTo } = this.#parts;
    const { base, steps } = this.#plan;
    this.#bytesTotal = steps.reduce((sum, { size }) => sum + size, 0);
    if (base.kind === "snapshot") {
      this.#unproven = [snapshotKey(base.epoch)];
      this.#state = await readSnapshot(store, system, base.epoch, this.#snapshotProgress, signal);
    } else {
      this.#state = ReplicaState.empty(system);
      this.#apply({ kind: "wal", epoch: 0, size: 0 }, await this.#fetch(walKey(0)));
    }
    const fetched = prefetch(
      steps,
      (step) => this.#fetch(stepKey(step)),
      ({ size }) => size,
      parallel,
      bytesMax,
    );
    for await (const { item, result } of fetched) this.#apply(item, result);
    if (upTo === undefined) await this.#goOn();
    else await this.#prove();
    const newest = this.#newest;
    return {
      state: this.#state,
      newestAgeMs: newest === undefined ? 0 : newest.nowMs - newest.lastModifiedMs,
      base,
      steps: this.#steps,
    };
  }

  /** The objects that an error speaks against. */
  suspects(error: ClusterError): readonly string[] {
    const { object } = error.details;
    const isDamageOfItsOwn = error.code === "wal_corrupt" || error.code === "wrong_pack";
    if (isDamageOfItsOwn || this.#unproven.length === 0) return typeof object === "string" ? [object] : [];
    // The packs first: the base is the last thing to give up.
    return this.#unproven.length > 1 ? this.#unproven.slice(1) : this.#unproven;
  }

  async #fetch(key: string): Promise<StoredObject> {
    const object = await this.#parts.store.get(key, { signal: this.#parts.signal });
    if (object === undefined) throw new ObjectGone(key);
    return object;
  }

  #apply(step: RestoreStep, object: StoredObject): void {
    if (step.kind === "pack") {
      this.#unproven.push(object.key);
      this.#state.applyPack(object.bytes, { from: step.from, to: step.epoch }, object.key);
    } else {
      this.#state.apply(this.#verify(object));
      this.#unproven = [];
      this.#newest = object;
    }
    this.#steps.push({ ...step, size: object.size });
    this.#advance(object.size);
  }

  #verify(object: StoredObject): ReturnType<ReplicaState["verify"]> {
    try {
      return this.#state.verify(object.bytes, object.key);
    } catch (error) {
      // If they do not fit, it is the snapshot that is not what it should be.
      const [only, ...others] = this.#unproven;
      if (!isClusterError(error) || error.code !== "diverged" || only === undefined || others.length > 0) throw error;
      const { where, expected, found } = error.details as Record<"where" | "expected" | "found", string>;
      refuseSnapshot(only, where, found, expected);
    }
  }

  /** Epochs that came after the listing. */
  async #goOn(): Promise<void> {
    const { store, signal } = this.#parts;
    for (;;) {
      const epoch = this.#state.epoch + 1;
      const next = await store.get(walKey(epoch), { signal });
      if (next === undefined) break;
      this.#apply({ kind: "wal", epoch, size: next.size }, next);
    }
    this.#newest ??= await this.#adoptOwnWal();
  }

  /** The next epoch tells whether this one is right; of the newest, its own WAL did. */
  async #prove(): Promise<void> {
    const { store, signal } = this.#parts;
    const next = await store.get(walKey(this.#state.epoch + 1), { signal });
    if (next !== undefined && this.#isConfirmedBy(next)) return;
    if (this.#unproven.length > 0) await this.#adoptOwnWal();
  }

  /** False if the next epoch's own object is damaged, which says nothing of this one. */
  #isConfirmedBy(next: StoredObject): boolean {
    try {
      this.#verify(next);
      return true;
    } catch (error) {
      if (isClusterError(error) && error.code === "wal_corrupt") return false;
      throw error;
    }
  }

  /** A snapshot that is the newest thing there is: its own epoch's WAL proves the pages that changed last. */
  async #adoptOwnWal(): Promise<StoredObject | undefined> {
    const { store, signal, log } = this.#parts;
    const { epoch } = this.#state;
    const own = await store.get(walKey(epoch), { signal });
    if (own === undefined) {
      const reason = "neither its epoch nor the next is in the store";
      log({ level: "warn", event: "snapshot_unproven", epoch, reason });
      return undefined;
    }
    this.#state.adoptWal(own.bytes, own.key);
    return own;
  }

  get #snapshotProgress(): { expect(bytes: number): void; arrived(bytes: number): void } {
    return {
      expect: (bytes) => {
        this.#bytesTotal += bytes;
      },
      arrived: (bytes) => this.#advance(bytes),
    };
  }

  #advance(bytes: number): void {
    this.#bytes += bytes;
    this.#bytesTotal = Math.max(this.#bytesTotal, this.#bytes);
    const epoch = this.#state?.epoch ?? this.#plan.base.epoch;
    this.#headEpoch = Math.max(this.#headEpoch, epoch);
    const { onProgress } = this.#parts;
    onProgress?.({ bytes: this.#bytes, bytesTotal: this.#bytesTotal, epoch, headEpoch: this.#headEpoch });
  }
}
