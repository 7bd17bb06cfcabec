/**
 * Deletes what is older than the retention, a little at a time. Any number of nodes may do so at once, and one that was
 * paused in the middle may go on at any time: what is before an old snapshot stays unneeded.
 */
import { readClock } from "../base/clock.ts";
import { ClusterError } from "../errors.ts";
import { beforeEpochKey, epochText, LAST_VACUUM_KEY, snapshotKey, walKey } from "../format/keys.ts";
import { sleep } from "../platform/sleep.ts";
import { type Instant, instantOf } from "../protocol/moment.ts";
import { type AgedSnapshot, isBeyondRetention, retentionBoundary } from "../protocol/retention.ts";
import { listPages, readVacuumMarker } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import { checkSnapshotHeader, SNAPSHOT_HEADER_BYTES } from "./read-snapshot.ts";

/** Between two deletions of up to a thousand objects. */
const PAUSE_MS = 1000;
/** When the clocks of this machine went apart by more, since a snapshot's age was asked for, it is asked for again. */
const CLOCKS_APART_MS_MAX = 60_000;

/** A snapshot whose age the store told, and when. */
interface AskedSnapshot extends AgedSnapshot {
  readonly askedAt: Instant;
}

/** What a run did. */
export interface VacuumReport {
  /** The earliest epoch that can be restored now. */
  readonly boundary: number;
  /** Objects deleted, and their bytes. */
  readonly deleted: number;
  readonly bytes: number;
}

export class Retention {
  readonly #parts: HistoryParts;
  /** Snapshots seen so far, ascending: how long ago each was completed, by the store's clock, and when that was asked. */
  #snapshots: AskedSnapshot[] = [];
  /** Where the listing of snapshots goes on. */
  #scannedKey: string | undefined;
  /** Whether no other snapshot follows the last one closely, as of the last listing. */
  #isLastAlone = false;
  #boundary: number | undefined;

  constructor(parts: HistoryParts) {
    this.#parts = parts;
  }

  /** The earliest epoch that is kept, as far as is known. */
  get boundary(): number | undefined {
    return this.#boundary;
  }

  /** Deletes what has become too old since the last run. */
  async run(signal: AbortSignal | undefined, onDeleted: (bytes: number) => void = () => {}): Promise<VacuumReport> {
    const { store, settings, log } = this.#parts;
    const marked = this.#boundary === undefined ? await this.#marked(signal) : undefined;
    const earlier = this.#boundary ?? marked?.epoch ?? 0;
    this.#scannedKey ??= beforeEpochKey(earlier);
    const found = retentionBoundary(await this.#agedSnapshots(signal), settings.retentionMs) ?? 0;
    const boundary = Math.max(found, earlier);
    // A first run also finishes what an earlier one may have left.
    const isNew = boundary > earlier || marked?.isOld === true;
    if (boundary === 0 || !isNew) return { boundary, deleted: 0, bytes: 0 };
    await this.#checkBoundary(boundary, signal);
    // First: readers learn from it that what they miss was too old.
    if (boundary > earlier) await store.put(LAST_VACUUM_KEY, new TextEncoder().encode(epochText(boundary)), { signal });
    const report = await this.#deleteBefore(boundary, signal, onDeleted);
    this.#boundary = boundary;
    this.#snapshots = this.#snapshots.filter(({ epoch }) => epoch >= boundary);
    if (report.deleted > 0) log({ level: "info", event: "history_trimmed", ...report });
    return report;
  }

  /** Where an earlier run has put the boundary. That is a hint, and may be damaged: only the snapshot's own age proves it. */
  async #marked(signal: AbortSignal | undefined): Promise<{ epoch: number; isOld: boolean } | undefined> {
    const { store, settings } = this.#parts;
    const marked = await readVacuumMarker(store, signal);
    const stat = await store.head(snapshotKey(marked), { signal });
    return stat && { epoch: marked, isOld: stat.nowMs - stat.lastModifiedMs >= settings.retentionMs };
  }

