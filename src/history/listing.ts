/** Questions to the store about which objects there are. */
import {
  beforeEpochKey,
  LAST_SNAPSHOT_KEY,
  LAST_VACUUM_KEY,
  type ParsedKey,
  PREFIX,
  parseEpochText,
  parseKey,
  walKey,
} from "../format/keys.ts";
import type { ObjectStore } from "../store/store.ts";

/** A listed object of ours with its size. */
export interface ListedObject extends ParsedKey {
  readonly key: string;
  readonly size: number;
}

/** One page of a listing. */
export interface ListedPage {
  /** Objects of ours, in the order of their keys; foreign keys are ignored. */
  readonly objects: readonly ListedObject[];
  /** A listing that starts after this key continues. */
  readonly lastKey: string | undefined;
  readonly more: boolean;
}

/** One page of objects of ours after a key. */
export async function listPage(
  store: ObjectStore,
  startAfter: string | undefined,
  signal: AbortSignal | undefined,
): Promise<ListedPage> {
  const { objects, more } = await store.list(PREFIX, { startAfter, signal });
  const ours = objects.flatMap(({ key, size }) => {
    const parsed = parseKey(key);
    return parsed === undefined ? [] : [{ ...parsed, key, size }];
  });
  const lastKey = objects.at(-1)?.key;
  return { objects: ours, lastKey, more: more && lastKey !== undefined };
}

/** Pages of objects of ours after a key, one after the other. */
export async function* listPages(
  store: ObjectStore,
  startAfter: string | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<readonly ListedObject[], void, undefined> {
  for (let after = startAfter; ; ) {
    const { objects, lastKey, more } = await listPage(store, after, signal);
    yield objects;
    if (!more) return;
    after = lastKey;
  }
}

/** Every object of ours after a key, in order. */
export async function listObjects(
  store: ObjectStore,
  startAfter: string | undefined,
  signal: AbortSignal | undefined,
): Promise<ListedObject[]> {
  const found: ListedObject[] = [];
  for await (const objects of listPages(store, startAfter, signal)) found.push(...objects);
  return found;
}

/** Epochs after `epoch` that have a WAL, ascending: those of one page of the listing, and at least one if there is any. */
export async function listLaterEpochs(
  store: ObjectStore,
  epoch: number,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  for await (const objects of listPages(store, walKey(epoch), signal)) {
    const epochs = objects.flatMap((object) => (object.kind === "wal" && object.epoch > epoch ? [object.epoch] : []));
    if (epochs.length > 0) return epochs;
  }
  return [];
}

/** The newest snapshot at or before `epoch`; looks from there backwards, in steps that grow, down to `earliest`. */
export async function findSnapshotUpTo(
  store: ObjectStore,
  epoch: number,
  earliest: number,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  let parallel = 1;
  for (let end = epoch; end >= earliest; ) {
    const starts: number[] = [];
    for (let index = 0; index < parallel && end >= earliest; index++) {
      const start = Math.max(earliest, end - WINDOW_EPOCHS + 1);
      starts.push(start);
      end = start - 1;
    }
    const found = await Promise.all(
      starts.map((start) => newestSnapshotIn(store, start, Math.min(epoch, start + WINDOW_EPOCHS - 1), signal)),
    );
    const newest = found.find((snapshot) => snapshot !== undefined);
    if (newest !== undefined) return newest;
    parallel = Math.min(WINDOWS_PARALLEL, parallel * 4);
  }
  return undefined;
}

/** With their packs and snapshots they fit into one page of a listing. */
const WINDOW_EPOCHS = 900;
const WINDOWS_PARALLEL = 16;

async function newestSnapshotIn(
  store: ObjectStore,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  let newest: number | undefined;
  for await (const objects of listPages(store, beforeEpochKey(start), signal)) {
    for (const { kind, epoch } of objects) if (kind === "snapshot" && epoch <= end) newest = epoch;
    const last = objects.at(-1);
    if (last !== undefined && (last.fromEpoch ?? last.epoch) > end) break;
  }
  return newest;
}

/** The epoch of the newest snapshot, by its marker, if that is there and readable: a hint. */
export function readSnapshotMarker(store: ObjectStore, signal: AbortSignal | undefined): Promise<number | undefined> {
  return readMarker(store, LAST_SNAPSHOT_KEY, signal);
}

/** The epoch below which every other may be gone, by its marker: a hint; 0 without one. */
export async function readVacuumMarker(store: ObjectStore, signal: AbortSignal | undefined): Promise<number> {
  return (await readMarker(store, LAST_VACUUM_KEY, signal)) ?? 0;
}

async function readMarker(
  store: ObjectStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const marker = await store.get(key, { signal });
  return marker === undefined ? undefined : parseEpochText(new TextDecoder().decode(marker.bytes).trim());
}
