/** How far back the history in the store reaches, and how far it has come. */
import { beforeEpochKey, snapshotKey } from "../format/keys.ts";
import { newestEpoch } from "../protocol/restore-plan.ts";
import type { ObjectStore } from "../store/store.ts";
import { discoverFrom } from "./discover.ts";
import { listPages, readSnapshotMarker, readVacuumMarker } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent } from "./point.ts";
import { notInitialized } from "./restore.ts";

/** @throws ClusterError `invalid`/`not_initialized` */
export async function readExtent({ store }: HistoryParts, signal: AbortSignal | undefined): Promise<HistoryExtent> {
  const earliest = await findEarliest(store, signal);
  if (earliest === undefined) throw notInitialized(store);
  const newestSnapshot = (await readSnapshotMarker(store, signal)) ?? earliest;
  const base = Math.max(earliest, newestSnapshot);
  const newest = newestEpoch(await discoverFrom(store, base, { signal })) ?? earliest;
  return { earliest, newest };
}

/** The oldest snapshot, or epoch 0 itself. */
async function findEarliest(store: ObjectStore, signal: AbortSignal | undefined): Promise<number | undefined> {
  const marked = await readVacuumMarker(store, signal);
  if ((await store.head(snapshotKey(marked), { signal })) !== undefined) return marked;
  // Not a boundary of ours, or set back by an old leader: the first that is there.
  for await (const objects of listPages(store, beforeEpochKey(marked), signal)) {
    const first = objects.find(({ kind, epoch }) => kind === "snapshot" || (kind === "wal" && epoch === 0));
    if (first !== undefined) return first.epoch;
  }
  return undefined;
}
