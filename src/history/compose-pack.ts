/** Makes a pack out of what is in the store: shorter packs, or the WALs themselves. */
import { packKey, walKey } from "../format/keys.ts";
import { type EpochRange, PACK_LEVELS, packSalts, parsePack } from "../format/pack.ts";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal, type Wal } from "../format/wal.ts";
import type { ObjectStore } from "../store/store.ts";

const ZEROS = new Uint8Array(PAGE_BYTES);

/**
 * The pack's bytes; `undefined` if not everything that it takes is there any more. Holds the whole pack in memory.
 *
 * @throws ClusterError `corrupt` for what is damaged
 */
export async function composePack(
  store: ObjectStore,
  clusterId: string,
  range: EpochRange,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  const before = await readWal(store, range.from, signal);
  if (before === undefined) return undefined;
  const pages = new MergedPages(before.pageCount);
  if (!(await merge(store, clusterId, range, pages, signal))) return undefined;
  return encodeWal(pages.list(), pages.pageCount, packSalts(clusterId, range));
}

/** Adds what changed in a range; false if something is missing. */
async function merge(
  store: ObjectStore,
  clusterId: string,
  { from, to }: EpochRange,
  pages: MergedPages,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const shorter = PACK_LEVELS.findLast((length) => length < to - from) ?? 1;
  for (let start = from; start < to; start += shorter) {
    const part = { from: start, to: start + shorter };
    const wal = shorter === 1 ? await readWal(store, part.to, signal) : await readPack(store, clusterId, part, signal);
    if (wal !== undefined) pages.add(wal);
    else if (shorter === 1 || !(await merge(store, clusterId, part, pages, signal))) return false;
  }
  return true;
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
  #pageCount: number;

  constructor(pageCount: number) {
    this.#pageCount = pageCount;
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  add(wal: Wal): void {
    // What is cut off reads as zeros should the database grow over it again.
    for (let pageNumber = wal.pageCount + 1; pageNumber <= this.#pageCount; pageNumber++)
      this.#pages.set(pageNumber, ZEROS);
    this.#pageCount = wal.pageCount;
    for (const [frame, pageNumber] of wal.pageNumbers.entries()) {
      const start = framePageOffset(frame);
      this.#pages.set(pageNumber, wal.bytes.subarray(start, start + PAGE_BYTES));
    }
  }

  list(): { pageNumber: number; bytes: Uint8Array }[] {
    return [...this.#pages]
      .filter(([pageNumber]) => pageNumber <= this.#pageCount)
      .sort(([a], [b]) => a - b)
      .map(([pageNumber, bytes]) => ({ pageNumber, bytes }));
  }
}
