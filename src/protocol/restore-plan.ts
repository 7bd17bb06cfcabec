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
  /** False if nothing that is known to be there tells the state checksum of what is read last. */
  readonly isProven: boolean;
}

/** What the objects amount to. */
export type RestoreChoice =
  /** Ways to restore, the best first, made one by one; the others are for the case that an object turns out damaged. */
  | { readonly type: "plans"; readonly plans: Iterable<RestorePlan> }
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
  // Only the epoch after it proves a pack that ends at the target.
  const isEndUsable = wals.has(target + 1) || !wals.has(target);
  const packs = objects.packs.filter(({ to }) => to < target || (to === target && isEndUsable));
  const ways = new WaysTo(target, wals, packs);
  const bases: RestorePlan["base"][] = [...objects.snapshots]
    .filter((epoch) => ways.leadFrom(epoch))
    .sort((a, b) => b - a)
    .map((epoch) => ({ kind: "snapshot", epoch }));
  if (wals.has(0) && ways.leadFrom(0)) bases.push({ kind: "wal", epoch: 0 });
  if (bases.length === 0) return { type: "noWay", target };
  return { type: "plans", plans: { [Symbol.iterator]: () => provenFirst(bases, ways) } };
}

function* provenFirst(bases: readonly RestorePlan["base"][], ways: WaysTo): Generator<RestorePlan, void, undefined> {
  for (const isProven of [true, false]) {
    for (const base of bases) {
      if (ways.isProvenFrom(base) === isProven)
        yield { base, steps: ways.stepsFrom(base.epoch), target: ways.target, isProven };
    }
  }
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

/**
 * The cheapest ways to an epoch from every epoch before it: one pass from there downwards, whatever the number of bases.
 * It ends at the first epoch from which nothing leads on, because from those below it nothing does either.
 */
class WaysTo {
  readonly target: number;
  readonly #wals: ReadonlyMap<number, number>;
  /** By how far an epoch is before the target. */
  readonly #costs: number[] = [0];
  /** The pack that is the first step, or none: the next epoch's WAL is. */
  readonly #packs: (PackStep | undefined)[] = [undefined];
  /** Whether a WAL ends the way, or the epoch after the target is there. */
  readonly #areProven: boolean[];

  constructor(target: number, wals: ReadonlyMap<number, number>, packs: HistoryObjects["packs"]) {
    this.target = target;
    this.#wals = wals;
    this.#areProven = [wals.has(target + 1)];
    const ending = byEnd(packs);
    let active: ActivePack[] = this.#activeAt(target, ending);
    for (let epoch = target - 1; epoch >= 0; epoch--) {
      if (active.some(({ step }) => step.from > epoch)) active = active.filter(({ step }) => step.from <= epoch);
      if (!this.#reach(epoch, active)) return;
      if (ending.has(epoch)) active.push(...this.#activeAt(epoch, ending));
    }
  }

  leadFrom(epoch: number): boolean {
    return epoch <= this.target && this.target - epoch < this.#costs.length;
  }

  /** Whether something that is known to be there tells the state checksum of what is read from the base on. */
  isProvenFrom({ kind, epoch }: RestorePlan["base"]): boolean {
    return this.#areProven[this.target - epoch] === true || (kind === "wal" && epoch === this.target);
  }

  stepsFrom(base: number): RestoreStep[] {
    const way: RestoreStep[] = [];
    for (let epoch = base; epoch < this.target; epoch = way.at(-1)?.epoch ?? this.target) {
      const next = epoch + 1;
      way.push(this.#packs[this.target - epoch] ?? { kind: "wal", epoch: next, size: this.#wals.get(next) ?? 0 });
    }
    return way;
  }

  /** Finds the cheapest step from an epoch; false if there is none. */
  #reach(epoch: number, active: readonly ActivePack[]): boolean {
    const size = this.#wals.get(epoch + 1);
    const before = this.target - epoch - 1;
    let best: ActivePack | undefined;
    let cost = size === undefined ? Number.POSITIVE_INFINITY : size + OBJECT_COST_BYTES + (this.#costs[before] ?? 0);
    for (const pack of active) {
      if (pack.cost >= cost) continue;
      best = pack;
      cost = pack.cost;
    }
    if (cost === Number.POSITIVE_INFINITY) return false;
    const isLastWal = best === undefined && before === 0;
    const end = best === undefined ? before : this.target - best.step.epoch;
    this.#costs.push(cost);
    this.#packs.push(best?.step);
    this.#areProven.push(isLastWal || this.#areProven[end] === true);
    return true;
  }

  /** Packs that end at an epoch which a way leads on from: they may be entered anywhere before it. */
  #activeAt(epoch: number, ending: ReadonlyMap<number, HistoryObjects["packs"]>): ActivePack[] {
    return (ending.get(epoch) ?? []).map(({ from, to, size }) => ({
      step: { kind: "pack", from, epoch: to, size },
      cost: size + OBJECT_COST_BYTES + (this.#costs[this.target - epoch] as number),
    }));
  }
}

type PackStep = Extract<RestoreStep, { kind: "pack" }>;

interface ActivePack {
  readonly step: PackStep;
  /** Of the way from anywhere in the pack. */
  readonly cost: number;
}

function byEnd(packs: HistoryObjects["packs"]): Map<number, HistoryObjects["packs"][number][]> {
  const ending = new Map<number, HistoryObjects["packs"][number][]>();
  for (const pack of packs) {
    const others = ending.get(pack.to);
    if (others === undefined) ending.set(pack.to, [pack]);
    else others.push(pack);
  }
  return ending;
}
