/** What the measurements of the prepared history share. */
import { createHash } from "node:crypto";
import { prefetch } from "../../src/history/prefetch.ts";
import { FileSystemStore, LittleBigCluster, type ObjectStore } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import type { ReadRange } from "./reads.ts";

export const DATABASE_BYTES: number = 256 * 1024 * 1024;
export const MB = 1_000_000;
/** As many requests at a time as a join makes. */
const PARALLEL = 16;
const BYTES_AHEAD = 64 * 1024 * 1024;

/** The prepared store; each request takes `latencyMs` longer than the file system. */
export function preparedStore(directory: string, latencyMs: number): ObjectStore {
  const store = new FileSystemStore(directory);
  return latencyMs === 0 ? store : new FaultyStore(store, { latencyMs });
}

/** The cluster in a store. */
export function clusterIn(store: ObjectStore): LittleBigCluster {
  return new LittleBigCluster({ id: "bench", store });
}

/** Gets and hashes what somebody else read, in the same pieces, and does nothing with it; gives milliseconds. */
export async function download(store: ObjectStore, ranges: readonly ReadRange[]): Promise<number> {
  const beganMs = performance.now();
  const hash = createHash("sha256");
  const fetched = prefetch(
    ranges,
    async ({ key, range }) => (await store.get(key, { range }))?.bytes ?? new Uint8Array(0),
    ({ range }) => range?.length ?? 0,
    PARALLEL,
    BYTES_AHEAD,
  );
  for await (const { result } of fetched) hash.update(result);
  hash.digest();
  return performance.now() - beganMs;
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
