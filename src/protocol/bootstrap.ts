/** Which objects a node reads to join (docs/architecture.md §5), decided from a listing. */
import type { ParsedKey } from "../format/keys.ts";

/** A state to start from, and the epochs to apply after it. */
export interface BootstrapPlan {
  /** A snapshot, or epoch 0's WAL, which holds the whole of the first database. */
  readonly base: { readonly kind: "snapshot" | "wal"; readonly epoch: number };
  /** The newest epoch that was listed; those after the base up to here are all there. */
  readonly headEpoch: number;
  /** False if no listed epoch tells the base's state checksum. */
  readonly isProven: boolean;
}

/** What a listing amounts to. */
export type BootstrapChoice =
  /** Ways to start, the best first; the others are for the case that an object turns out damaged. */
  | { readonly type: "plans"; readonly plans: readonly BootstrapPlan[] }
  /** There is no cluster. */
  | { readonly type: "empty" }
  /** There are epochs, but none to start from: the listing began too late, or retention is moving on. */
  | { readonly type: "noBase"; readonly firstEpoch: number; readonly headEpoch: number };

/** Chooses among the objects of a listing, in any order. */
export function chooseBootstrap(objects: readonly ParsedKey[]): BootstrapChoice {
  const wals = new Set<number>();
  const snapshots: number[] = [];
  for (const { kind, epoch } of objects) {
    if (kind === "wal") wals.add(epoch);
    if (kind === "snapshot") snapshots.push(epoch);
  }
  if (wals.size === 0 && snapshots.length === 0) return { type: "empty" };
  const headEpoch = maximum([...wals, ...snapshots]);
  const reachesBackTo = contiguousFrom(wals, headEpoch);
  const plans: BootstrapPlan[] = [];
  for (const epoch of snapshots.sort((a, b) => b - a)) {
    if (epoch + 1 >= reachesBackTo)
      plans.push({ base: { kind: "snapshot", epoch }, headEpoch, isProven: epoch < headEpoch });
  }
  if (reachesBackTo === 0) plans.push({ base: { kind: "wal", epoch: 0 }, headEpoch, isProven: true });
  if (plans.length === 0) return { type: "noBase", firstEpoch: minimum([...wals, ...snapshots]), headEpoch };
  return {
    type: "plans",
    plans: [...plans.filter((plan) => plan.isProven), ...plans.filter((plan) => !plan.isProven)],
  };
}

/** The first epoch of the run of WALs without a hole that ends at `head`; `head + 1` if there is none. */
function contiguousFrom(wals: ReadonlySet<number>, head: number): number {
  let first = head + 1;
  while (wals.has(first - 1)) first--;
  return first;
}

function maximum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => Math.max(a, b));
}

function minimum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => Math.min(a, b));
}

/** What the epochs after `epoch` in a listing say to a node that has `epoch`: see `askAnswered` of the follow protocol. */
export function judgeLaterEpochs(epoch: number, laterEpochs: readonly number[]): "none" | "next" | "hole" {
  if (laterEpochs.length === 0) return "none";
  return laterEpochs.every((later, index) => later === epoch + 1 + index) ? "next" : "hole";
}
