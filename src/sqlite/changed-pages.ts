/**
 * Which pages changed, over the epochs that a replica has seen: what a pack is made of, and what reading the history
 * since a snapshot costs.
 *
 * Whole blocks of epochs are one entry, as they are one pack in the store, so what is remembered is as short as what a
 * joining node reads. An entry may name pages that did not change in just these epochs (after a restore from packs),
 * never too few.
 */
import { PACK_LEVELS } from "../format/pack.ts";
import { walByteLength } from "../format/wal.ts";

const LONGEST = PACK_LEVELS.at(-1) as number;
/** Blocks of the longest packs that are remembered at the most. */
const BLOCKS_KEPT = 16;

interface Entry {
  readonly from: number;
  readonly to: number;
  /** Ascending, each once. */
  readonly pages: Uint32Array;
}

/** What must be read to get from one epoch to the newest. */
export interface ReadCost {
  readonly objects: number;
  readonly bytes: number;
}

export class ChangedPages {
  #entries: Entry[] = [];
  /** Where blocks begin that ended with the newest epoch → what changed in them: longer ones take in the shorter. */
  readonly #completed = new Map<number, Uint32Array>();
  #since: number;
  /** Entries longer than the shortest pack do not reach over it, since who starts there reads the shorter ones. */
  #snapshotEpoch: number;

  /** @param since the epoch after which changes are seen */
  constructor(since: number) {
    this.#since = since;
    this.#snapshotEpoch = since;
  }

  /** Changes after this epoch are known. */
  get since(): number {
    return this.#since;
  }

  /** The newest epoch. */
  get epoch(): number {
    return this.#entries.at(-1)?.to ?? this.#since;
  }

  /** The epochs after the newest, up to `to`, changed these pages; in any order. Keeps a copy. */
  add(to: number, pages: Uint32Array): void {
    this.#completed.clear();
    this.#entries.push({ from: this.epoch, to, pages: distinct([pages]) });
    for (const [level, length] of PACK_LEVELS.entries()) {
      if (to % length === 0) this.#join(to - length, to, level > 0);
    }
    // Who follows hears of no snapshots; there have been several since.
    this.#dropUpTo(to - BLOCKS_KEPT * LONGEST);
  }

  /**
   * Pages that changed in (`from`, the newest], ascending; `undefined` if that is not known. Exactly these where a pack
   * ends at the newest epoch, else perhaps others too.
   */
  after(from: number): Uint32Array | undefined {
    if (from < this.#since) return undefined;
    const completed = this.#completed.get(from);
    if (completed !== undefined) return completed;
    return distinct(this.#entries.filter((entry) => entry.to > from).map(({ pages }) => pages));
  }

  /** What reading the epochs after `epoch` costs, if the packs have been written. */
  costAfter(epoch: number): ReadCost {
    let objects = 0;
    let bytes = 0;
    for (const entry of this.#entries) {
      if (entry.to <= epoch) continue;
      objects++;
      bytes += walByteLength(entry.pages.length);
    }
    return { objects, bytes };
  }

  /** A snapshot of this epoch is being taken: who starts from it reads the epochs after it, not those before. */
  divideAt(epoch: number): void {
    this.#snapshotEpoch = epoch;
  }

  /** There is a snapshot of this epoch: what no later pack needs is forgotten. */
  forgetUpTo(epoch: number): void {
    this.#dropUpTo(Math.floor(epoch / LONGEST) * LONGEST);
  }

  #dropUpTo(needed: number): void {
    const kept = this.#entries.findIndex((entry) => entry.to > needed);
    if (kept <= 0) return;
    this.#entries.splice(0, kept);
    this.#since = this.#entries[0]?.from ?? this.#since;
  }

  /** Makes one entry of those inside (`from`, `to`], which are the newest. */
  #join(from: number, to: number, staysClearOfSnapshot: boolean): void {
    if (staysClearOfSnapshot && from < this.#snapshotEpoch && this.#snapshotEpoch < to) return;
    const first = this.#entries.findIndex((entry) => entry.from >= from);
    const inside = this.#entries.slice(first);
    const begin = inside[0]?.from;
    if (begin === undefined || inside.length < 2) return;
    const pages = distinct(inside.map((entry) => entry.pages));
    if (begin === from) this.#completed.set(from, pages);
    this.#entries.length = first;
    this.#entries.push({ from: begin, to, pages });
  }
}

/** Below so many numbers sorting is cheaper than a bitmap over the whole database. */
const SORTED_MAX = 4096;

/** The numbers of all lists, ascending, each once. */
function distinct(lists: readonly Uint32Array[]): Uint32Array {
  const length = lists.reduce((sum, list) => sum + list.length, 0);
  return length <= SORTED_MAX ? distinctSorted(lists, length) : distinctMarked(lists);
}

function distinctSorted(lists: readonly Uint32Array[], length: number): Uint32Array {
  const all = new Uint32Array(length);
  let end = 0;
  for (const list of lists) {
    all.set(list, end);
    end += list.length;
  }
  all.sort();
  let count = 0;
  for (const page of all) {
    if (count === 0 || all[count - 1] !== page) all[count++] = page;
  }
  return all.slice(0, count);
}

function distinctMarked(lists: readonly Uint32Array[]): Uint32Array {
  let largest = 0;
  for (const list of lists) for (const page of list) largest = Math.max(largest, page);
  const marks = new Uint8Array(largest + 1);
  let count = 0;
  for (const list of lists) {
    for (const page of list) {
      if (marks[page] === 0) count++;
      marks[page] = 1;
    }
  }
  const result = new Uint32Array(count);
  let at = 0;
  for (let page = 0; page <= largest; page++) if (marks[page] === 1) result[at++] = page;
  return result;
}
