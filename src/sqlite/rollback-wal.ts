/**
 * The epoch that makes a database what it was: a WAL of the pages in which the state of then, under the system table of
 * now, differs from the state of now.
 *
 * ```
 *  image at P ─► + system table of N+1 ─► + counters of page 1 ─► F
 *  image at N ────────────────────────── pages that differ ─────► WAL of N+1
 * ```
 *
 * The counters of page 1 must go on: whoever has the database open knows by them, and by nothing else, that its pages and
 * its schema are not those that it has read. A schema cookie that comes back with another schema behind it would let a
 * prepared statement read the wrong pages.
 */
import { encodeWal, PAGE_BYTES, parseWal, type Wal } from "../format/wal.ts";
import type { SqliteContext } from "./connection.ts";
import type { DurableImage, ImagePin } from "./image.ts";
import { type SystemTable, Writer } from "./writer.ts";

/** https://www.sqlite.org/fileformat2.html#the_database_header */
const CHANGE_COUNTER = 24;
const SCHEMA_COOKIE = 40;
const VERSION_VALID_FOR = 92;

/** Where the writer that makes the system table is, beside that of the leader. */
const TARGET_PATH = "/rollback";
/** Pages compared in one turn of the event loop: 8 MiB, a few milliseconds. */
const COMPARED_PAGES = 2048;

/** What a rollback's WAL is made of. */
export interface RollbackWalParts {
  readonly context: SqliteContext;
  /** The database as it is. */
  readonly current: DurableImage;
  /** The database as it was; becomes what the WAL makes of `current`. */
  readonly target: DurableImage;
  /** The whole system table of the epoch. */
  readonly table: SystemTable;
  readonly salts: readonly [number, number];
  /** Pages that are known to be the same. */
  readonly same?: SamePages | undefined;
}

/** Makes `target` the state that the rollback leads to, and gives the WAL that leads there from `current`. */
export function rollbackWal(parts: RollbackWalParts): Uint8Array {
  const { current, target, salts, same } = parts;
  setSystemTable(parts);
  raiseCounters(current, target, salts);
  const pageNumbers = current.differingPages(target, (pageNumber) => same?.has(pageNumber) === true);
  const pages = Array.from(pageNumbers, (pageNumber) => ({ pageNumber, bytes: target.page(pageNumber) }));
  return encodeWal(pages, target.pageCount, salts);
}

/**
 * Fails unless `wal` leads from `current` to `target`.
 *
 * @throws Error what was made is wrong: nothing may come of it
 */
export function expectLeadsTo(target: DurableImage, current: DurableImage, wal: Wal): void {
  const found = `${current.checksumAfter(wal)} of ${wal.pageCount} pages`;
  const expected = `${target.stateChecksum} of ${target.pageCount} pages`;
  if (found !== expected) throw new Error(`the rollback leads to the state ${found}, not ${expected}`);
}

function setSystemTable({ context, target, table }: RollbackWalParts): void {
  const writer = Writer.open(context, target, TARGET_PATH);
  try {
    writer.sealTable(table);
    writer.settle();
  } finally {
    writer.close();
  }
}

function raiseCounters(current: DurableImage, target: DurableImage, salts: readonly [number, number]): void {
  const bytes = target.page(1).slice();
  const after = viewOf(bytes);
  const before = viewOf(current.page(1));
  const raise = (from: number, to: readonly number[]) => {
    const value = (Math.max(before.getUint32(from), after.getUint32(from)) + 1) >>> 0;
    for (const offset of to) after.setUint32(offset, value);
  };
  raise(SCHEMA_COOKIE, [SCHEMA_COOKIE]);
  raise(CHANGE_COUNTER, [CHANGE_COUNTER, VERSION_VALID_FOR]);
  target.apply(parseWal(encodeWal([{ pageNumber: 1, bytes }], target.pageCount, salts), "page 1 of the rollback"));
}

function viewOf(page: Uint8Array): DataView {
  return new DataView(page.buffer, page.byteOffset, PAGE_BYTES);
}

/**
 * Pages that two images have in common, found while both may change: what changes later is not among them any more.
 * Holds a pin of both until it is released.
 */
export class SamePages {
  readonly #pins: readonly ImagePin[];
  readonly #isSame: Uint8Array;
  #isReleased = false;

  private constructor(current: DurableImage, target: DurableImage) {
    this.#pins = [current.pin(), target.pin()];
    this.#isSame = new Uint8Array(Math.min(current.pageCount, target.pageCount) + 1);
  }

  /**
   * Compares the images byte by byte, a part of them in each turn.
   *
   * @param pause ends a turn; what it throws ends the comparison
   */
  static async find(current: DurableImage, target: DurableImage, pause: () => Promise<void>): Promise<SamePages> {
    const same = new SamePages(current, target);
    try {
      for (let pageNumber = 1; pageNumber < same.#isSame.length; pageNumber++) {
        if (pageNumber % COMPARED_PAGES === 0) await pause();
        if (same.#isUnchanged(pageNumber) && current.hasSamePage(target, pageNumber)) same.#isSame[pageNumber] = 1;
      }
      return same;
    } catch (error) {
      same.release();
      throw error;
    }
  }

  /** Whether the page is known to be the same in both images as they are now; of none once it is released. */
  has(pageNumber: number): boolean {
    return !this.#isReleased && this.#isSame[pageNumber] === 1 && this.#isUnchanged(pageNumber);
  }

  /** Safe twice. */
  release(): void {
    this.#isReleased = true;
    for (const pin of this.#pins) pin.release();
  }

  #isUnchanged(pageNumber: number): boolean {
    return this.#pins.every((pin) => pin.needs(pageNumber));
  }
}
