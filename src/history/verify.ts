/**
 * The restore drill: reads the whole history from a snapshot on, as somebody would who has nothing else, and says what
 * of it can be restored.
 *
 * ```
 *   snapshot ──wal──►──wal──►──wal──► … newest     each WAL proves the state before it
 *                       │       │
 *                   compared  compared              snapshots and packs against that state
 * ```
 *
 * Where a WAL is missing or damaged the walk goes on from the next pack or snapshot, and what lies between is lost.
 */
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import {
  beforeEpochKey,
  LAST_SNAPSHOT_KEY,
  LAST_VACUUM_KEY,
  PREFIX,
  packKey,
  parseKey,
  snapshotKey,
  walKey,
} from "../format/keys.ts";
import { type EpochRange, PACK_LEVELS, packAfter, packCover } from "../format/pack.ts";
import { parseWal } from "../format/wal.ts";
import { isBeyondRetention } from "../protocol/retention.ts";
import { Replica } from "../sqlite/replica.ts";
import { ReplicaState } from "../sqlite/replica-state.ts";
import type { StoredObject } from "../store/store.ts";
import { composePack } from "./compose-pack.ts";
import { type ListedObject, listPages, readSnapshotMarker, readVacuumMarker } from "./listing.ts";
import { ObjectGone } from "./object-gone.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent } from "./point.ts";
import { prefetch } from "./prefetch.ts";
import type { LongCallOptions } from "./progress.ts";
import { readSnapshot } from "./read-snapshot.ts";
import { comparePack, compareSnapshot, packOf, snapshotOf } from "./verify-objects.ts";
import type { EpochSpan, Finding, VerifyProgress, VerifyReport } from "./verify-report.ts";

/** The event loop gets its turn after so much work. */
const WORK_MS = 8;

export interface VerifyWork extends LongCallOptions<VerifyProgress> {
  /** Rewrites snapshots and packs that are wrong. *Default* false. */
  readonly repair?: boolean | undefined;
  /** Runs SQLite's integrity check on the newest state, which blocks: about a second for 256 MiB. *Default* true. */
  readonly integrityCheck?: boolean | undefined;
}

/**
 * Verifies the history.
 *
 * @param extent what there is
 * @param from the snapshot to begin with
 */
export async function verifyHistory(
  parts: HistoryParts,
  extent: HistoryExtent,
  from: number,
  work: VerifyWork,
): Promise<VerifyReport> {
  const replica = await Replica.create(parts.settings.clock, parts.settings.random);
  try {
    return await new Verification(parts, extent, from, work, replica).run();
  } finally {
    replica.close();
  }
}

class Verification {
  readonly #parts: HistoryParts;
  readonly #extent: HistoryExtent;
  readonly #work: VerifyWork;
  readonly #replica: Replica;
  readonly #findings: Finding[] = [];
  readonly #lost: EpochSpan[] = [];
  /** Packs by the epoch that they lead to. */
  readonly #packs = new Map<number, EpochRange[]>();
  #from: number;
  #state: ReplicaState | undefined;
  /** The snapshot or pack that nothing has confirmed yet. */
  #unproven: string | undefined;
  /** Where the walk stands, also while there is no state. */
  #epoch: number;
  #lostFrom: number | undefined;
  #objects = 0;
  #bytes = 0;
  #workedSinceMs: number;

  constructor(parts: HistoryParts, extent: HistoryExtent, from: number, work: VerifyWork, replica: Replica) {
    this.#parts = parts;
    this.#extent = extent;
    this.#from = from;
    this.#epoch = from - 1;
    this.#work = work;
    this.#replica = replica;
    this.#workedSinceMs = parts.settings.clock.monotonicMs();
  }

