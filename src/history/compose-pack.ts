/** Makes a pack out of what is in the store: shorter packs, or the WALs themselves. */
import { packKey, walKey } from "../format/keys.ts";
import { type EpochRange, PACK_LEVELS, packSalts, parsePack } from "../format/pack.ts";
import { framePageOffset, PAGE_BYTES, parseWal, type Wal, WalEncoder, walByteLength } from "../format/wal.ts";
import type { ObjectStore } from "../store/store.ts";

const ZEROS = new Uint8Array(PAGE_BYTES);

export interface ComposeOptions {
  /** A larger pack is not made: a snapshot is better then. Only so much is in memory. */
  readonly bytesMax: number;
  readonly signal: AbortSignal | undefined;
}

/** A part of a pack could not be added. */
type Shortfall =
  /** Not everything that it takes is there any more. */
  "incomplete" | "too_large";

/**
 * The pack, or why there is none.
 *
 * @throws ClusterError `corrupt` for what is damaged
 */
export async function composePack(
  store: ObjectStore,
  clusterId: string,
  range: EpochRange,
  { bytesMax, signal }: ComposeOptions,
): Promise<WalEncoder | Shortfall> {
  const before = await readWal(store, range.from, signal);
  if (before === undefined) return "incomplete";
  const pages = new MergedPages(before.pageCount, bytesMax);
  const shortfall = await merge(store, clusterId, range, pages, signal);
  if (shortfall !== undefined) return shortfall;
  const { pageNumbers, pageCount } = pages;
  return new WalEncoder(pageNumbers, pageCount, packSalts(clusterId, range), (frame, target, offset) => {
    target.set(pages.get(pageNumbers[frame] as number), offset);
  });
}

/** Adds what changed in a range. */
async function merge(
  store: ObjectStore,
  clusterId: string,
  { from, to }: EpochRange,
  pages: MergedPages,
  signal: AbortSignal | undefined,
): Promise<Shortfall | undefined> {
  const shorter = PACK_LEVELS.findLast((length) => length < to - from) ?? 1;
  for (let start = from; start < to; start += shorter) {
    const part = { from: start, to: start + shorter };
    const wal = shorter === 1 ? await readWal(store, part.to, signal) : await readPack(store, clusterId, part, signal);
    if (wal === undefined) {
      const shortfall = shorter === 1 ? "incomplete" : await merge(store, clusterId, part, pages, signal);
      if (shortfall !== undefined) return shortfall;
    } else if (!pages.add(wal)) return "too_large";
  }
  return undefined;
}

async function readWal(store: ObjectStore, epoch: number, signal: AbortSignal | undefined): Promise<Wal | undefined> {
  const object = await store.get(walKey(epoch), { signal });
  return object === undefined ? undefined : parseWal(object.bytes, object.key);
}

async function readPack(
  store: ObjectStore,
  clusterId: string,
  range: EpochRange,
  signal: AbortSignal | undefined,
): Promise<Wal | undefined> {
  const object = await store.get(packKey(range.from, range.to), { signal });
  return object === undefined ? undefined : parsePack(object.bytes, clusterId, range, object.key);
}

/** The newest version of every page that changed. */
class MergedPages {
  readonly #pages = new Map<number, Uint8Array>();
  readonly #bytesMax: number;
  #pageCount: number;

  constructor(pageCount: number, bytesMax: number) {
    this.#pageCount = pageCount;
    this.#bytesMax = bytesMax;
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  /** Ascending. */
  get pageNumbers(): Uint32Array {
    return Uint32Array.from(this.#pages.keys())
      .filter((pageNumber) => pageNumber <= this.#pageCount)
      .sort();
  }

  get(pageNumber: number): Uint8Array {
    return this.#pages.get(pageNumber) ?? ZEROS;
  }

  /** False if it has become too large. */
  add(wal: Wal): boolean {
    // What is cut off reads as zeros should the database grow over it again.
    for (let pageNumber = wal.pageCount + 1; pageNumber <= this.#pageCount; pageNumber++)
      this.#pages.set(pageNumber, ZEROS);
    this.#pageCount = wal.pageCount;
    for (const [frame, pageNumber] of wal.pageNumbers.entries()) {
      const start = framePageOffset(frame);
      // A copy: a view would keep the whole WAL in memory.
      this.#pages.set(pageNumber, new Uint8Array(wal.bytes.subarray(start, start + PAGE_BYTES)));
    }
    if (walByteLength(this.#pages.size) <= this.#bytesMax) return true;
    // Without those that are cut off.
    return walByteLength(this.pageNumbers.length) <= this.#bytesMax;
  }
}
