/**
 * Which objects to read to get a database at an epoch (docs/architecture.md §5), decided from what is there.
 *
 * ```
 *   snapshot ──pack──────────►──pack──►──wal─►──wal─► target
 *      S        (from ≤ S)      …       …
 * ```
 *
 * A pack may begin before the state that it is applied to. The way from a base to the target is the cheapest by bytes,
 * where every object counts as some bytes too.
 */
import type { EpochRange } from "../format/pack.ts";

/** Reading an object takes as long as reading this much more of another one. */
const OBJECT_COST_BYTES = 64 * 1024;

/** What is in the store, as far as it matters. */
export interface HistoryObjects {
  /** Epochs that have a snapshot. */
  readonly snapshots: Iterable<number>;
  /** Epoch → bytes of its WAL. */
  readonly wals: ReadonlyMap<number, number>;
  readonly packs: readonly (EpochRange & { readonly size: number })[];
}

/** One object to apply. */
export type RestoreStep =
  | { readonly kind: "wal"; readonly epoch: number; readonly size: number }
  | { readonly kind: "pack"; readonly from: number; readonly epoch: number; readonly size: number };

/** A state to start from, and what to apply to it. */
export interface RestorePlan {
  /** A snapshot, or epoch 0's WAL, which holds the whole of the first database. */
  readonly base: { readonly kind: "snapshot" | "wal"; readonly epoch: number };
  /** After the base, in order; each leads to its `epoch`. */
  readonly steps: readonly RestoreStep[];
  /** The epoch that they lead to. */
  readonly target: number;
  /** False if nothing that is known to be there tells the state checksum of the base. */
  readonly isProven: boolean;
}

/** What the objects amount to. */
export type RestoreChoice =
  /** Ways to restore, the best first; the others are for the case that an object turns out damaged. */
  | { readonly type: "plans"; readonly plans: readonly RestorePlan[] }
  /** There is no cluster. */
  | { readonly type: "empty" }
  /** There are epochs, but no way to the target: retention is moving on, or objects are lost. */
  | { readonly type: "noWay"; readonly target: number };

/**
 * Chooses.
 *
 * @param upTo the target; without it the newest epoch that there is
 */
export function planRestore(objects: HistoryObjects, upTo?: number): RestoreChoice {
  const newest = newestEpoch(objects);
  if (newest === undefined) return { type: "empty" };
  const target = Math.min(upTo ?? newest, newest);
  const { wals } = objects;
  // The newest epoch's own WAL proves the state before it, and nothing yet proves a pack that ends there.
  const packs = objects.packs.filter(({ to }) => to < target || (to === target && (target < newest || !wals.has(to))));
  const bases: RestorePlan["base"][] = [...objects.snapshots]
    .filter((epoch) => epoch <= target)
    .sort((a, b) => b - a)
    .map((epoch) => ({ kind: "snapshot", epoch }));
  if (wals.has(0)) bases.push({ kind: "wal", epoch: 0 });
  const plans: RestorePlan[] = [];
  for (const base of bases) {
    const steps = cheapestWay(base.epoch, target, wals, packs);
    if (steps !== undefined) plans.push({ base, steps, target, isProven: base.kind === "wal" || base.epoch < newest });
  }
  if (plans.length === 0) return { type: "noWay", target };
  return { type: "plans", plans: [...plans.filter((p) => p.isProven), ...plans.filter((p) => !p.isProven)] };
}

/** The newest epoch that anything is known of. */
export function newestEpoch({ snapshots, wals, packs }: HistoryObjects): number | undefined {
  let newest = -1;
  for (const epoch of snapshots) newest = Math.max(newest, epoch);
  for (const epoch of wals.keys()) newest = Math.max(newest, epoch);
  for (const { to } of packs) newest = Math.max(newest, to);
  return newest < 0 ? undefined : newest;
}

/** The first epoch after `from` to which no object leads. */
export function firstMissing(from: number, { wals, packs }: HistoryObjects): number {
  let epoch = from;
  for (let moved = true; moved; ) {
    moved = false;
    for (; wals.has(epoch + 1); epoch++) moved = true;
    for (const pack of packs) {
      if (pack.from > epoch || pack.to <= epoch) continue;
      epoch = pack.to;
      moved = true;
    }
  }
  return epoch + 1;
}

/** Shortest paths over the epochs from `from` to `target`; a pack may be entered anywhere before its end. */
function cheapestWay(
  from: number,
  target: number,
  wals: ReadonlyMap<number, number>,
  packs: HistoryObjects["packs"],
): RestoreStep[] | undefined {
  const length = target - from;
  const cost = new Float64Array(length + 1).fill(Number.POSITIVE_INFINITY);
  const steps: (RestoreStep | undefined)[] = new Array(length + 1);
  const cameFrom = new Float64Array(length + 1);
  cost[0] = 0;
  const ending = new Map<number, (typeof packs)[number][]>();
  for (const pack of packs) {
    if (pack.to > from && pack.to <= target) ending.set(pack.to, [...(ending.get(pack.to) ?? []), pack]);
  }
  const reach = (at: number, before: number, step: RestoreStep) => {
    const total = (cost[before] as number) + step.size + OBJECT_COST_BYTES;
    if (total >= (cost[at] as number)) return;
    cost[at] = total;
    cameFrom[at] = before;
    steps[at] = step;
  };
  for (let at = 1; at <= length; at++) {
    const epoch = from + at;
    const size = wals.get(epoch);
    if (size !== undefined) reach(at, at - 1, { kind: "wal", epoch, size });
    for (const pack of ending.get(epoch) ?? []) {
      const before = cheapest(cost, Math.max(pack.from - from, 0), at);
      reach(at, before, { kind: "pack", from: pack.from, epoch, size: pack.size });
    }
  }
  if (cost[length] === Number.POSITIVE_INFINITY) return undefined;
  const way: RestoreStep[] = [];
  for (let at = length; at > 0; at = cameFrom[at] as number) way.push(steps[at] as RestoreStep);
  return way.reverse();
}

/** The place of the smallest in [begin, end). */
function cheapest(cost: Float64Array, begin: number, end: number): number {
  let best = begin;
  for (let at = begin + 1; at < end; at++) {
    if ((cost[at] as number) < (cost[best] as number)) best = at;
  }
  return best;
}