  async run(): Promise<VerifyReport> {
    const { clock } = this.#parts.settings;
    const beganMs = clock.monotonicMs();
    await this.#listPacksBefore();
    await this.#checkMarkers();
    await this.#walk();
    await this.#checkMissingPacks();
    await this.#findLeftovers();
    if (this.#lostFrom !== undefined) this.#endLoss(this.#extent.newest + 1);
    const integrity = this.#checkIntegrity();
    const isSound = integrity === undefined || integrity === "ok";
    return {
      from: this.#from,
      to: this.#epoch,
      objects: this.#objects,
      bytes: this.#bytes,
      findings: this.#findings,
      lost: this.#lost,
      integrity,
      isRestorable: this.#lost.length === 0 && isSound && this.#state !== undefined,
      elapsedMs: Math.round(clock.monotonicMs() - beganMs),
    };
  }

  /** Packs that begin before the first snapshot and lead beyond it. */
  async #listPacksBefore(): Promise<void> {
    const { signal } = this.#work;
    const first = beforeEpochKey(packAfter(this.#from, PACK_LEVELS.at(-1) ?? 1).from);
    for await (const objects of listPages(this.#parts.store, first, signal)) {
      for (const object of objects) {
        if ((object.fromEpoch ?? object.epoch) >= this.#from) return;
        if (object.kind === "pack" && object.epoch > this.#from) this.#notePack(object);
      }
    }
  }

  #notePack({ fromEpoch, epoch }: ListedObject): void {
    this.#packs.set(epoch, [...(this.#packs.get(epoch) ?? []), { from: fromEpoch ?? 0, to: epoch }]);
  }

  async #checkMarkers(): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    const marked = await readSnapshotMarker(store, signal);
    if (marked === undefined || (await store.head(snapshotKey(marked), { signal })) === undefined) {
      const reason = marked === undefined ? "there is no marker" : `it names epoch ${marked}, which has no snapshot`;
      // A hint: whoever joins lists instead, and the next snapshot sets it.
      this.#find(LAST_SNAPSHOT_KEY, marked === undefined ? "missing" : "contradicts", reason, "unneeded", true);
    }
  }

  async #walk(): Promise<void> {
    const { store, settings } = this.#parts;
    const { signal } = this.#work;
    const { newest } = this.#extent;
    const fetch = async ({ kind, key }: ListedObject) =>
      kind === "wal" ? await store.get(key, { signal }) : undefined;
    const sizeOf = ({ kind, size }: ListedObject) => (kind === "wal" ? size : 0);
    // A snapshot's key sorts before that of its epoch's WAL, which may be on the next page.
    let held: ListedObject | undefined;
    for await (const objects of withEnd(listPages(store, beforeEpochKey(this.#from), signal))) {
      for (const object of objects) if (object.kind === "pack" && object.epoch <= newest) this.#notePack(object);
      const listed = objects.filter(({ kind, epoch }) => kind !== "pack" && epoch <= newest);
      if (held !== undefined) listed.unshift(held);
      held = objects.at(-1)?.kind === "snapshot" ? listed.pop() : undefined;
      const inOrder = listed.sort(byEpochWalFirst);
      const fetched = prefetch(inOrder, fetch, sizeOf, settings.fetchParallel, settings.fetchBytesMax);
      for await (const { item, result } of fetched) {
        if (item.kind === "wal") await this.#visitWal(item, result);
        else await this.#visitSnapshot(item);
        await this.#breathe();
      }
    }
    for (let epoch = this.#epoch + 1; epoch <= newest; epoch++) await this.#loseEpoch(epoch, "missing", "not there");
  }

  async #visitWal({ epoch, key }: ListedObject, object: StoredObject | undefined): Promise<void> {
    if (epoch <= this.#epoch) return;
    // The base's own epoch: the snapshot that comes next holds it.
    if (epoch === this.#from && epoch > 0) return this.#expectSound(key, object);
    for (let missing = Math.max(this.#epoch + 1, this.#from + 1); missing < epoch; missing++)
      await this.#loseEpoch(missing, "missing", "not there");
    if (object === undefined) return await this.#loseEpoch(epoch, "missing", "it went away meanwhile");
    this.#count(object.size);
    try {
      if (epoch === 0) this.#state = ReplicaState.empty(this.#replica.system);
      if (this.#state?.epoch === epoch - 1) this.#apply(object);
      else parseWal(object.bytes, key);
    } catch (error) {
      if (!isClusterError(error)) throw error;
      return await this.#refuse(epoch, key, error);
    }
    this.#epoch = epoch;
    await this.#visitPacks();
  }

  #apply(object: StoredObject): void {
    const state = this.#state as ReplicaState;
    state.apply(state.verify(object.bytes, object.key));
    this.#unproven = undefined;
  }

  /** The epoch's object speaks against itself, or against the snapshot or pack that the walk began from. */
  async #refuse(epoch: number, key: string, error: ClusterError): Promise<void> {
    const isItsOwn = error.code === "wal_corrupt" || this.#unproven === undefined;
    if (isItsOwn) {
      await this.#loseEpoch(epoch, error.code === "wal_corrupt" ? "damaged" : "contradicts", error.message);
      return;
    }
    this.#find(this.#unproven ?? key, "contradicts", error.message, "impossible", false);
    this.#beginLoss(epoch - 1);
    this.#unproven = undefined;
    this.#state = undefined;
    this.#epoch = epoch;
  }

  async #loseEpoch(epoch: number, problem: "missing" | "damaged" | "contradicts", reason: string): Promise<void> {
    if (await this.#isTrimmed(epoch)) return;
    this.#find(walKey(epoch), problem, reason, "impossible", false);
    this.#beginLoss(epoch);
    this.#epoch = epoch;
    await this.#visitPacks();
  }

  /** True if retention passed the epoch since the walk began: then nothing is lost, and the walk begins later. */
  async #isTrimmed(epoch: number): Promise<boolean> {
    const boundary = await readVacuumMarker(this.#parts.store, this.#work.signal);
    if (boundary <= epoch) return false;
    if (boundary > this.#from) {
      this.#from = boundary;
      this.#state = undefined;
      this.#lostFrom = undefined;
      this.#lost.length = 0;
    }
    this.#epoch = epoch;
    return true;
  }

  #beginLoss(epoch: number): void {
    this.#lostFrom ??= epoch;
  }

  #endLoss(epoch: number): void {
    if (this.#lostFrom !== undefined && this.#lostFrom < epoch)
      this.#lost.push({ first: this.#lostFrom, last: epoch - 1 });
    this.#lostFrom = undefined;
  }

  async #visitSnapshot({ epoch, key, size }: ListedObject): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    this.#count(size);
    try {
      if (this.#state?.epoch === epoch) {
        await compareSnapshot(store, this.#state, signal);
        return;
      }
      const silent = { expect: () => {}, arrived: () => {} };
      this.#state = await readSnapshot(store, this.#replica.system, epoch, silent, signal);
      this.#unproven = key;
      this.#epoch = epoch;
      this.#endLoss(epoch);
    } catch (error) {
      if (error instanceof ObjectGone) return;
      if (!isClusterError(error) || error.kind === "unavailable") throw error;
      const state = this.#state?.epoch === epoch ? this.#state : undefined;
      if (state === undefined) this.#beginLoss(epoch);
      this.#epoch = Math.max(this.#epoch, epoch);
      await this.#repairable(key, error, state !== undefined, async () => {
        const { source, release } = snapshotOf(state as ReplicaState);
        try {
          await store.put(key, source, { signal });
        } finally {
          release();
        }
      });
    }
  }

  /** Packs that lead to where the walk stands: compared, or the way on. */
  async #visitPacks(): Promise<void> {
    const ranges = this.#packs.get(this.#epoch) ?? [];
    this.#packs.delete(this.#epoch);
    for (const range of ranges) {
      if (this.#state?.epoch === range.to) await this.#comparePack(range, this.#state);
      else if (this.#state !== undefined && range.from <= this.#state.epoch) await this.#crossBy(range, this.#state);
    }
  }

  async #comparePack(range: EpochRange, state: ReplicaState): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    const changed = state.changes.after(range.from);
    try {
      this.#count(await comparePack(store, state, range, changed, signal));
    } catch (error) {
      if (error instanceof ObjectGone) return;
      if (!isClusterError(error) || error.kind === "unavailable") throw error;
      await this.#repairable(packKey(range.from, range.to), error, true, () =>
        this.#rewritePack(range, state, changed),
      );
    }
  }

  async #rewritePack(range: EpochRange, state: ReplicaState, changed: Uint32Array | undefined): Promise<void> {
    const { store, settings } = this.#parts;
    const { signal } = this.#work;
    const body =
      changed === undefined ? await composePack(store, settings.id, range, signal) : packOf(state, range, changed);
    if (body === undefined) throw new Error("not everything that it takes is there any more");
    await store.put(packKey(range.from, range.to), body, { signal });
  }

  /** A pack leads over lost epochs. */
  async #crossBy(range: EpochRange, state: ReplicaState): Promise<void> {
    const key = packKey(range.from, range.to);
    const object = await this.#parts.store.get(key, { signal: this.#work.signal });
    if (object === undefined) return;
    this.#count(object.size);
    try {
      state.applyPack(object.bytes, range, key);
      this.#unproven = key;
      this.#endLoss(range.to);
    } catch (error) {
      if (!isClusterError(error)) throw error;
      this.#find(key, "damaged", error.message, "impossible", false);
    }
  }

  #expectSound(key: string, object: StoredObject | undefined): void {
    if (object === undefined) return;
    this.#count(object.size);
    try {
      parseWal(object.bytes, key);
    } catch (error) {
      // The snapshot of the same epoch holds what it says.
      this.#find(key, "damaged", errorMessage(error), "unneeded", true);
    }
  }

  /** Packs that are not there cost whoever joins their epochs, one by one. */
  async #checkMissingPacks(): Promise<void> {
    const { store, settings } = this.#parts;
    const { signal, repair } = this.#work;
    const base = (await readSnapshotMarker(store, signal)) ?? this.#from;
    for (const range of packCover(Math.max(base, this.#from), this.#epoch)) {
      const key = packKey(range.from, range.to);
      if (range.from < base || (await store.head(key, { signal })) !== undefined) continue;
      const reason = "a join reads the epochs one by one instead";
      if (!repair) this.#find(key, "missing", reason, "repairable", true);
      else {
        const bytes = await composePack(store, settings.id, range, signal).catch(() => undefined);
        if (bytes !== undefined) await store.put(key, bytes, { signal });
        this.#find(key, "missing", reason, bytes === undefined ? "impossible" : "repaired", true);
      }
    }
  }

  /** Objects below our prefix that nothing refers to. */
  async #findLeftovers(): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    const firstKey = beforeEpochKey(0);
    // Names of epochs sort between these: what is before and after them is few.
    await this.#listForeign(undefined, firstKey);
    await this.#listForeign(`${PREFIX}:`, undefined);
    const boundary = await readVacuumMarker(store, signal);
    for await (const objects of listPages(store, firstKey, signal)) {
      for (const object of objects) {
        if ((object.fromEpoch ?? object.epoch) >= boundary) return;
        if (!isBeyondRetention(object, boundary)) continue;
        this.#find(object.key, "orphan", `older than epoch ${boundary}, the earliest that is kept`, "unneeded", true);
        if (this.#findings.length >= FINDINGS_MAX) return;
      }
    }
  }

  async #listForeign(startAfter: string | undefined, before: string | undefined): Promise<void> {
    const { objects } = await this.#parts.store.list(PREFIX, { startAfter, signal: this.#work.signal });
    for (const { key } of objects) {
      if (before !== undefined && key >= before) return;
      if (key === LAST_SNAPSHOT_KEY || key === LAST_VACUUM_KEY || parseKey(key) !== undefined) continue;
      this.#find(key, "orphan", "no object of a history", "unneeded", true);
    }
  }

  #checkIntegrity(): VerifyReport["integrity"] {
    if (this.#work.integrityCheck === false || this.#state === undefined) return undefined;
    this.#replica.replace(this.#state);
    const rows = this.#replica.db.query<{ integrity_check: string }>("PRAGMA integrity_check");
    const found = rows.map(({ integrity_check }) => integrity_check);
    return found.length === 1 && found[0] === "ok" ? "ok" : found;
  }

  async #repairable(
    key: string,
    error: ClusterError,
    isPossible: boolean,
    rewrite: () => Promise<void>,
  ): Promise<void> {
    const problem = error.code === "differs" ? "contradicts" : "damaged";
    if (isPossible && this.#work.repair) await rewrite();
    const repair = !isPossible ? "impossible" : this.#work.repair ? "repaired" : "repairable";
    this.#find(key, problem, error.message, repair, isPossible);
  }

  #find(
    object: string,
    problem: Finding["problem"],
    reason: string,
    repair: Finding["repair"],
    isHarmless: boolean,
  ): void {
    this.#findings.push({ object, problem, reason, repair, isHarmless });
    this.#parts.log({ level: "warn", event: "history_problem", object, problem, reason, repair });
    if (this.#findings.length > FINDINGS_MAX) {
      throw new ClusterError(
        "corrupt",
        "too_many_findings",
        `gave up after ${FINDINGS_MAX} findings; the first: ${this.#findings[0]?.object}: ${this.#findings[0]?.reason}`,
        { findings: FINDINGS_MAX },
      );
    }
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

/** The pages, and an empty one, at which what is held back comes out. */
async function* withEnd(pages: AsyncIterable<readonly ListedObject[]>): AsyncGenerator<readonly ListedObject[]> {
  yield* pages;
  yield [];
}

/** Beyond so many it is no list for anybody to read. */
const FINDINGS_MAX = 10_000;

/** A snapshot is looked at when the walk has reached its epoch. */
function byEpochWalFirst(a: ListedObject, b: ListedObject): number {
  return a.epoch - b.epoch || (a.kind === "wal" ? -1 : 1);
}
