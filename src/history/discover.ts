/**
 * Finds out what is in the store, with as few requests as it takes.
 *
 * A snapshot may be a hundred thousand epochs old. Nobody lists them all: packs have names that can be guessed, so those
 * that follow one another are asked for by name, level by level, and only what is after the last of them is listed.
 *
 * ```
 *   snapshot   ├──── 16384 ────┼──── 16384 ────┼─1024─┼─1024─┼64┼64┼ epochs …  newest
 *      └ asked for by name ────┴───────────────┴──────┴──────┴──┴──┘└ listed ┘
 * ```
 */
import { beforeEpochKey, packKey } from "../format/keys.ts";
import { type EpochRange, isPackOf, isPackRange, PACK_LEVELS, packAfter, packsEndingAt } from "../format/pack.ts";
import { WAL_HEADER_BYTES } from "../format/wal.ts";
import { type HistoryObjects, newestEpoch } from "../protocol/restore-plan.ts";
import type { ObjectStore } from "../store/store.ts";
import { type ListedObject, listPage, listPages } from "./listing.ts";

/** Packs of one level asked for at a time: as many as the next level has in one of its own. */
const GUESSES_PARALLEL = 16;

/** What was found. */
export class Discovery implements HistoryObjects {
  readonly snapshots: Set<number> = new Set();
  readonly wals: Map<number, number> = new Map();
  readonly packs: (EpochRange & { readonly size: number })[] = [];
  readonly #packKeys = new Set<string>();

  add(objects: readonly ListedObject[]): void {
    for (const { kind, epoch, fromEpoch, size } of objects) {
      if (kind === "wal") this.wals.set(epoch, size);
      else if (kind === "snapshot") this.snapshots.add(epoch);
      else if (fromEpoch !== undefined) this.addPack({ from: fromEpoch, to: epoch, size });
    }
  }

  /** Any other than an aligned pack is nobody's. */
  addPack(pack: EpochRange & { readonly size: number }): void {
    const key = packKey(pack.from, pack.to);
    if (!isPackRange(pack) || this.#packKeys.has(key)) return;
    this.#packKeys.add(key);
    this.packs.push(pack);
  }

  /** How far packs that end by `upTo` lead from `epoch`. */
  reachByPacks(epoch: number, upTo: number): number {
    let reach = epoch;
    for (let moved = true; moved; ) {
      moved = false;
      for (const { from, to } of this.packs) {
        if (from > reach || to <= reach || to > upTo) continue;
        reach = to;
        moved = true;
      }
    }
    return reach;
  }
}

export interface DiscoverOptions {
  /** Nothing after this epoch matters. */
  readonly upTo?: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Everything there is. */
export async function discoverAll(store: ObjectStore, signal: AbortSignal | undefined): Promise<Discovery> {
  const found = new Discovery();
  for await (const objects of listPages(store, undefined, signal)) found.add(objects);
  return found;
}

/** What leads from the snapshot of `base` on: to the newest epoch, or to `upTo` and the one after it, which proves it. */
export async function discoverFrom(store: ObjectStore, base: number, options: DiscoverOptions): Promise<Discovery> {
  const { signal, upTo = Number.POSITIVE_INFINITY } = options;
  const found = new Discovery();
  let page = await listPage(store, beforeEpochKey(base), signal);
  found.add(page.objects);
  if (!hasMoreUpTo(page, upTo)) {
    // The packs that begin before the base.
    if (found.wals.size > (PACK_LEVELS[0] as number))
      await guess(
        store,
        found,
        PACK_LEVELS.map((n) => packAfter(base, n)),
        upTo,
        signal,
      );
    return found;
  }
  await guessPacks(store, found, base, upTo, signal);
  while (hasMoreUpTo(page, upTo)) {
    // Packs that lead beyond what was listed: nobody needs the epochs in between.
    const jump = beforeEpochKey(found.reachByPacks(base, upTo));
    page = await listPage(store, jump > (page.lastKey ?? "") ? jump : page.lastKey, signal);
    found.add(page.objects);
  }
  await findLastEpochs(store, found, base, upTo, signal);
  return found;
}

/** No pack that ends at the newest epoch is used: what else leads there is needed then. */
async function findLastEpochs(
  store: ObjectStore,
  found: Discovery,
  base: number,
  upTo: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const newest = newestEpoch(found) ?? base;
  if (found.reachByPacks(base, upTo) !== newest) return;
  for (const { from, to } of packsEndingAt(newest)) {
    const shorter = PACK_LEVELS.findLast((length) => length < to - from);
    if (shorter === undefined) found.add((await listPage(store, beforeEpochKey(from), signal)).objects);
    else await guess(store, found, following({ from, to: from + shorter }, (to - from) / shorter), upTo, signal);
  }
}

/** Packs that lead beyond every epoch and snapshot. */
export function packsBeyond({ snapshots, wals, packs }: HistoryObjects): readonly EpochRange[] {
  const newest = newestEpoch({ snapshots, wals, packs: [] }) ?? -1;
  return packs.filter(({ to }) => to > newest);
}

/** Whether the object of a pack's name is a pack of this cluster, by its header. */
export async function isPackInStore(
  store: ObjectStore,
  clusterId: string,
  { from, to }: EpochRange,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const range = { offset: 0, length: WAL_HEADER_BYTES };
  const head = await store.get(packKey(from, to), { range, signal });
  return head !== undefined && isPackOf(head.bytes, clusterId, { from, to });
}

function hasMoreUpTo(
  page: { readonly objects: readonly ListedObject[]; readonly more: boolean },
  upTo: number,
): boolean {
  const last = page.objects.at(-1);
  return page.more && (last === undefined || (last.fromEpoch ?? last.epoch) <= upTo + 1);
}

/** Asks for packs by name: the longest first, and of each level those that lead over to the next longer one. */
async function guessPacks(
  store: ObjectStore,
  found: Discovery,
  base: number,
  upTo: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const [index, length] of [...PACK_LEVELS.entries()].reverse()) {
    const longer = PACK_LEVELS[index + 1];
    if (longer !== undefined) {
      const first = packAfter(base, length);
      const count = (packAfter(base, longer).to - first.from) / length;
      if (base % longer !== 0) await guess(store, found, following(first, count), upTo, signal);
    }
    for (let reach = found.reachByPacks(base, upTo); ; ) {
      await guess(store, found, following(packAfter(reach, length), GUESSES_PARALLEL), upTo, signal);
      const next = found.reachByPacks(base, upTo);
      if (next < reach + GUESSES_PARALLEL * length) break;
      reach = next;
    }
  }
}

function following(first: EpochRange, count: number): EpochRange[] {
  const length = first.to - first.from;
  return Array.from({ length: count }, (_, index) => ({
    from: first.from + index * length,
    to: first.to + index * length,
  }));
}

async function guess(
  store: ObjectStore,
  found: Discovery,
  ranges: readonly EpochRange[],
  upTo: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  await Promise.all(
    ranges.map(async ({ from, to }) => {
      if (to > upTo) return;
      const stat = await store.head(packKey(from, to), { signal });
      if (stat !== undefined) found.addPack({ from, to, size: stat.size });
    }),
  );
}
