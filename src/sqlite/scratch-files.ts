/**
 * Databases in memory that SQLite may change at will, apart from any image: one that is read from a file, one that it
 * makes anew, and a layer for changes above pages that stay as they are.
 */
import { PAGE_BYTES } from "../format/wal.ts";
import { CHUNK_BYTES, type PageSource } from "./image.ts";
import type { VfsFile } from "./vfs.ts";

const WRITE_VERSION = 18;
const READ_VERSION = 19;
const ROLLBACK_MODE = 1;
const WAL_MODE = 2;

/** A file in pieces of {@link CHUNK_BYTES}: it grows without a copy of what is there. */
export class ChunkedFile implements VfsFile, PageSource {
  readonly #chunks: Uint8Array[];
  #size: number;
  /** Told of the bytes that SQLite reads or writes; what it throws ends SQLite's call. */
  onBytes: (count: number) => void = () => {};

  /** @param chunks memory that the caller gives up, each but the last {@link CHUNK_BYTES} long */
  constructor(chunks: readonly Uint8Array[] = [], size = 0) {
    this.#chunks = [...chunks];
    this.#size = size;
  }

  get pageCount(): number {
    return Math.floor(this.#size / PAGE_BYTES);
  }

  read(offset: number, length: number, target: Uint8Array, targetOffset: number): number {
    const count = Math.max(0, Math.min(length, this.#size - offset));
    this.onBytes(count);
    for (let done = 0; done < count; ) {
      const { chunk, start } = this.#at(offset + done);
      const part = chunk.subarray(start, start + Math.min(count - done, CHUNK_BYTES - start));
      target.set(part, targetOffset + done);
      done += part.length;
    }
    return count;
  }

  write(offset: number, length: number, source: Uint8Array, sourceOffset: number): void {
    this.onBytes(length);
    this.#grow(offset + length);
    for (let done = 0; done < length; ) {
      const { chunk, start } = this.#at(offset + done);
      const count = Math.min(length - done, CHUNK_BYTES - start);
      chunk.set(source.subarray(sourceOffset + done, sourceOffset + done + count), start);
      done += count;
    }
  }

  truncate(size: number): void {
    if (size >= this.#size) return;
    this.#size = size;
    this.#chunks.length = Math.ceil(size / CHUNK_BYTES);
    // A later growth finds zeros where it writes nothing, as in a file.
    this.#chunks.at(-1)?.fill(0, size - (this.#chunks.length - 1) * CHUNK_BYTES);
  }

  size(): number {
    return this.#size;
  }

  /** A copy of the first `length` bytes, fewer if there are fewer. */
  head(length: number): Uint8Array {
    return (this.#chunks[0] ?? new Uint8Array(0)).slice(0, Math.min(length, this.#size));
  }

  /** Makes SQLite open a database without a WAL. Only right where nothing is in one. */
  leaveWalMode(): void {
    const first = this.#chunks[0];
    for (const at of [WRITE_VERSION, READ_VERSION]) {
      if (first?.[at] === WAL_MODE) first[at] = ROLLBACK_MODE;
    }
  }

  #grow(size: number): void {
    if (size <= this.#size) return;
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.length < CHUNK_BYTES) {
      const whole = new Uint8Array(CHUNK_BYTES);
      whole.set(last);
      this.#chunks[this.#chunks.length - 1] = whole;
    }
    while (this.#chunks.length * CHUNK_BYTES < size) this.#chunks.push(new Uint8Array(CHUNK_BYTES));
    this.#size = size;
  }

  #at(offset: number): { chunk: Uint8Array; start: number } {
    return { chunk: this.#chunks[Math.floor(offset / CHUNK_BYTES)] as Uint8Array, start: offset % CHUNK_BYTES };
  }
}

/** A database of ours as a file without a WAL; what SQLite writes lies above the source, which stays as it is. */
export class LayeredFile implements VfsFile, PageSource {
  readonly #below: PageSource;
  readonly #written = new Map<number, Uint8Array>();
  #pageCount: number;
  /** Pages of the source that were never cut off. */
  #belowPageCount: number;

  constructor(below: PageSource) {
    this.#below = below;
    this.#pageCount = below.pageCount;
    this.#belowPageCount = below.pageCount;
    const first = new Uint8Array(PAGE_BYTES);
    below.read(0, PAGE_BYTES, first, 0);
    first[WRITE_VERSION] = ROLLBACK_MODE;
    first[READ_VERSION] = ROLLBACK_MODE;
    this.#written.set(1, first);
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  read(offset: number, length: number, target: Uint8Array, targetOffset: number): number {
    const available = Math.min(length, this.size() - offset);
    if (available <= 0) return 0;
    const written = this.#written.get(Math.floor(offset / PAGE_BYTES) + 1);
    if (written === undefined) {
      const isBelow = offset < this.#belowPageCount * PAGE_BYTES;
      const count = isBelow ? this.#below.read(offset, available, target, targetOffset) : 0;
      target.fill(0, targetOffset + count, targetOffset + available);
      return available;
    }
    const start = offset % PAGE_BYTES;
    target.set(written.subarray(start, start + available), targetOffset);
    return available;
  }

  write(offset: number, length: number, source: Uint8Array, sourceOffset: number): void {
    if (length !== PAGE_BYTES || offset % PAGE_BYTES !== 0) throw new Error(`write of ${length} bytes at ${offset}`);
    const pageNumber = offset / PAGE_BYTES + 1;
    this.#written.set(pageNumber, source.slice(sourceOffset, sourceOffset + length));
    this.#pageCount = Math.max(this.#pageCount, pageNumber);
  }

  truncate(size: number): void {
    const pageCount = Math.ceil(size / PAGE_BYTES);
    for (let pageNumber = pageCount + 1; pageNumber <= this.#pageCount; pageNumber++) this.#written.delete(pageNumber);
    this.#pageCount = Math.min(this.#pageCount, pageCount);
    this.#belowPageCount = Math.min(this.#belowPageCount, pageCount);
  }

  size(): number {
    return this.#pageCount * PAGE_BYTES;
  }
}

/** A copy of whole pages of a source, from the one at `offset` on. */
export function copyPages(source: PageSource, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; done += PAGE_BYTES) {
    source.read(offset + done, Math.min(PAGE_BYTES, length - done), bytes, done);
  }
  return bytes;
}
