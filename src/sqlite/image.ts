/**
 * The durable image: the database as of the last durable epoch, in memory.
 *
 * ```
 *  apply(wal) ──► chunks of 64 pages, updated in place ──► read()
 *                      │ before a page is overwritten or cut off,
 *                      ▼ its old bytes go to every pin that has none yet
 *                    pins: saved pages of an older version ──► pin.read()
 * ```
 *
 * Without pins it costs the database's size plus 8 bytes of hash a page; a pin
 * adds what changes while it is held.
 */
import { formatHash, type Hash64, hashPage } from "../base/page-hash.ts";
import { framePageOffset, PAGE_BYTES, type Wal } from "../format/wal.ts";

export const CHUNK_PAGES = 64;
/** Memory is taken from the machine in pieces of this size. */
export const CHUNK_BYTES: number = CHUNK_PAGES * PAGE_BYTES;
const PAGE_WORDS = PAGE_BYTES / 4;
const ZERO_PAGE: Uint32Array = new Uint32Array(PAGE_WORDS);

/** A database that can be read by offset: the image, a pin of it, or layers above it. */
export interface PageSource {
  readonly pageCount: number;
  /** Copies bytes into `target`; gives how many there were (less than `length` only at the end). Never crosses a page. */
  read(offset: number, length: number, target: Uint8Array, targetOffset: number): number;
}

let versions = 0;

function nextVersion(): number {
  versions = (versions + 1) >>> 0;
  return versions;
}

export class DurableImage implements PageSource {
  readonly #chunks: Uint8Array[] = [];
  /** The same memory as `#chunks`, for the hash. */
  readonly #words: Uint32Array[] = [];
  #hashes: Uint32Array = new Uint32Array(2 * CHUNK_PAGES);
  #pageCount = 0;
  #sumLow = 0;
  #sumHigh = 0;
  #version = nextVersion();
  readonly #pins = new Set<ImagePin>();
  readonly #hash: Hash64 = { low: 0, high: 0 };

  /**
   * An image over memory that the caller gives up: each chunk but the last is
   * exactly {@link CHUNK_BYTES} long and starts on a 4-byte boundary.
   */
  static adopt(chunks: readonly Uint8Array[], pageCount: number): DurableImage {
    const image = new DurableImage();
    const chunkCount = Math.ceil(pageCount / CHUNK_PAGES);
    if (chunks.length !== chunkCount)
      throw new RangeError(`${pageCount} pages are ${chunkCount} chunks, not ${chunks.length}`);
    for (const [index, chunk] of chunks.entries())
      image.append(chunk, Math.min(CHUNK_PAGES, pageCount - index * CHUNK_PAGES));
    return image;
  }

