/**
 * Walks over a history, epoch by epoch, as somebody would who has nothing else.
 *
 * ```
 *   snapshot ──wal──►──wal──►──wal──► … newest     each WAL proves the state before it
 *                       │       │
 *                   compared  compared              snapshots and packs against that state
 * ```
 *
 * Where a WAL is missing or damaged the walk goes on from the next pack or snapshot. What lies between is lost, up to an
 * epoch that the one after it proves. Nothing is compared with a state that is not proven, and nothing made from one.
 */
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import { beforeEpochKey, packKey, snapshotKey, walKey } from "../format/keys.ts";
import { type EpochRange, isPackRange, PACK_LEVELS, packAfter } from "../format/pack.ts";
import { parseWal } from "../format/wal.ts";
import { readBytesMax } from "../protocol/snapshots.ts";
import { contradicts, ReplicaState, type SystemReader } from "../sqlite/replica-state.ts";
import type { StoredObject } from "../store/store.ts";
import { composePack } from "./compose-pack.ts";
import { type ListedObject, listPages, readVacuumMarker } from "./listing.ts";
import { ObjectGone } from "./object-gone.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent } from "./point.ts";
import { prefetch } from "./prefetch.ts";
import { readSnapshot, refuseSnapshot } from "./read-snapshot.ts";
import type { VerifyWork } from "./verify.ts";
import type { Findings } from "./verify-findings.ts";
import { comparePack, compareSnapshot, packOf, snapshotOf } from "./verify-objects.ts";
import type { EpochSpan } from "./verify-report.ts";

/** The event loop gets its turn after so much work. */
const WORK_MS = 8;
const SHORTEST = PACK_LEVELS[0] as number;

/** What a pack that leads over a gap is worth. */
interface Crossing {
  readonly range: EpochRange;
  readonly object: StoredObject;
  readonly verdict: "confirmed" | "contradicted" | "untold";
}

export class VerifyWalk {
  readonly #parts: HistoryParts;
  readonly #extent: HistoryExtent;
  readonly #work: VerifyWork;
  readonly #system: SystemReader;
  readonly #findings: Findings;
  readonly #lost: EpochSpan[] = [];
  /** Packs by the epoch that they lead to. */
  readonly #packs = new Map<number, EpochRange[]>();
  /** Bytes of the WALs that the shortest packs are made of, by the epoch that they lead to. */
  readonly #walBytes = new Map<number, number>();
  #from: number;
  #state: ReplicaState | undefined;
  /** Snapshots and packs in the state that nothing has confirmed yet. */
  #unproven: string[] = [];
  /** Where the walk stands, also while there is no state. */
  #epoch: number;
  /** The first epoch of those that are not known to be restorable. */
  #lostFrom: number | undefined;
  #objects = 0;
  #bytes = 0;
  #workedSinceMs: number;

  constructor(
    parts: HistoryParts,
    extent: HistoryExtent,
    from: number,
    work: VerifyWork,
    system: SystemReader,
    findings: Findings,
  ) {
    this.#parts = parts;
    this.#extent = extent;
    this.#from = from;
    this.#epoch = from - 1;
    this.#work = work;
    this.#system = system;
    this.#findings = findings;
    this.#workedSinceMs = parts.settings.clock.monotonicMs();
  }

