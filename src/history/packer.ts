/**
 * Packs by the leader, in the background (docs/architecture.md §2): what changed over many epochs in one object, its
 * bytes from a pin of the image, so writes go on meanwhile.
 */
import { errorMessage, isClusterError } from "../errors.ts";
import { packKey } from "../format/keys.ts";
import { type EpochRange, packCover, packSalts, packsEndingAt } from "../format/pack.ts";
import { PAGE_BYTES, WalEncoder, walByteLength } from "../format/wal.ts";
import { readBytesMax } from "../protocol/snapshots.ts";
import type { ImagePin } from "../sqlite/image.ts";
import type { Replica } from "../sqlite/replica.ts";
import { composePack } from "./compose-pack.ts";
import type { HistoryParts } from "./parts.ts";

/** Packs that wait to be written hold a pin each; those beyond are made from the store later. */
const WAITING_MAX = 8;

interface Job {
  readonly range: EpochRange;
  readonly pages: Uint32Array;
  readonly pin: ImagePin;
}

export class Packer {
  readonly #parts: HistoryParts;
  readonly #replica: Replica;
  /** The newest snapshot: packs before it need not be made up for. */
  readonly #snapshotEpoch: () => number;
  readonly #jobs: Job[] = [];
  #leading: AbortController | undefined;
  #running: Promise<void> | undefined;
  /** Whether packs after the newest snapshot may be missing. */
  #mayHaveGaps = true;

  constructor(parts: HistoryParts, replica: Replica, snapshotEpoch: () => number) {
    this.#parts = parts;
    this.#replica = replica;
    this.#snapshotEpoch = snapshotEpoch;
  }

  /** An epoch became part of the replica, in whatever role. */
  applied(epoch: number): void {
    if (this.#leading === undefined) return;
    const { image, changes } = this.#replica.state;
    const bytesMax = readBytesMax(image.byteLength, this.#parts.settings.snapshot);
    for (const range of packsEndingAt(epoch)) {
      const pages = changes.after(range.from)?.filter((pageNumber) => pageNumber <= image.pageCount);
      // A longer one is no smaller.
      if (pages !== undefined && walByteLength(pages.length) > bytesMax) break;
      if (pages === undefined || this.#jobs.length >= WAITING_MAX) this.#mayHaveGaps = true;
      else this.#jobs.push({ range, pages, pin: image.pin() });
    }
    this.#work();
  }

  /** Begins the leader's part. */
  lead(): void {
    this.#leading = new AbortController();
    this.#mayHaveGaps = true;
  }

  /** Ends it; resolves when nothing of it runs any more. */
  async follow(): Promise<void> {
    this.#leading?.abort();
    this.#leading = undefined;
    for (const { pin } of this.#jobs.splice(0)) pin.release();
    await this.#running;
  }

  #work(): void {
    const signal = this.#leading?.signal;
    if (signal === undefined || this.#running !== undefined || this.#jobs.length === 0) return;
    this.#running = this.#writeAll(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) this.#parts.log({ level: "warn", event: "pack_failed", reason: errorMessage(error) });
      })
      .finally(() => {
        this.#running = undefined;
        this.#work();
      });
  }

  async #writeAll(signal: AbortSignal): Promise<void> {
    for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) {
      try {
        await this.#write(job, signal);
      } catch (error) {
        this.#mayHaveGaps = true;
        throw error;
      } finally {
        job.pin.release();
      }
    }
    if (this.#mayHaveGaps) await this.#fillGaps(signal);
  }

  async #write({ range, pages, pin }: Job, signal: AbortSignal): Promise<void> {
    const salts = packSalts(this.#parts.settings.id, range);
    const encoder = new WalEncoder(pages, pin.pageCount, salts, (frame, target, offset) => {
      pin.read(((pages[frame] as number) - 1) * PAGE_BYTES, PAGE_BYTES, target, offset);
    });
    await this.#put(range, encoder, signal);
  }

  async #put(range: EpochRange, body: WalEncoder, signal: AbortSignal): Promise<void> {
    const { store, log } = this.#parts;
    // Whoever writes it, it does the same: no need for a conditional put, which could not be repeated.
    await store.put(packKey(range.from, range.to), body, { signal });
    log({ level: "info", event: "pack_written", ...range, bytes: body.byteLength });
  }

  /** Makes the packs after the newest snapshot that are not there, from what is. */
  async #fillGaps(signal: AbortSignal): Promise<void> {
    this.#mayHaveGaps = false;
    const { store } = this.#parts;
    try {
      for (const range of packCover(this.#snapshotEpoch(), this.#replica.epoch)) {
        if (range.from < this.#snapshotEpoch()) continue;
        if ((await store.head(packKey(range.from, range.to), { signal })) !== undefined) continue;
        const body = await this.#compose(range, signal);
        if (body !== undefined) await this.#put(range, body, signal);
      }
    } catch (error) {
      this.#mayHaveGaps = true;
      throw error;
    }
  }

  /** Damage will not have gone away when it is tried again: it is not. */
  async #compose(range: EpochRange, signal: AbortSignal): Promise<WalEncoder | undefined> {
    const { store, settings, log } = this.#parts;
    const bytesMax = readBytesMax(this.#replica.state.image.byteLength, settings.snapshot);
    try {
      const body = await composePack(store, settings.id, range, { bytesMax, signal });
      return typeof body === "string" ? undefined : body;
    } catch (error) {
      if (!isClusterError(error) || error.kind !== "corrupt") throw error;
      log({ level: "warn", event: "pack_failed", ...range, reason: error.message });
      return undefined;
    }
  }
}