  /**
   * Adds pages at the end of an image that nobody reads yet, and whose chunks are whole: a large one is made piece by
   * piece. The caller gives the memory up.
   */
  append(chunk: Uint8Array, pages: number): void {
    const before = this.#pageCount;
    if (before % CHUNK_PAGES !== 0) throw new RangeError(`the chunk before page ${before + 1} is not whole`);
    if (chunk.length < pages * PAGE_BYTES) throw new RangeError(`${pages} pages in ${chunk.length} bytes`);
    if (chunk.length === CHUNK_BYTES && pages === CHUNK_PAGES && chunk.byteOffset % 4 === 0) {
      this.#addChunk(chunk);
    } else {
      const whole = new Uint8Array(CHUNK_BYTES);
      whole.set(chunk.subarray(0, pages * PAGE_BYTES));
      this.#addChunk(whole);
    }
    this.#pageCount = before + pages;
    this.#growHashes(this.#pageCount);
    for (let pageNumber = before + 1; pageNumber <= this.#pageCount; pageNumber++) this.#addHash(pageNumber);
  }

  get pageCount(): number {
    return this.#pageCount;
  }

  /** Bytes of the database file. */
  get byteLength(): number {
    return this.#pageCount * PAGE_BYTES;
  }

  /** Changes with every change, and differs between images: SQLite's page caches are valid for one version. */
  get version(): number {
    return this.#version;
  }

  /** The state checksum, 16 hexadecimal digits. */
  get stateChecksum(): string {
    return formatHash(this.#sumLow, this.#sumHigh);
  }

  /** Pins held now. */
  get pinCount(): number {
    return this.#pins.size;
  }

  read(offset: number, length: number, target: Uint8Array, targetOffset: number): number {
    const available = Math.min(length, this.byteLength - offset);
    if (available <= 0) return 0;
    const chunk = this.#chunks[Math.floor(offset / CHUNK_BYTES)] as Uint8Array;
    const start = offset % CHUNK_BYTES;
    target.set(chunk.subarray(start, start + available), targetOffset);
    return available;
  }

  /** The bytes of one page, without a copy: valid until the next change. */
  page(pageNumber: number): Uint8Array {
    if (pageNumber < 1 || pageNumber > this.#pageCount)
      throw new RangeError(`no page ${pageNumber} of ${this.#pageCount}`);
    const start = ((pageNumber - 1) % CHUNK_PAGES) * PAGE_BYTES;
    return (this.#chunks[Math.floor((pageNumber - 1) / CHUNK_PAGES)] as Uint8Array).subarray(start, start + PAGE_BYTES);
  }

  /** Applies a verified WAL: its pages and the size of the database. */
  apply(wal: Wal): void {
    this.#version = nextVersion();
    this.#shrink(wal.pageCount);
    const oldPageCount = this.#pageCount;
    this.#grow(wal.pageCount);
    for (let frame = 0; frame < wal.frameCount; frame++) {
      const pageNumber = wal.pageNumbers[frame] as number;
      if (pageNumber > wal.pageCount) continue;
      if (pageNumber <= oldPageCount) this.#savePage(pageNumber);
      this.#subtractHash(pageNumber);
      const offset = framePageOffset(frame);
      this.page(pageNumber).set(wal.bytes.subarray(offset, offset + PAGE_BYTES));
      this.#addHash(pageNumber);
    }
    for (let pageNumber = oldPageCount + 1; pageNumber <= wal.pageCount; pageNumber++) {
      if (!this.#isHashed(pageNumber)) this.#addHash(pageNumber);
    }
  }

  /**
   * Numbers of the pages of `other` that this image has not, or has with other bytes, ascending. Equal hashes are not
   * believed: who chooses what is in a page can make them equal.
   *
   * @param isSame says that the page is known to have the same bytes in both
   */
  differingPages(other: DurableImage, isSame: (pageNumber: number) => boolean = () => false): Uint32Array {
    const pageNumbers: number[] = [];
    for (let pageNumber = 1; pageNumber <= other.#pageCount; pageNumber++) {
      if (pageNumber > this.#pageCount || !(isSame(pageNumber) || this.hasSamePage(other, pageNumber)))
        pageNumbers.push(pageNumber);
    }
    return Uint32Array.from(pageNumbers);
  }

  /** Whether a page that both have holds the same bytes. */
  hasSamePage(other: DurableImage, pageNumber: number): boolean {
    for (const index of [2 * pageNumber - 2, 2 * pageNumber - 1]) {
      if (this.#hashes[index] !== other.#hashes[index]) return false;
    }
    const chunk = Math.floor((pageNumber - 1) / CHUNK_PAGES);
    const start = ((pageNumber - 1) % CHUNK_PAGES) * PAGE_WORDS;
    return equalWords(this.#words[chunk] as Uint32Array, other.#words[chunk] as Uint32Array, start, start + PAGE_WORDS);
  }

  /** The state checksum that the image will have once `wal` is applied, made from the bytes of the WAL's pages. */
  checksumAfter(wal: Wal): string {
    let low = this.#sumLow;
    let high = this.#sumHigh;
    const subtract = (pageNumber: number) => {
      low = (low - (this.#hashes[2 * pageNumber - 2] as number)) >>> 0;
      high = (high - (this.#hashes[2 * pageNumber - 1] as number)) >>> 0;
    };
    const add = (words: Uint32Array, start: number, pageNumber: number) => {
      hashPage(words, start, PAGE_WORDS, pageNumber, this.#hash);
      low = (low + this.#hash.low) >>> 0;
      high = (high + this.#hash.high) >>> 0;
    };
    const frames = new Map<number, number>();
    for (const [frame, pageNumber] of wal.pageNumbers.entries()) frames.set(pageNumber, frame);
    for (let pageNumber = wal.pageCount + 1; pageNumber <= this.#pageCount; pageNumber++) subtract(pageNumber);
    for (const [pageNumber, frame] of frames) {
      if (pageNumber > wal.pageCount) continue;
      if (pageNumber <= this.#pageCount) subtract(pageNumber);
      add(wal.words, framePageOffset(frame) / 4, pageNumber);
    }
    for (let pageNumber = this.#pageCount + 1; pageNumber <= wal.pageCount; pageNumber++) {
      if (!frames.has(pageNumber)) add(ZERO_PAGE, 0, pageNumber);
    }
    return formatHash(low, high);
  }

  /** Holds the present version readable until `release`. */
  pin(): ImagePin {
    const pin = new ImagePin(this, this.#pageCount, (released) => this.#pins.delete(released));
    this.#pins.add(pin);
    return pin;
  }

  #shrink(pageCount: number): void {
    if (pageCount >= this.#pageCount) return;
    for (let pageNumber = pageCount + 1; pageNumber <= this.#pageCount; pageNumber++) {
      this.#savePage(pageNumber);
      this.#subtractHash(pageNumber);
      // A later growth finds zeros where it writes nothing, as in a file.
      this.page(pageNumber).fill(0);
    }
    this.#pageCount = pageCount;
    this.#chunks.length = Math.ceil(pageCount / CHUNK_PAGES);
    this.#words.length = this.#chunks.length;
  }

  #grow(pageCount: number): void {
    const chunkCount = Math.ceil(pageCount / CHUNK_PAGES);
    while (this.#chunks.length < chunkCount) this.#addChunk(new Uint8Array(CHUNK_BYTES));
    this.#growHashes(pageCount);
    this.#pageCount = pageCount;
  }

  #addChunk(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#words.push(new Uint32Array(chunk.buffer, chunk.byteOffset, CHUNK_BYTES / 4));
  }

  #growHashes(pageCount: number): void {
    if (this.#hashes.length >= 2 * pageCount) return;
    const hashes = new Uint32Array(Math.max(2 * pageCount, 2 * this.#hashes.length));
    hashes.set(this.#hashes);
    this.#hashes = hashes;
  }

  #addHash(pageNumber: number): void {
    const words = this.#words[Math.floor((pageNumber - 1) / CHUNK_PAGES)] as Uint32Array;
    hashPage(words, ((pageNumber - 1) % CHUNK_PAGES) * PAGE_WORDS, PAGE_WORDS, pageNumber, this.#hash);
    this.#hashes[2 * pageNumber - 2] = this.#hash.low;
    this.#hashes[2 * pageNumber - 1] = this.#hash.high;
    this.#sumLow = (this.#sumLow + this.#hash.low) >>> 0;
    this.#sumHigh = (this.#sumHigh + this.#hash.high) >>> 0;
  }

  #subtractHash(pageNumber: number): void {
    this.#sumLow = (this.#sumLow - (this.#hashes[2 * pageNumber - 2] as number)) >>> 0;
    this.#sumHigh = (this.#sumHigh - (this.#hashes[2 * pageNumber - 1] as number)) >>> 0;
    this.#hashes[2 * pageNumber - 2] = 0;
    this.#hashes[2 * pageNumber - 1] = 0;
  }

  /** False for a page that was just grown; a hash of zero reads the same, and counts zero. */
  #isHashed(pageNumber: number): boolean {
    return (this.#hashes[2 * pageNumber - 2] as number) !== 0 || (this.#hashes[2 * pageNumber - 1] as number) !== 0;
  }

  #savePage(pageNumber: number): void {
    let copy: Uint8Array | undefined;
    for (const pin of this.#pins) {
      if (pin.needs(pageNumber)) {
        copy ??= this.page(pageNumber).slice();
        pin.save(pageNumber, copy);
      }
    }
  }
}

function equalWords(a: Uint32Array, b: Uint32Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

/** One version of the image, readable until released. */
export class ImagePin implements PageSource {
  readonly pageCount: number;
  /** The image's version that the pin shows. */
  readonly version: number;
  readonly #image: DurableImage;
  readonly #saved = new Map<number, Uint8Array>();
  readonly #onRelease: (pin: ImagePin) => void;
  #released = false;

  /** Only {@link DurableImage.pin} makes pins. */
  constructor(image: DurableImage, pageCount: number, onRelease: (pin: ImagePin) => void) {
    this.#image = image;
    this.pageCount = pageCount;
    this.version = image.version;
    this.#onRelease = onRelease;
  }

  get byteLength(): number {
    return this.pageCount * PAGE_BYTES;
  }

  /** Pages whose old bytes the pin keeps. */
  get savedPages(): number {
    return this.#saved.size;
  }

  read(offset: number, length: number, target: Uint8Array, targetOffset: number): number {
    if (this.#released) throw new Error("the pin was released");
    const available = Math.min(length, this.byteLength - offset);
    if (available <= 0) return 0;
    const saved = this.#saved.get(Math.floor(offset / PAGE_BYTES) + 1);
    if (saved === undefined) return this.#image.read(offset, available, target, targetOffset);
    const start = offset % PAGE_BYTES;
    target.set(saved.subarray(start, start + available), targetOffset);
    return available;
  }

  /** A copy of `length` bytes from `offset`; may cross pages. */
  copy(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const within = Math.min(length - done, PAGE_BYTES - ((offset + done) % PAGE_BYTES));
      const count = this.read(offset + done, within, bytes, done);
      if (count !== within) throw new RangeError(`bytes ${offset} to ${offset + length} of ${this.byteLength}`);
      done += count;
    }
    return bytes;
  }

  /** True if the image must save the page before it changes. */
  needs(pageNumber: number): boolean {
    return pageNumber <= this.pageCount && !this.#saved.has(pageNumber);
  }

  /** Keeps the old bytes of a page. */
  save(pageNumber: number, bytes: Uint8Array): void {
    this.#saved.set(pageNumber, bytes);
  }

  /** Lets the version go; safe twice. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#saved.clear();
    this.#onRelease(this);
  }
}

/** A verified WAL on top of another source, for looking at an epoch before it is applied. */
export class WalLayer implements PageSource {
  readonly pageCount: number;
  readonly #below: PageSource;
  readonly #wal: Wal;
  readonly #offsets = new Map<number, number>();

  constructor(below: PageSource, wal: Wal) {
    this.#below = below;
    this.#wal = wal;
    this.pageCount = wal.pageCount;
    for (let frame = 0; frame < wal.frameCount; frame++) {
      this.#offsets.set(wal.pageNumbers[frame] as number, framePageOffset(frame));
    }
  }

  read(offset: number, length: number, target: Uint8Array, targetOffset: number): number {
    const available = Math.min(length, this.pageCount * PAGE_BYTES - offset);
    if (available <= 0) return 0;
    const pageOffset = this.#offsets.get(Math.floor(offset / PAGE_BYTES) + 1);
    if (pageOffset === undefined) {
      // A page that the WAL grows without writing it is zeros, as in a file.
      const count = this.#below.read(offset, available, target, targetOffset);
      target.fill(0, targetOffset + count, targetOffset + available);
      return available;
    }
    const start = pageOffset + (offset % PAGE_BYTES);
    target.set(this.#wal.bytes.subarray(start, start + available), targetOffset);
    return available;
  }
}
