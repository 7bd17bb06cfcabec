/** Reads a snapshot in ranges; that its bytes are the right ones only the next epoch tells. */
import { ClusterError } from "../errors.ts";
import { snapshotKey } from "../format/keys.ts";
import { PAGE_BYTES } from "../format/wal.ts";
import { CHUNK_BYTES, DurableImage } from "../sqlite/image.ts";
import { ReplicaState, type SystemReader } from "../sqlite/replica-state.ts";
import type { ObjectStore, StoredObject } from "../store/store.ts";
import { ObjectGone } from "./object-gone.ts";
import { prefetch } from "./prefetch.ts";

/** Snapshots are read in pieces of this size. */
export const PART_BYTES: number = 32 * CHUNK_BYTES;
const PARTS_PARALLEL = 4;
/** https://www.sqlite.org/fileformat2.html#the_database_header */
export const SNAPSHOT_HEADER_BYTES = 100;
const PAGE_SIZE_OFFSET = 16;
const PAGE_COUNT_OFFSET = 28;
const MAGIC = "SQLite format 3\0";

/** Told of the size of the whole, once, and of each piece that has arrived. */
export interface SnapshotProgress {
  expect(bytes: number): void;
  arrived(bytes: number): void;
}

/**
 * The database that a snapshot holds.
 *
 * @throws ObjectGone; ClusterError `corrupt`/`snapshot_corrupt`
 */
export async function readSnapshot(
  store: ObjectStore,
  system: SystemReader,
  epoch: number,
  progress: SnapshotProgress,
  signal: AbortSignal | undefined,
): Promise<ReplicaState> {
  const key = snapshotKey(epoch);
  // Piece by piece: hashing a large one at once would keep the process from everything else.
  const image = new DurableImage();
  for await (const { bytes, size } of snapshotParts(store, epoch, signal)) {
    if (image.pageCount === 0) progress.expect(size);
    for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
      const chunk = bytes.subarray(start, start + CHUNK_BYTES);
      image.append(chunk, chunk.length / PAGE_BYTES);
    }
    progress.arrived(bytes.length);
  }
  const state = ReplicaState.fromSnapshot(system, image, epoch, key);
  const { chain } = state.rows;
  // Its own epoch, or one before it, wrote the row.
  if (chain !== undefined && chain.epoch >= epoch)
    refuseSnapshot(key, "epoch before it", `before ${epoch}`, String(chain.epoch));
  return state;
}

/** A snapshot's pieces of {@link PART_BYTES}, the last one shorter, in order; its header and its size are checked. */
export async function* snapshotParts(
  store: ObjectStore,
  epoch: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<StoredObject, void, undefined> {
  const key = snapshotKey(epoch);
  const readPart = async (offset: number) => {
    const part = await store.get(key, { range: { offset, length: PART_BYTES }, signal });
    if (part === undefined) throw new ObjectGone(key);
    return part;
  };
  const first = await readPart(0);
  checkSnapshotHeader(first.bytes, first.size, key);
  checkPart(first, 0);
  yield first;
  const offsets = Array.from(
    { length: Math.ceil(first.size / PART_BYTES) - 1 },
    (_, index) => (index + 1) * PART_BYTES,
  );
  const parts = prefetch(offsets, readPart, () => PART_BYTES, PARTS_PARALLEL, PARTS_PARALLEL * PART_BYTES);
  for await (const { item, result } of parts) {
    if (result.size !== first.size) refuseSnapshot(key, "size", `${first.size} bytes`, `${result.size} bytes`);
    checkPart(result, item);
    yield result;
  }
}

function checkPart({ key, size, bytes }: StoredObject, offset: number): void {
  const expected = Math.min(PART_BYTES, size - offset);
  if (bytes.length !== expected)
    refuseSnapshot(key, `bytes from ${offset}`, `${expected} bytes`, `${bytes.length} bytes`);
}

/**
 * Checks what the first bytes of a snapshot say.
 *
 * @param head at least the first {@link SNAPSHOT_HEADER_BYTES}
 * @param size of the whole object
 */
export function checkSnapshotHeader(head: Uint8Array, size: number, key: string): void {
  if (size === 0 || size % PAGE_BYTES !== 0)
    refuseSnapshot(key, "size", `a multiple of ${PAGE_BYTES} bytes`, `${size} bytes`);
  if (head.length < SNAPSHOT_HEADER_BYTES)
    refuseSnapshot(key, "header", `${SNAPSHOT_HEADER_BYTES} bytes`, `${head.length} bytes`);
  const magic = new TextDecoder("latin1").decode(head.subarray(0, MAGIC.length));
  if (magic !== MAGIC) refuseSnapshot(key, "header", "an SQLite database", "something else");
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const pageBytes = view.getUint16(PAGE_SIZE_OFFSET);
  if (pageBytes !== PAGE_BYTES) refuseSnapshot(key, "page size", String(PAGE_BYTES), String(pageBytes));
  const pageCount = view.getUint32(PAGE_COUNT_OFFSET);
  if (pageCount !== size / PAGE_BYTES) refuseSnapshot(key, "size", `${pageCount} pages`, `${size / PAGE_BYTES} pages`);
}

/** @throws ClusterError `corrupt`/`snapshot_corrupt` */
export function refuseSnapshot(object: string, where: string, expected: string, found: string): never {
  throw new ClusterError(
    "corrupt",
    "snapshot_corrupt",
    `${object} is damaged and was not used: ${where}: expected ${expected}, found ${found}`,
    { object, where, expected, found },
  );
}
