/**
 * What history may be deleted (docs/architecture.md §8). Everything before one snapshot goes, and that snapshot must be
 * old: then every point that is retained comes after it, and whoever reads the store at this moment began from it or
 * from a later one.
 */

import type { ParsedKey } from "../format/keys.ts";

/** A snapshot that was found, and how long ago it was completed, by the store's clock. */
export interface AgedSnapshot {
  readonly epoch: number;
  readonly ageMs: number;
}

/**
 * The epoch before which nothing is needed: the newest snapshot that is as old as the retention. `undefined` if there is
 * none.
 *
 * @param snapshots ascending
 */
export function retentionBoundary(snapshots: readonly AgedSnapshot[], retentionMs: number): number | undefined {
  return snapshots.findLast(({ ageMs }) => ageMs >= retentionMs)?.epoch;
}

/** Whether an object is before the boundary. The epoch there keeps its WAL, and packs that lead beyond it stay. */
export function isBeyondRetention({ kind, epoch }: ParsedKey, boundary: number): boolean {
  return kind === "pack" ? epoch <= boundary : epoch < boundary;
}
