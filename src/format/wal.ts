/**
 * SQLite's WAL file as a value: one epoch is one WAL file with exactly one
 * commit. Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 *
 * ```
 * offset  WAL header, 32 bytes, big-endian     offset  frame header, 24 bytes
 *      0  magic 0x377f0682 (checksum words          0  page number
 *         little-endian) or ...83 (big-endian)      4  database size in pages after the
 *      4  version 3007000                              commit; 0 if not a commit frame
 *      8  page size                                 8  salt 1, as in the header
 *     12  checkpoint sequence number               12  salt 2, as in the header
 *     16  salt 1                                   16  checksum 1 \ of everything up to here
 *     20  salt 2                                   20  checksum 2 / and of the page
 *     24  checksum 1 \ of the 24 bytes             24  the page
 *     28  checksum 2 / before
 * ```
 *
 * Every byte is covered: the checksums chain through all frames, the salts must
 * repeat, and the one commit frame must end the file, so a file that is cut or
 * changed anywhere is refused.
 */
import { ClusterError } from "../errors.ts";

export const WAL_HEADER_BYTES = 32;
export const FRAME_HEADER_BYTES = 24;
/** The only page size of ours (docs/architecture.md §2). */
export const PAGE_BYTES = 4096;

const FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES;
const FRAME_WORDS = FRAME_BYTES / 4;
const PAGE_WORDS = PAGE_BYTES / 4;
const MAGIC_LITTLE_ENDIAN = 0x377f0682;
const MAGIC_BIG_ENDIAN = 0x377f0683;
const VERSION = 3007000;

/** A verified WAL file. */
export interface Wal {
  /** The whole file, its start aligned to 4 bytes. */
  readonly bytes: Uint8Array;
  /** The same memory as 32-bit words. */
  readonly words: Uint32Array;
  /** Number of frames, at least 1. */
  readonly frameCount: number;
  /** Page number of each frame, in the order of the file; of a page that repeats the last frame counts. */
  readonly pageNumbers: Uint32Array;
  /** Size of the database after the commit, in pages. */
  readonly pageCount: number;
}

/** Offset in `wal.bytes` of the page of a frame. */
export function framePageOffset(frame: number): number {
  return WAL_HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES;
}

/** Size of a WAL file with so many frames. */
export function walByteLength(frameCount: number): number {
  return WAL_HEADER_BYTES + frameCount * FRAME_BYTES;
}

/**
 * Verifies a WAL file of one commit.
 *
 * @param bytes the file; not copied if it starts on a 4-byte boundary, and then must not change
 * @param what names the object in the error
 * @throws ClusterError `corrupt`/`wal_corrupt` with `details.object`, `where`, `expected`, `found`
 */
export function parseWal(bytes: Uint8Array, what: string): Wal {
  if (bytes.length < walByteLength(1)) refuse(what, "file size", `at least ${walByteLength(1)} bytes`, bytes.length);
  // Not by `slice`: that of a `Buffer`, which pieces of a stream are, is a view.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >>> 2);
  const view = new DataView(aligned.buffer, aligned.byteOffset, aligned.length);

  const magic = view.getUint32(0);
  if (magic !== MAGIC_LITTLE_ENDIAN && magic !== MAGIC_BIG_ENDIAN)
    refuse(what, "magic", "377f0682", magic.toString(16));
  const version = view.getUint32(4);
  if (version !== VERSION) refuse(what, "version", VERSION, version);
  const pageBytes = view.getUint32(8);
  if (pageBytes !== PAGE_BYTES) refuse(what, "page size", PAGE_BYTES, pageBytes);
  if ((aligned.length - WAL_HEADER_BYTES) % FRAME_BYTES !== 0) {
    refuse(what, "file size", `32 bytes and whole frames of ${FRAME_BYTES}`, aligned.length);
  }
  const sum = new Checksum(magic === MAGIC_BIG_ENDIAN);
  sum.add(words, 0, 6);
  sum.check(view, 24, what, "header checksum");

  const frameCount = (aligned.length - WAL_HEADER_BYTES) / FRAME_BYTES;
  const pageNumbers = new Uint32Array(frameCount);
  let pageCount = 0;
  for (let frame = 0; frame < frameCount; frame++) {
    const offset = WAL_HEADER_BYTES + frame * FRAME_BYTES;
    const where = `frame ${frame + 1} of ${frameCount}`;
    const pageNumber = view.getUint32(offset);
    if (pageNumber === 0) refuse(what, `${where}, page number`, "1 or more", 0);
    pageNumbers[frame] = pageNumber;
    for (const salt of [0, 4]) {
      if (view.getUint32(offset + 8 + salt) !== view.getUint32(16 + salt)) {
        refuse(
          what,
          `${where}, salt`,
          view.getUint32(16 + salt).toString(16),
          view.getUint32(offset + 8 + salt).toString(16),
        );
      }
    }
    sum.add(words, offset / 4, 2);
    sum.add(words, (offset + FRAME_HEADER_BYTES) / 4, PAGE_WORDS);
    sum.check(view, offset + 16, what, `${where}, checksum`);
    pageCount = view.getUint32(offset + 4);
    if ((pageCount !== 0) !== (frame === frameCount - 1)) {
      refuse(what, `${where}, commit`, "one commit, in the last frame", pageCount === 0 ? "none" : "an earlier one");
    }
  }
  return { bytes: aligned, words, frameCount, pageNumbers, pageCount };
}

