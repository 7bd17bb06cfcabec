/**
 * What SQLite's files really are: the durable image for readers, the image with
 * what is not yet durable above it for the writer, and plain memory.
 */
import { PAGE_BYTES } from "../format/wal.ts";
import type { DurableImage, PageSource } from "./image.ts";
import type { VfsFile } from "./vfs.ts";

/** A file in memory: the writer's WAL, temporary files. */
export class MemoryFile implements VfsFile {
  #bytes = new Uint8Array(0);
  #size = 0;

  read(offset: number, length: number, heap: Uint8Array, heapOffset: number): number {
    const count = Math.max(0, Math.min(length, this.#size - offset));
    if (count > 0) heap.set(this.#bytes.subarray(offset, offset + count), heapOffset);
    return count;
  }

  write(offset: number, length: number, heap: Uint8Array, heapOffset: number): void {
    const end = offset + length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#bytes.length, INITIAL_BYTES));
      grown.set(this.#bytes.subarray(0, this.#size));
      this.#bytes = grown;
    }
    this.#bytes.set(heap.subarray(heapOffset, heapOffset + length), offset);
    this.#size = Math.max(this.#size, end);
  }

  truncate(size: number): void {
    this.#size = Math.min(this.#size, size);
    if (size === 0 && this.#bytes.length > KEPT_BYTES_MAX) this.#bytes = new Uint8Array(0);
  }

  size(): number {
    return this.#size;
  }

  /** A copy of the whole file. */
  copy(): Uint8Array {
    return this.#bytes.slice(0, this.#size);
  }
}

const INITIAL_BYTES = 16 * 1024;
/** An emptied file keeps up to this much memory for its next content. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

/** One version of a database, held for a reader. */
export interface PinnedSource {
  readonly source: PageSource;
  /** Differs whenever the content differs. */
  readonly version: number;
  release(): void;
}

/** Shows a reader one version of a database at a time, from `lock` to `unlock`. */
export class ReaderFile implements VfsFile {
  readonly #pinSource: () => PinnedSource;
  #pinned: PinnedSource | undefined;

  /** @param pinSource gives the version to show, held until `release` */
  constructor(pinSource: () => PinnedSource) {
    this.#pinSource = pinSource;
  }

  read(offset: number, length: number, heap: Uint8Array, heapOffset: number): number {
    return this.#look(({ source, version }) => {
      const count = source.read(offset, length, heap, heapOffset);
      if (offset < HEADER_BYTES) showAsRollbackDatabase(heap, heapOffset - offset, offset, offset + count, version);
      return count;
    });
  }

  write(): void {
    throw new Error("readers do not write");
  }

  truncate(): void {
    throw new Error("readers do not write");
  }

  size(): number {
    return this.#look(({ source }) => source.pageCount * PAGE_BYTES);
  }

  lock(): void {
    this.#pinned ??= this.#pinSource();
  }

  unlock(level: number): void {
    if (level === 0) this.close();
  }

  close(): void {
    this.#pinned?.release();
    this.#pinned = undefined;
  }

  /** SQLite reads the header once without a lock, when it opens the file. */
  #look(action: (pinned: PinnedSource) => number): number {
    if (this.#pinned !== undefined) return action(this.#pinned);
    const brief = this.#pinSource();
    try {
      return action(brief);
    } finally {
      brief.release();
    }
  }
}

/** A pin of an image in the shape that {@link ReaderFile} wants. */
export function pinImage(image: DurableImage): PinnedSource {
  const pin = image.pin();
  return { source: pin, version: pin.version, release: () => pin.release() };
}

const HEADER_BYTES = 100;
const WRITE_VERSION = 18;
const READ_VERSION = 19;
const CHANGE_COUNTER = 24;
const VERSION_VALID_FOR = 92;

/**
 * Makes page 1 read as that of a rollback-journal database whose change counter
 * is the version: a reader needs no WAL index then, and SQLite drops its page
 * cache exactly when the version differs from the one it read last.
 * https://www.sqlite.org/fileformat2.html#the_database_header
 *
 * @param base where byte 0 of the file would be in `heap`
 * @param from first byte of the file that is there
 * @param to one past the last
 */
function showAsRollbackDatabase(heap: Uint8Array, base: number, from: number, to: number, version: number): void {
  const put = (position: number, byte: number) => {
    if (position >= from && position < to) heap[base + position] = byte;
  };
  put(WRITE_VERSION, 1);
  put(READ_VERSION, 1);
  for (const start of [CHANGE_COUNTER, VERSION_VALID_FOR]) {
    put(start, (version >>> 24) & 0xff);
    put(start + 1, (version >>> 16) & 0xff);
    put(start + 2, (version >>> 8) & 0xff);
    put(start + 3, version & 0xff);
  }
}

/** The writer's main file: reads from the layers, and takes writes only from checkpoints. */
export class WriterFile implements VfsFile {
  #source: PageSource;
  /** Pages written before there was a WAL: page 1, when SQLite turns a new database into a WAL database. */
  readonly #early = new Map<number, Uint8Array>();
  #earlyPageCount = 0;

  constructor(source: PageSource) {
    this.#source = source;
  }

  /** Changes what lies below; the content is the same, or SQLite is at a state that has read nothing of the old. */
  setSource(source: PageSource): void {
    this.#source = source;
    this.#early.clear();
    this.#earlyPageCount = 0;
  }

  read(offset: number, length: number, heap: Uint8Array, heapOffset: number): number {
    const early = this.#early.get(Math.floor(offset / PAGE_BYTES) + 1);
    if (early === undefined) return this.#source.read(offset, length, heap, heapOffset);
    const start = offset % PAGE_BYTES;
    heap.set(early.subarray(start, start + length), heapOffset);
    return length;
  }

  write(offset: number, length: number, heap: Uint8Array, heapOffset: number): void {
    if (this.#source.pageCount > 0) return; // A checkpoint: the same bytes are in the WAL layer below already.
    if (length !== PAGE_BYTES) throw new Error(`write of ${length} bytes at ${offset}`);
    const pageNumber = offset / PAGE_BYTES + 1;
    this.#early.set(pageNumber, heap.slice(heapOffset, heapOffset + length));
    this.#earlyPageCount = Math.max(this.#earlyPageCount, pageNumber);
  }

  truncate(): void {
    // The size is that of the source, which has the WAL's size after the commit.
  }

  size(): number {
    return Math.max(this.#source.pageCount, this.#earlyPageCount) * PAGE_BYTES;
  }
}
