/**
 * Reads from the store what really happened: applies every epoch's WAL with the library's own replica, which verifies the
 * chain, and looks at the log after each. What an epoch added is all that is read, so a history of tens of thousands of
 * epochs takes seconds.
 */
import { type ClusterOptions, parseClusterOptions } from "../../config.ts";
import { ClusterError } from "../../errors.ts";
import { beforeEpochKey } from "../../format/keys.ts";
import { readExtent } from "../../history/extent.ts";
import { type ListedObject, listObjects } from "../../history/listing.ts";
import type { HistoryParts } from "../../history/parts.ts";
import { restoreReplica } from "../../history/past.ts";
import { prefetch } from "../../history/prefetch.ts";
import { nodeParts } from "../../node/join.ts";
import type { Db } from "../../sqlite/reader.ts";
import { type StoredTimeline, TimelineRecorder } from "./timeline-recorder.ts";

/** The event loop gets its turn after so many epochs. */
const EPOCHS_AT_ONCE = 200;

/**
 * Walks the whole history.
 *
 * @param look is shown the database of the newest epoch
 * @throws ClusterError `corrupt` if an epoch is missing, damaged or does not continue the one before
 */
export async function readTimeline(
  options: ClusterOptions,
  look: (db: Db) => void = () => {},
): Promise<StoredTimeline> {
  const parts = nodeParts(parseClusterOptions(options));
  const { earliest, newest } = await readExtent(parts, undefined);
  const replica = await restoreReplica(parts, earliest);
  try {
    const recorder = new TimelineRecorder(earliest);
    recorder.record(replica, 0);
    for await (const { result } of wals(parts, earliest, newest)) {
      replica.apply(replica.verify(result.bytes, result.key));
      recorder.record(replica, result.size);
      if (replica.epoch % EPOCHS_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
    }
    look(replica.db);
    return recorder.timeline();
  } finally {
    replica.close();
  }
}

async function* wals(parts: HistoryParts, earliest: number, newest: number) {
  const { store, settings } = parts;
  const listed = await listObjects(store, beforeEpochKey(earliest), undefined);
  const items = listed.filter(({ kind, epoch }) => kind === "wal" && epoch > earliest && epoch <= newest);
  for (const [index, { epoch }] of items.entries()) {
    const expected = earliest + 1 + index;
    if (epoch !== expected) throw missing(expected);
  }
  const fetch = async ({ key, epoch }: ListedObject) => {
    const object = await store.get(key);
    if (object === undefined) throw missing(epoch);
    return object;
  };
  yield* prefetch(items, fetch, ({ size }) => size, settings.fetchParallel, settings.fetchBytesMax);
}

function missing(epoch: number): ClusterError {
  return new ClusterError("corrupt", "history_incomplete", `epoch ${epoch} is missing in the middle of the history`, {
    epoch,
  });
}
