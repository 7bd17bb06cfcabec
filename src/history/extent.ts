/** How far back the history in the store reaches, and how far it has come. */
import { beforeEpochKey, snapshotKey } from "../format/keys.ts";
import { type HistoryObjects, newestEpoch } from "../protocol/restore-plan.ts";
import type { ObjectStore } from "../store/store.ts";
import { discoverFrom, isPackInStore, packsBeyond } from "./discover.ts";
import { listPages, readSnapshotMarker, readVacuumMarker } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent } from "./point.ts";
import { notInitialized } from "./restore.ts";

/** @throws ClusterError `invalid`/`not_initialized` */
export async function readExtent(parts: HistoryParts, signal: AbortSignal | undefined): Promise<HistoryExtent> {
  const { store } = parts;
  const earliest = await findEarliest(store, signal);
  if (earliest === undefined) throw notInitialized(store);
  const marked = Math.max(earliest, (await readSnapshotMarker(store, signal)) ?? 0);
  let found = await discoverFrom(store, marked, { signal });
  // The marker is a hint, and may be damaged: nothing may be hidden before what it names.
  if (marked !== earliest && !found.snapshots.has(marked)) found = await discoverFrom(store, earliest, { signal });
  return { earliest, newest: (await newestOf(found, parts, signal)) ?? earliest };
}

/** Epochs and snapshots tell by their names; a pack alone is asked whether it is one of this cluster's. */
async function newestOf(
  found: HistoryObjects,
  { store, settings }: HistoryParts,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  for (const range of [...packsBeyond(found)].sort((a, b) => b.to - a.to)) {
    if (await isPackInStore(store, settings.id, range, signal)) return range.to;
  }
  return newestEpoch({ snapshots: found.snapshots, wals: found.wals, packs: [] });
}

/** The oldest snapshot, or epoch 0 itself. */
async function findEarliest(store: ObjectStore, signal: AbortSignal | undefined): Promise<number | undefined> {
  const marked = await readVacuumMarker(store, signal);
  if ((await store.head(snapshotKey(marked), { signal })) !== undefined) return marked;
  // Not a boundary of ours, set back by an old leader, or damaged: the first that is there.
  return (await findFirst(store, marked, signal)) ?? (await findFirst(store, 0, signal));
}

async function findFirst(
  store: ObjectStore,
  from: number,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  for await (const objects of listPages(store, beforeEpochKey(from), signal)) {
    const first = objects.find(({ kind, epoch }) => kind === "snapshot" || (kind === "wal" && epoch === 0));
    if (first !== undefined) return first.epoch;
  }
  return undefined;
}
