/**
 * The restore drill: reads the whole history (`verify-walk.ts`), and looks at what is beside it: markers, packs that are
 * missing, what was left over. Says what can be restored.
 */
import { isClusterError } from "../errors.ts";
import {
  beforeEpochKey,
  LAST_SNAPSHOT_KEY,
  LAST_VACUUM_KEY,
  PREFIX,
  packKey,
  parseEpochText,
  parseKey,
  snapshotKey,
} from "../format/keys.ts";
import { type EpochRange, PACK_LEVELS, packCover } from "../format/pack.ts";
import { isBeyondRetention } from "../protocol/retention.ts";
import { readBytesMax } from "../protocol/snapshots.ts";
import { Replica } from "../sqlite/replica.ts";
import { composePack } from "./compose-pack.ts";
import { listPages, readSnapshotMarker, readVacuumMarker } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent } from "./point.ts";
import type { LongCallOptions } from "./progress.ts";
import { FINDINGS_MAX, Findings } from "./verify-findings.ts";
import type { EpochSpan, VerifyProgress, VerifyReport } from "./verify-report.ts";
import { VerifyWalk } from "./verify-walk.ts";

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
  const { clock, random, openSqlite } = parts.settings;
  const replica = await Replica.create(clock, random, openSqlite);
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
  readonly #findings: Findings;
  readonly #walk: VerifyWalk;
  /** Epochs before the first that can be restored, of which there is more than retention leaves behind. */
  #lostBefore: EpochSpan | undefined;

  constructor(parts: HistoryParts, extent: HistoryExtent, from: number, work: VerifyWork, replica: Replica) {
    this.#parts = parts;
    this.#extent = extent;
    this.#work = work;
    this.#replica = replica;
    this.#findings = new Findings(parts.log);
    this.#walk = new VerifyWalk(parts, extent, from, work, replica.system, this.#findings);
  }

  async run(): Promise<VerifyReport> {
    const { clock } = this.#parts.settings;
    const beganMs = clock.monotonicMs();
    await this.#checkSnapshotMarker();
    if (this.#walk.from === this.#extent.earliest) await this.#checkVacuumMarker();
    await this.#walk.run();
    await this.#checkMissingPacks();
    await this.#findLeftovers();
    const integrity = this.#checkIntegrity();
    const isSound = integrity === undefined || integrity === "ok";
    const lost = [...(this.#lostBefore === undefined ? [] : [this.#lostBefore]), ...this.#walk.lost];
    return {
      from: this.#walk.from,
      to: this.#walk.epoch,
      ...this.#walk.read,
      findings: this.#findings.all,
      lost,
      integrity,
      isRestorable: lost.length === 0 && isSound && this.#walk.state !== undefined,
      elapsedMs: Math.round(clock.monotonicMs() - beganMs),
    };
  }

  async #checkSnapshotMarker(): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    const marked = await readSnapshotMarker(store, signal);
    if (marked === undefined || (await store.head(snapshotKey(marked), { signal })) === undefined) {
      const reason = marked === undefined ? "there is no marker" : `it names epoch ${marked}, which has no snapshot`;
      // A hint: whoever joins lists instead, and the next snapshot sets it.
      this.#findings.comfort(LAST_SNAPSHOT_KEY, marked === undefined ? "missing" : "contradicts", reason);
    }
  }

  /** It may be set back by an old leader; but then nothing is left of the epochs before the snapshot that follows. */
  async #checkVacuumMarker(): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    const { earliest, newest } = this.#extent;
    const marker = await store.get(LAST_VACUUM_KEY, { signal });
    if (marker === undefined) return;
    const marked = parseEpochText(new TextDecoder().decode(marker.bytes).trim());
    if (marked === undefined || marked > newest) {
      const reason = marked === undefined ? "it names no epoch" : `it names epoch ${marked}, the newest is ${newest}`;
      this.#findings.comfort(LAST_VACUUM_KEY, marked === undefined ? "damaged" : "contradicts", reason);
      return;
    }
    if (marked >= earliest) return;
    for await (const objects of listPages(store, beforeEpochKey(marked), signal)) {
      const left = objects.find(({ kind, epoch }) => kind === "wal" && epoch > marked && epoch < earliest);
      if (left !== undefined) {
        const reason = `without it nothing before epoch ${earliest} can be restored`;
        this.#findings.damage(snapshotKey(marked), "missing", reason);
        this.#lostBefore = { first: left.epoch, last: earliest - 1 };
      }
      if (left !== undefined || objects.some(({ kind, epoch }) => kind === "wal" && epoch >= earliest)) return;
    }
  }

  /** Packs that are not there cost whoever joins their epochs, one by one. */
  async #checkMissingPacks(): Promise<void> {
    const { store, settings } = this.#parts;
    const { signal } = this.#work;
    const { state, from } = this.#walk;
    if (state === undefined) return;
    const base = Math.max((await readSnapshotMarker(store, signal)) ?? from, from);
    const bytesMax = readBytesMax(state.image.byteLength, settings.snapshot);
    // Somebody leads, and may be about to write the last one.
    const until = state.rows.leader === undefined ? state.epoch : state.epoch - (PACK_LEVELS[0] as number);
    for (const range of packCover(base, until)) {
      // A pack that is dearer than a snapshot is not written.
      if (range.from < base || !this.#walk.isSound(range, bytesMax)) continue;
      if ((await store.head(packKey(range.from, range.to), { signal })) === undefined)
        await this.#missPack(range, bytesMax);
    }
  }

  async #missPack(range: EpochRange, bytesMax: number): Promise<void> {
    const { store, settings } = this.#parts;
    const { signal, repair } = this.#work;
    const key = packKey(range.from, range.to);
    const reason = "a join reads the epochs one by one instead";
    if (!repair) return this.#findings.comfort(key, "missing", reason, "repairable");
    const body = await composePack(store, settings.id, range, { bytesMax, signal }).catch((error: unknown) => {
      if (isClusterError(error) && error.kind === "corrupt") return "incomplete" as const;
      throw error;
    });
    if (typeof body !== "string") await store.put(key, body, { signal });
    this.#findings.comfort(key, "missing", reason, typeof body === "string" ? "impossible" : "repaired");
  }

  /** Objects below our prefix that nothing refers to. */
  async #findLeftovers(): Promise<void> {
    const { store } = this.#parts;
    const { signal } = this.#work;
    const firstKey = beforeEpochKey(0);
    // Names of epochs sort between these: what is before and after them is few.
    await this.#listForeign(undefined, firstKey);
    await this.#listForeign(`${PREFIX}:`, undefined);
    const boundary = Math.min(await readVacuumMarker(store, signal), this.#extent.earliest);
    for await (const objects of listPages(store, firstKey, signal)) {
      for (const object of objects) {
        if ((object.fromEpoch ?? object.epoch) >= boundary) return;
        if (!isBeyondRetention(object, boundary)) continue;
        const reason = `older than epoch ${boundary}, the earliest that is kept`;
        this.#findings.comfort(object.key, "orphan", reason);
        if (this.#findings.all.length >= FINDINGS_MAX) return;
      }
    }
  }

  async #listForeign(startAfter: string | undefined, before: string | undefined): Promise<void> {
    const { objects } = await this.#parts.store.list(PREFIX, { startAfter, signal: this.#work.signal });
    for (const { key } of objects) {
      if (before !== undefined && key >= before) return;
      if (key === LAST_SNAPSHOT_KEY || key === LAST_VACUUM_KEY || parseKey(key) !== undefined) continue;
      this.#findings.comfort(key, "orphan", "no object of a history");
    }
  }

  #checkIntegrity(): VerifyReport["integrity"] {
    const { state } = this.#walk;
    if (this.#work.integrityCheck === false || state === undefined) return undefined;
    this.#replica.replace(state);
    const rows = this.#replica.db.query<{ integrity_check: string }>("PRAGMA integrity_check");
    const found = rows.map(({ integrity_check }) => integrity_check);
    return found.length === 1 && found[0] === "ok" ? "ok" : found;
  }
}