/** A page to write into a WAL file. */
export interface WalPage {
  readonly pageNumber: number;
  /** 4096 bytes. */
  readonly bytes: Uint8Array;
}

/**
 * Writes a WAL file of one commit, as SQLite on a little-endian machine would.
 *
 * @param pages at least one, each number at least 1
 * @param pageCount size of the database after the commit, in pages
 * @param salts two 32-bit numbers; differ between the WAL files of one database
 */
export function encodeWal(pages: readonly WalPage[], pageCount: number, salts: readonly [number, number]): Uint8Array {
  if (pages.length === 0 || pageCount < 1) throw new RangeError("a WAL file has at least one page");
  const bytes = new Uint8Array(walByteLength(pages.length));
  const words = new Uint32Array(bytes.buffer);
  const view = new DataView(bytes.buffer);
  const sum = new Checksum(false);
  view.setUint32(0, MAGIC_LITTLE_ENDIAN);
  view.setUint32(4, VERSION);
  view.setUint32(8, PAGE_BYTES);
  view.setUint32(16, salts[0]);
  view.setUint32(20, salts[1]);
  sum.add(words, 0, 6);
  sum.write(view, 24);
  for (const [frame, page] of pages.entries()) {
    if (page.bytes.length !== PAGE_BYTES)
      throw new RangeError(`page ${page.pageNumber} has ${page.bytes.length} bytes`);
    const word = WAL_HEADER_BYTES / 4 + frame * FRAME_WORDS;
    view.setUint32(word * 4, page.pageNumber);
    view.setUint32(word * 4 + 4, frame === pages.length - 1 ? pageCount : 0);
    view.setUint32(word * 4 + 8, salts[0]);
    view.setUint32(word * 4 + 12, salts[1]);
    bytes.set(page.bytes, framePageOffset(frame));
    sum.add(words, word, 2);
    sum.add(words, word + FRAME_HEADER_BYTES / 4, PAGE_WORDS);
    sum.write(view, word * 4 + 16);
  }
  return bytes;
}

/** SQLite's running WAL checksum: two 32-bit sums, each fed with every second word and the other sum. */
class Checksum {
  #first = 0;
  #second = 0;
  readonly #swap: boolean;

  constructor(bigEndianWords: boolean) {
    this.#swap = bigEndianWords;
  }

  add(words: Uint32Array, start: number, count: number): void {
    let first = this.#first;
    let second = this.#second;
    const end = start + count;
    if (this.#swap) {
      for (let i = start; i < end; i += 2) {
        first = (first + swapBytes(words[i] as number) + second) | 0;
        second = (second + swapBytes(words[i + 1] as number) + first) | 0;
      }
    } else {
      for (let i = start; i < end; i += 2) {
        first = (first + (words[i] as number) + second) | 0;
        second = (second + (words[i + 1] as number) + first) | 0;
      }
    }
    this.#first = first;
    this.#second = second;
  }

  write(view: DataView, offset: number): void {
    view.setUint32(offset, this.#first >>> 0);
    view.setUint32(offset + 4, this.#second >>> 0);
  }

  check(view: DataView, offset: number, what: string, where: string): void {
    const found = [view.getUint32(offset), view.getUint32(offset + 4)];
    if (found[0] === this.#first >>> 0 && found[1] === this.#second >>> 0) return;
    const hex = (a = 0, b = 0) => `${(a >>> 0).toString(16)} ${(b >>> 0).toString(16)}`;
    refuse(what, where, hex(this.#first, this.#second), hex(found[0], found[1]));
  }
}

function swapBytes(word: number): number {
  return ((word & 0xff) << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

function refuse(object: string, where: string, expected: string | number, found: string | number): never {
  throw new ClusterError(
    "corrupt",
    "wal_corrupt",
    `${object} is damaged and was not applied: ${where}: expected ${expected}, found ${found}`,
    { object, where, expected, found },
  );
}
