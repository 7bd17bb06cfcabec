/** Questions to the store about which epochs there are. */
import { LAST_SNAPSHOT_KEY, type ParsedKey, PREFIX, parseEpochText, parseKey, walKey } from "../format/keys.ts";
import type { ObjectStore } from "../store/store.ts";

/** A listed object of ours with its size. */
export interface ListedObject extends ParsedKey {
  readonly size: number;
}

/** Every object of ours after a key, in order; foreign keys are ignored. */
export async function listObjects(
  store: ObjectStore,
  startAfter: string | undefined,
  signal: AbortSignal | undefined,
): Promise<ListedObject[]> {
  const found: ListedObject[] = [];
  let after = startAfter;
  for (;;) {
    const { objects, more } = await store.list(PREFIX, { startAfter: after, signal });
    for (const { key, size } of objects) {
      const parsed = parseKey(key);
      if (parsed !== undefined) found.push({ ...parsed, size });
    }
    after = objects.at(-1)?.key;
    if (!more || after === undefined) return found;
  }
}

/** Epochs after `epoch` that have a WAL, ascending: those of one page of the listing, and at least one if there is any. */
export async function listLaterEpochs(
  store: ObjectStore,
  epoch: number,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  let after = walKey(epoch);
  for (;;) {
    const { objects, more } = await store.list(PREFIX, { startAfter: after, signal });
    const epochs = objects.flatMap(({ key }) => {
      const parsed = parseKey(key);
      return parsed?.kind === "wal" && parsed.epoch > epoch ? [parsed.epoch] : [];
    });
    const last = objects.at(-1)?.key;
    if (epochs.length > 0 || !more || last === undefined) return epochs;
    after = last;
  }
}

/** The epoch that the marker names, if it is there and readable. */
export async function readMarker(store: ObjectStore, signal: AbortSignal | undefined): Promise<number | undefined> {
  const marker = await store.get(LAST_SNAPSHOT_KEY, { signal });
  return marker === undefined ? undefined : parseEpochText(new TextDecoder().decode(marker.bytes).trim());
}