  /** The snapshot that it began with; a later one if the retention passed it. */
  get from(): number {
    return this.#from;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Of the newest epoch that it reached. */
  get state(): ReplicaState | undefined {
    return this.#state;
  }

  get lost(): readonly EpochSpan[] {
    return this.#lost;
  }

  /** Objects read, and their bytes. */
  get read(): { readonly objects: number; readonly bytes: number } {
    return { objects: this.#objects, bytes: this.#bytes };
  }

  /** Whether every WAL of a range was there, as it should be, and of no more bytes than this. */
  isSound({ from, to }: EpochRange, bytesMax: number): boolean {
    if (from < this.#from || this.#lost.some(({ first, last }) => first <= to && last > from)) return false;
    let bytes = 0;
    for (let end = from + SHORTEST; end <= to; end += SHORTEST) bytes += this.#walBytes.get(end) ?? 0;
    return bytes <= bytesMax;
  }

  async run(): Promise<void> {
    const { newest } = this.#extent;
    await this.#listPacksBefore();
    // A snapshot's key sorts before that of its epoch's WAL, which may be on the next page.
    let held: ListedObject | undefined;
    for await (const objects of withEnd(listPages(this.#parts.store, beforeEpochKey(this.#from), this.#work.signal))) {
      for (const object of objects) if (object.kind === "pack" && object.epoch <= newest) this.#notePack(object);
      const listed = objects.filter(({ kind, epoch }) => kind !== "pack" && epoch <= newest);
      if (held !== undefined) listed.unshift(held);
      held = objects.at(-1)?.kind === "snapshot" ? listed.pop() : undefined;
      await this.#visitAll(listed.sort(byEpochWalFirst));
    }
    for (let epoch = this.#epoch + 1; epoch <= newest; epoch++) await this.#loseEpoch(epoch, "missing", "not there");
    await this.#end();
  }

  /** Packs that begin before the first snapshot and lead beyond it. */
  async #listPacksBefore(): Promise<void> {
    const first = beforeEpochKey(packAfter(this.#from, PACK_LEVELS.at(-1) ?? 1).from);
    for await (const objects of listPages(this.#parts.store, first, this.#work.signal)) {
      for (const object of objects) {
        if ((object.fromEpoch ?? object.epoch) >= this.#from) return;
        if (object.kind === "pack" && object.epoch > this.#from) this.#notePack(object);
      }
    }
  }

  #notePack({ key, fromEpoch, epoch }: ListedObject): void {
    const range = { from: fromEpoch ?? 0, to: epoch };
    if (isPackRange(range)) this.#packs.set(epoch, [...(this.#packs.get(epoch) ?? []), range]);
    else this.#findings.comfort(key, "orphan", "there are no packs of such epochs");
  }

  async #visitAll(listed: readonly ListedObject[]): Promise<void> {
    const { store, settings } = this.#parts;
    const { signal } = this.#work;
    const fetch = async ({ kind, key }: ListedObject) =>
      kind === "wal" ? await store.get(key, { signal }) : undefined;
    const sizeOf = ({ kind, size }: ListedObject) => (kind === "wal" ? size : 0);
    const fetched = prefetch(listed, fetch, sizeOf, settings.fetchParallel, settings.fetchBytesMax);
    for await (const { item, result } of fetched) {
      if (item.kind === "wal") await this.#visitWal(item, result);
      else await this.#visitSnapshot(item);
      await this.#breathe();
    }
  }

  async #visitWal({ epoch, key, size }: ListedObject, object: StoredObject | undefined): Promise<void> {
    if (epoch <= this.#epoch) return;
    // The base's own epoch: the snapshot that comes next holds it.
    if (epoch === this.#from && epoch > 0) return this.#expectSound(key, object);
    for (let missing = Math.max(this.#epoch + 1, this.#from + 1); missing < epoch; missing++)
      await this.#loseEpoch(missing, "missing", "not there");
    if (object === undefined) return await this.#loseEpoch(epoch, "missing", "it went away meanwhile");
    this.#count(object.size);
    const block = Math.ceil(epoch / SHORTEST) * SHORTEST;
    this.#walBytes.set(block, (this.#walBytes.get(block) ?? 0) + size);
    try {
      if (epoch === 0) this.#state = firstState(this.#system, object);
      else if (this.#state?.epoch === epoch - 1) this.#apply(this.#state, object);
      else parseWal(object.bytes, key);
    } catch (error) {
      if (!isClusterError(error) || error.code === "unknown_format") throw error;
      return await this.#refuse(epoch, error);
    }
    if (epoch === 0 && this.#state !== undefined) this.#expectCluster(this.#state, key);
    this.#epoch = epoch;
    await this.#visitPacks();
  }

  #apply(state: ReplicaState, object: StoredObject): void {
    const verified = state.verify(object.bytes, object.key);
    this.#proved(state);
    state.apply(verified);
  }

  /** The history of another cluster is not verified, and nothing of it is rewritten; one object of another is damage. */
  #expectCluster({ rows: { clusterId }, epoch }: ReplicaState, key: string): void {
    const { id } = this.#parts.settings;
    if (clusterId === id) return;
    if (epoch !== this.#from) refuseSnapshot(key, "cluster", id, clusterId);
    throw new ClusterError(
      "invalid",
      "wrong_cluster",
      `the store holds cluster ${clusterId}, not ${id}: check the id, the bucket and the prefix`,
      { expected: id, found: clusterId },
    );
  }

  /** The epoch's object speaks against itself, or against the state that it is to be applied to. */
  async #refuse(epoch: number, error: ClusterError): Promise<void> {
    if (!contradicts(error)) {
      await this.#loseEpoch(epoch, error.code === "wal_corrupt" ? "damaged" : "contradicts", error.message);
    } else if (this.#unproven.length === 0) {
      // Either of the two may be wrong.
      this.#lostFrom ??= epoch - 1;
      await this.#loseEpoch(epoch, "contradicts", error.message);
    } else {
      this.#giveUpUnproven(error.message);
      this.#epoch = epoch;
    }
  }

  #giveUpUnproven(reason: string): void {
    for (const key of this.#unproven) this.#findings.damage(key, "contradicts", reason);
    this.#unproven = [];
    this.#state = undefined;
  }

  async #loseEpoch(epoch: number, problem: "missing" | "damaged" | "contradicts", reason: string): Promise<void> {
    if (await this.#isTrimmed(epoch)) return;
    this.#findings.damage(walKey(epoch), problem, reason);
    this.#lostFrom ??= epoch;
    this.#epoch = epoch;
    await this.#visitPacks();
    await this.#breathe();
  }

  /** True if retention passed the epoch since the walk began: then nothing is lost, and the walk begins later. */
  async #isTrimmed(epoch: number): Promise<boolean> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    if (epoch >= this.#from) {
      const boundary = await readVacuumMarker(store, signal);
      if (boundary <= epoch || boundary > this.#extent.newest) return false;
      if ((await store.head(snapshotKey(boundary), { signal })) === undefined) return false;
      this.#from = boundary;
      this.#state = undefined;
      this.#unproven = [];
      this.#lostFrom = undefined;
      this.#lost.length = 0;
    }
    this.#epoch = epoch;
    return true;
  }

  /** The state is right: what was lost ends before it. */
  #proved({ epoch }: ReplicaState): void {
    this.#unproven = [];
    if (this.#lostFrom !== undefined && this.#lostFrom < epoch)
      this.#lost.push({ first: this.#lostFrom, last: epoch - 1 });
    this.#lostFrom = undefined;
  }

  async #visitSnapshot({ epoch, key, size }: ListedObject): Promise<void> {
    this.#count(size);
    try {
      if (this.#state?.epoch === epoch) await this.#compareSnapshot(key, this.#state);
      else await this.#beginFrom(key, epoch);
    } catch (error) {
      if (error instanceof ObjectGone) return;
      if (!isClusterError(error) || error.kind !== "corrupt") throw error;
      this.#lostFrom ??= epoch;
      this.#epoch = Math.max(this.#epoch, epoch);
      this.#findings.damage(key, "damaged", error.message);
    }
  }

  /** The first snapshot, or one after a loss. */
  async #beginFrom(key: string, epoch: number): Promise<void> {
    const silent = { expect: () => {}, arrived: () => {} };
    const state = await readSnapshot(this.#parts.store, this.#system, epoch, silent, this.#work.signal);
    this.#expectCluster(state, key);
    this.#epoch = epoch;
    this.#lostFrom ??= epoch;
    const next = await this.#get(walKey(epoch + 1));
    try {
      if (next !== undefined) state.verify(next.bytes, next.key);
    } catch (error) {
      if (!isClusterError(error)) throw error;
      if (contradicts(error)) return this.#findings.damage(key, "contradicts", error.message);
      this.#state = state;
      this.#unproven = [key];
      return;
    }
    this.#state = state;
    this.#unproven = [key];
    if (next !== undefined) this.#proved(state);
  }

  async #compareSnapshot(key: string, state: ReplicaState): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    try {
      await compareSnapshot(store, state, signal);
    } catch (error) {
      if (!isClusterError(error) || error.kind !== "corrupt") throw error;
      await this.#repair(key, error, async () => {
        const { source, release } = snapshotOf(state);
        try {
          await store.put(key, source, { signal });
        } finally {
          release();
        }
        return true;
      });
    }
  }

  /** Packs that lead to where the walk stands: compared, or the way on. */
  async #visitPacks(): Promise<void> {
    const ranges = this.#packs.get(this.#epoch) ?? [];
    this.#packs.delete(this.#epoch);
    if (ranges.length === 0 || this.#state === undefined) return;
    const crossed = this.#state.epoch === this.#epoch ? undefined : await this.#cross(ranges, this.#state);
    const state: ReplicaState | undefined = this.#state;
    if (state?.epoch !== this.#epoch) return;
    for (const range of ranges) if (range !== crossed) await this.#comparePack(range, state);
  }

  /** Leads over lost epochs by one of these packs, the best that there is. */
  async #cross(ranges: readonly EpochRange[], state: ReplicaState): Promise<EpochRange | undefined> {
    const next = await this.#get(walKey(this.#epoch + 1));
    const crossings: Crossing[] = [];
    for (const range of ranges.filter(({ from }) => from <= state.epoch)) {
      const object = await this.#get(packKey(range.from, range.to));
      if (object === undefined) continue;
      this.#count(object.size);
      try {
        crossings.push({ range, object, verdict: state.judgePack(object.bytes, range, object.key, next) });
      } catch (error) {
        if (!isClusterError(error)) throw error;
        this.#findings.damage(object.key, "damaged", error.message);
      }
    }
    for (const { object, verdict } of crossings)
      if (verdict === "contradicted")
        this.#findings.damage(object.key, "contradicts", `${walKey(this.#epoch + 1)} names another state`);
    const usable = crossings.filter(({ verdict }) => verdict !== "contradicted");
    const best = usable.find(({ verdict }) => verdict === "confirmed") ?? usable[0];
    if (best === undefined) return undefined;
    this.#unproven.push(best.object.key);
    try {
      state.applyPack(best.object.bytes, best.range, best.object.key);
    } catch (error) {
      if (!isClusterError(error)) throw error;
      this.#giveUpUnproven(error.message);
      return undefined;
    }
    if (best.verdict === "confirmed") this.#proved(state);
    return best.range;
  }

  async #comparePack(range: EpochRange, state: ReplicaState): Promise<void> {
    const changed = state.changes.after(range.from);
    const key = packKey(range.from, range.to);
    try {
      const object = await this.#get(key);
      if (object === undefined) return;
      this.#count(object.size);
      await comparePack(object.bytes, state, range, changed, () => this.#breathe());
    } catch (error) {
      if (!isClusterError(error) || error.kind !== "corrupt") throw error;
      await this.#repair(key, error, () => this.#rewritePack(range, state, changed));
    }
  }

  async #rewritePack(range: EpochRange, state: ReplicaState, changed: Uint32Array | undefined): Promise<boolean> {
    const { store, settings } = this.#parts;
    const { signal } = this.#work;
    const key = packKey(range.from, range.to);
    if (changed !== undefined) {
      await store.put(key, packOf(state, range, changed), { signal });
      return true;
    }
    // It begins before the walk: what it takes was not looked at.
    const bytesMax = readBytesMax(state.image.byteLength, settings.snapshot);
    try {
      const body = await composePack(store, settings.id, range, { bytesMax, signal });
      if (typeof body === "string") return false;
      const bytes = body.read(0, body.byteLength);
      await comparePack(bytes, state, range, undefined, () => this.#breathe());
      await store.put(key, bytes, { signal });
      return true;
    } catch (error) {
      if (isClusterError(error) && error.kind === "corrupt") return false;
      throw error;
    }
  }

  /** Makes good what differs from the state, if that is known to be right. */
  async #repair(key: string, error: ClusterError, rewrite: () => Promise<boolean>): Promise<void> {
    const problem = error.code === "differs" ? "contradicts" : "damaged";
    if (this.#unproven.length > 0) {
      // Which of the two is wrong nobody can tell.
      this.#findings.damage(key, problem, error.message);
      return;
    }
    let repair: "repaired" | "repairable" | "impossible" = "repairable";
    if (this.#work.repair) repair = (await rewrite()) ? "repaired" : "impossible";
    this.#findings.comfort(key, problem, error.message, repair);
  }

  #expectSound(key: string, object: StoredObject | undefined): void {
    if (object === undefined) return;
    this.#count(object.size);
    try {
      parseWal(object.bytes, key);
    } catch (error) {
      // The snapshot of the same epoch holds what it says.
      this.#findings.comfort(key, "damaged", errorMessage(error));
    }
  }

  /** The newest epoch has none after it: its own tells of its pages at least, as it does to who joins. */
  async #end(): Promise<void> {
    const { newest } = this.#extent;
    const state = this.#state;
    if (state?.epoch === newest && this.#unproven.length > 0) {
      const own = await this.#get(walKey(newest));
      try {
        if (own !== undefined) state.adoptWal(own.bytes, own.key);
        this.#proved(state);
      } catch (error) {
        if (!isClusterError(error)) throw error;
        this.#giveUpUnproven(error.message);
      }
    }
    if (this.#lostFrom !== undefined) this.#lost.push({ first: this.#lostFrom, last: newest });
    this.#lostFrom = undefined;
  }

  async #get(key: string): Promise<StoredObject | undefined> {
    return await this.#parts.store.get(key, { signal: this.#work.signal });
  }

  #count(bytes: number): void {
    this.#objects++;
    this.#bytes += bytes;
    const { newest } = this.#extent;
    const share = Math.max(1, this.#epoch - this.#from) / Math.max(1, newest - this.#from);
    this.#work.onProgress?.({
      bytes: this.#bytes,
      bytesTotal: Math.round(this.#bytes / Math.min(1, share)),
      epoch: this.#epoch,
      headEpoch: newest,
    });
  }

  async #breathe(): Promise<void> {
    const { clock } = this.#parts.settings;
    if (clock.monotonicMs() - this.#workedSinceMs < WORK_MS) return;
    this.#work.signal?.throwIfAborted();
    await new Promise<void>((resolve) => clock.soon(resolve));
    this.#workedSinceMs = clock.monotonicMs();
  }
}

function firstState(system: SystemReader, object: StoredObject): ReplicaState {
  const state = ReplicaState.empty(system);
  state.apply(state.verify(object.bytes, object.key));
  return state;
}

/** The pages, and an empty one, at which what is held back comes out. */
async function* withEnd(pages: AsyncIterable<readonly ListedObject[]>): AsyncGenerator<readonly ListedObject[]> {
  yield* pages;
  yield [];
}

/** A snapshot is looked at when the walk has reached its epoch. */
function byEpochWalFirst(a: ListedObject, b: ListedObject): number {
  return a.epoch - b.epoch || (a.kind === "wal" ? -1 : 1);
}
