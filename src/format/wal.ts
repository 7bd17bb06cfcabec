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

/** Frames of a WAL file of so many bytes. */
export function walFrameCount(byteLength: number): number {
  return (byteLength - WAL_HEADER_BYTES) / FRAME_BYTES;
}

/**
 * Verifies a WAL file of one commit.
 *
 * @param bytes the file; not copied if it starts on a 4-byte boundary, and then must not change
 * @param what names the object in the error
 * @throws ClusterError `corrupt`/`wal_corrupt` with `details.object`, `where`, `expected`, `found`
 */
export function parseWal(bytes: Uint8Array, what: string): Wal {
  return parseWalPrefix(bytes, bytes.length, what);
}

/**
 * Verifies the header and the whole frames of the beginning of a WAL file of one commit; `pageCount` is 0 if the last
 * frame is not among them.
 *
 * @param fileBytes size of the whole file
 */
export function parseWalPrefix(bytes: Uint8Array, fileBytes: number, what: string): Wal {
  if (fileBytes < walByteLength(1)) refuse(what, "file size", `at least ${walByteLength(1)} bytes`, fileBytes);
  if (bytes.length < walByteLength(1) || bytes.length > fileBytes) {
    refuse(what, "bytes read", `${walByteLength(1)} to ${fileBytes}`, bytes.length);
  }
  // Not by `slice`: that of a `Buffer`, which pieces of a stream are, is a view.
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, Math.floor(aligned.length / 4));
  const view = new DataView(aligned.buffer, aligned.byteOffset, aligned.length);

  const magic = view.getUint32(0);
  if (magic !== MAGIC_LITTLE_ENDIAN && magic !== MAGIC_BIG_ENDIAN)
    refuse(what, "magic", "377f0682", magic.toString(16));
  const version = view.getUint32(4);
  if (version !== VERSION) refuse(what, "version", VERSION, version);
  const pageBytes = view.getUint32(8);
  if (pageBytes !== PAGE_BYTES) refuse(what, "page size", PAGE_BYTES, pageBytes);
  if ((fileBytes - WAL_HEADER_BYTES) % FRAME_BYTES !== 0) {
    refuse(what, "file size", `32 bytes and whole frames of ${FRAME_BYTES}`, fileBytes);
  }
  const sum = new Checksum(magic === MAGIC_BIG_ENDIAN);
  sum.add(words, 0, 6);
  sum.check(view, 24, what, "header checksum");

  const frameCount = Math.floor((aligned.length - WAL_HEADER_BYTES) / FRAME_BYTES);
  const fileFrameCount = walFrameCount(fileBytes);
  const pageNumbers = new Uint32Array(frameCount);
  let pageCount = 0;
  for (let frame = 0; frame < frameCount; frame++) {
    const offset = WAL_HEADER_BYTES + frame * FRAME_BYTES;
    const where = `frame ${frame + 1} of ${fileFrameCount}`;
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
    if ((pageCount !== 0) !== (frame === fileFrameCount - 1)) {
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
  const pageNumbers = Uint32Array.from(pages, ({ pageNumber }) => pageNumber);
  const encoder = new WalEncoder(pageNumbers, pageCount, salts, (frame, target, offset) => {
    const { pageNumber, bytes } = pages[frame] as WalPage;
    if (bytes.length !== PAGE_BYTES) throw new RangeError(`page ${pageNumber} has ${bytes.length} bytes`);
    target.set(bytes, offset);
  });
  return encoder.read(0, encoder.byteLength);
}

/** Copies the page of a frame to `target` at `offset`. */
export type CopyPage = (frame: number, target: Uint8Array, offset: number) => void;

/**
 * A WAL file that is made while it is read: of a large one only the part that is asked for is in memory. Reads follow one
 * another; one at offset 0 begins anew.
 */
export class WalEncoder {
  /** Size of the file. */
  readonly byteLength: number;
  readonly #pageNumbers: Uint32Array;
  readonly #pageCount: number;
  readonly #salts: readonly [number, number];
  readonly #copyPage: CopyPage;
  /** The header, or a frame of which only a part has been read. */
  readonly #part = new Frames(new Uint8Array(FRAME_BYTES));
  #sum = new Checksum(false);
  #offset = 0;

  /** See {@link encodeWal}; `copyPage` gives the bytes. */
  constructor(pageNumbers: Uint32Array, pageCount: number, salts: readonly [number, number], copyPage: CopyPage) {
    if (pageNumbers.length === 0 || pageCount < 1) throw new RangeError("a WAL file has at least one page");
    this.byteLength = walByteLength(pageNumbers.length);
    this.#pageNumbers = pageNumbers;
    this.#pageCount = pageCount;
    this.#salts = salts;
    this.#copyPage = copyPage;
  }

  /** The next `length` bytes, or the first ones. */
  read(offset: number, length: number): Uint8Array {
    if (offset === 0) this.#offset = 0;
    if (offset !== this.#offset) throw new RangeError(`reads follow one another: at ${this.#offset}, not ${offset}`);
    if (offset + length > this.byteLength) throw new RangeError(`${offset + length} of ${this.byteLength} bytes`);
    const result = new Frames(new Uint8Array(length));
    for (let done = 0; done < length; ) {
      const inHeader = this.#offset < WAL_HEADER_BYTES;
      const within = inHeader ? this.#offset : (this.#offset - WAL_HEADER_BYTES) % FRAME_BYTES;
      const count = Math.min(length - done, (inHeader ? WAL_HEADER_BYTES : FRAME_BYTES) - within);
      // A whole frame goes where it belongs, without a copy on the way.
      if (!inHeader && count === FRAME_BYTES && done % 4 === 0) {
        this.#encodeFrame(result, done);
      } else {
        if (this.#offset === 0) this.#encodeHeader();
        else if (!inHeader && within === 0) this.#encodeFrame(this.#part, 0);
        result.bytes.set(this.#part.bytes.subarray(within, within + count), done);
      }
      done += count;
      this.#offset += count;
    }
    return result.bytes;
  }

  #encodeHeader(): void {
    const { view, words } = this.#part;
    this.#sum = new Checksum(false);
    view.setUint32(0, MAGIC_LITTLE_ENDIAN);
    view.setUint32(4, VERSION);
    view.setUint32(8, PAGE_BYTES);
    view.setUint32(12, 0);
    view.setUint32(16, this.#salts[0]);
    view.setUint32(20, this.#salts[1]);
    this.#sum.add(words, 0, 6);
    this.#sum.write(view, 24);
  }

  /** Writes the frame that begins at the present offset to `at`, a multiple of 4. */
  #encodeFrame({ bytes, words, view }: Frames, at: number): void {
    const frame = (this.#offset - WAL_HEADER_BYTES) / FRAME_BYTES;
    view.setUint32(at, this.#pageNumbers[frame] as number);
    view.setUint32(at + 4, frame === this.#pageNumbers.length - 1 ? this.#pageCount : 0);
    view.setUint32(at + 8, this.#salts[0]);
    view.setUint32(at + 12, this.#salts[1]);
    this.#copyPage(frame, bytes, at + FRAME_HEADER_BYTES);
    this.#sum.add(words, at / 4, 2);
    this.#sum.add(words, (at + FRAME_HEADER_BYTES) / 4, PAGE_WORDS);
    this.#sum.write(view, at + 16);
  }
}

/** Memory for frames, as bytes, as words for the checksum, and as what is big-endian. */
class Frames {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.words = new Uint32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
    this.view = new DataView(bytes.buffer);
  }
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