  /**
   * Lists on until two snapshots in a row are too young: a leader that was paused may have completed one long after those
   * that follow it. While these are too young, a run asks the store for nothing.
   */
  async #agedSnapshots(signal: AbortSignal | undefined): Promise<readonly AgedSnapshot[]> {
    const { store } = this.#parts;
    if (this.#snapshots.some(({ askedAt }) => this.#areClocksApart(askedAt))) await this.#askAgain(signal);
    if (this.#areNewestYoung()) return this.#agedNow();
    for await (const objects of listPages(store, this.#scannedKey, signal)) {
      for (const { kind, epoch, key } of objects) {
        const asked = kind === "snapshot" ? await this.#ask(epoch, signal) : undefined;
        // Not before: a snapshot that could not be asked for is looked at again by the next run.
        this.#scannedKey = key;
        if (asked === undefined) continue;
        this.#snapshots.push(asked);
        this.#isLastAlone = false;
        if (this.#areNewestYoung()) return this.#agedNow();
      }
      // Another page for the second one alone is not worth its request.
      this.#isLastAlone = true;
      if (this.#areNewestYoung()) break;
    }
    this.#isLastAlone = true;
    return this.#agedNow();
  }

  /** `undefined` if it is not there any more. */
  async #ask(epoch: number, signal: AbortSignal | undefined): Promise<AskedSnapshot | undefined> {
    const { store, settings } = this.#parts;
    const stat = await store.head(snapshotKey(epoch), { signal });
    // When the answer is here: what the request took, and a pause meanwhile, only makes it delete later.
    return stat && { epoch, ageMs: stat.nowMs - stat.lastModifiedMs, askedAt: instantOf(readClock(settings.clock)) };
  }

  async #askAgain(signal: AbortSignal | undefined): Promise<void> {
    const asked = await Promise.all(this.#snapshots.map(({ epoch }) => this.#ask(epoch, signal)));
    this.#snapshots = asked.filter((snapshot) => snapshot !== undefined);
  }

  /** The machine was suspended, or its wall clock was set. */
  #areClocksApart(since: Instant): boolean {
    const { clock } = this.#parts.settings;
    const apartMs = clock.wallMs() - since.wallMs - (clock.monotonicMs() - since.ms);
    return Math.abs(apartMs) > CLOCKS_APART_MS_MAX;
  }

  /** As of now. What the monotonic clock counts too little only makes it delete later. */
  #agedNow(): readonly AgedSnapshot[] {
    const nowMs = this.#parts.settings.clock.monotonicMs();
    return this.#snapshots.map(({ epoch, ageMs, askedAt }) => ({ epoch, ageMs: ageMs + nowMs - askedAt.ms }));
  }

  #areNewestYoung(): boolean {
    const { retentionMs } = this.#parts.settings;
    const [last, before] = this.#agedNow().slice(-2).reverse();
    const isYoung = (snapshot: AgedSnapshot | undefined) => snapshot !== undefined && snapshot.ageMs < retentionMs;
    return isYoung(last) && (this.#isLastAlone || isYoung(before));
  }

  /** What everything after it depends on must be there. */
  async #checkBoundary(boundary: number, signal: AbortSignal | undefined): Promise<void> {
    const { store } = this.#parts;
    const key = snapshotKey(boundary);
    const head = await store.get(key, { range: { offset: 0, length: SNAPSHOT_HEADER_BYTES }, signal });
    const next = await store.head(walKey(boundary + 1), { signal });
    if (head === undefined || next === undefined) {
      throw new ClusterError(
        "corrupt",
        "history_incomplete",
        `nothing was deleted: ${head === undefined ? key : walKey(boundary + 1)} is missing, without which the history after epoch ${boundary} cannot be restored`,
        {
          object: head === undefined ? key : walKey(boundary + 1),
          where: "retention",
          expected: "present",
          found: "missing",
        },
      );
    }
    checkSnapshotHeader(head.bytes, head.size, key);
  }

  /** Lists from the first object on: what earlier runs deleted is not there, what they left is. */
  async #deleteBefore(
    boundary: number,
    signal: AbortSignal | undefined,
    onDeleted: (bytes: number) => void,
  ): Promise<VacuumReport> {
    const { store, settings } = this.#parts;
    let deleted = 0;
    let bytes = 0;
    for await (const objects of listPages(store, beforeEpochKey(0), signal)) {
      const unneeded = objects.filter((object) => isBeyondRetention(object, boundary));
      if (unneeded.length > 0) {
        await store.deleteMany(
          unneeded.map(({ key }) => key),
          { signal },
        );
        deleted += unneeded.length;
        const size = unneeded.reduce((sum, object) => sum + object.size, 0);
        bytes += size;
        onDeleted(size);
        await sleep(settings.clock, PAUSE_MS, signal);
      }
      const last = objects.at(-1);
      if (last !== undefined && (last.fromEpoch ?? last.epoch) >= boundary) break;
    }
    return { boundary, deleted, bytes };
  }
}
