/**
 * What the newest epoch says of the cluster, without reading the whole database: every epoch's WAL has the page with
 * the rows of the system table. It is not proven there, which is enough for showing it and for finding out whom to ask.
 */
import { silent } from "../base/log.ts";
import { ClusterError } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { findSystemPages, USUAL_SYSTEM_PAGE } from "../format/system-page.ts";
import { decodeSystemRows, type SystemRows } from "../format/system-rows.ts";
import { PAGE_BYTES, parseWal, type Wal } from "../format/wal.ts";
import { discoverAll, discoverFrom } from "../history/discover.ts";
import { readSnapshotMarker } from "../history/listing.ts";
import type { LongCallOptions } from "../history/progress.ts";
import { restore } from "../history/restore.ts";
import { systemClock, systemRandom } from "../platform/system.ts";
import { RETENTION_MIN_MS } from "../protocol/moment.ts";
import { createSqlite } from "../sqlite/context.ts";
import { SystemReader } from "../sqlite/replica-state.ts";
import type { ObjectStore } from "../store/store.ts";

/** The newest epoch and what its system table says. */
export interface Head {
  readonly epoch: number;
  readonly rows: SystemRows;
  /** Size of the database at that epoch. */
  readonly databaseBytes: number;
  /** How long ago the epoch was written, by the store's clock. */
  readonly ageMs: number;
  /** The newest snapshot that is known. */
  readonly snapshotEpoch: number | undefined;
}

/** Limits of a restore, for who reads the whole database after all. */
const RESTORE_LIMITS = {
  parallel: 16,
  bytesMax: 64 * 1024 * 1024,
  log: silent,
  clock: systemClock,
  // The least, as the cluster's is a setting of its nodes.
  retentionMs: RETENTION_MIN_MS,
} as const;

/**
 * Reads the newest epoch.
 *
 * @throws ClusterError `invalid`/`not_initialized` if there is no cluster
 */
export async function readHead(store: ObjectStore, options: LongCallOptions): Promise<Head> {
  const { signal } = options;
  const { epoch, snapshotEpoch } = await findNewest(store, signal);
  const object = await store.get(walKey(epoch), { signal });
  if (object === undefined) throw goneError(store, epoch);
  const wal = parseWal(object.bytes, object.key);
  return {
    epoch,
    rows: rowsIn(wal, object.key) ?? (await readRowsProven(store, options)),
    databaseBytes: wal.pageCount * PAGE_BYTES,
    ageMs: Math.max(0, Math.round(object.nowMs - object.lastModifiedMs)),
    snapshotEpoch,
  };
}

async function findNewest(
  store: ObjectStore,
  signal: AbortSignal | undefined,
): Promise<{ readonly epoch: number; readonly snapshotEpoch: number | undefined }> {
  const marked = await readSnapshotMarker(store, signal);
  const sinceMarked = marked === undefined ? undefined : await discoverFrom(store, marked, { signal });
  // The marker is a hint: after a retention that another leader ran, there may be nothing where it points to.
  const found = sinceMarked !== undefined && sinceMarked.wals.size > 0 ? sinceMarked : await discoverAll(store, signal);
  const epoch = maxOf(found.wals.keys());
  if (epoch === undefined) throw notInitialized(store);
  return { epoch, snapshotEpoch: maxOf([...found.snapshots].filter((snapshot) => snapshot <= epoch)) };
}

function maxOf(epochs: Iterable<number>): number | undefined {
  let newest: number | undefined;
  for (const epoch of epochs) newest = Math.max(newest ?? epoch, epoch);
  return newest;
}

/** The rows, if it is clear which page holds them: a user's table may hold a copy. */
function rowsIn(wal: Wal, what: string): SystemRows | undefined {
  const [page, ...others] = findSystemPages(wal);
  const isClear = page?.pageNumber === USUAL_SYSTEM_PAGE || others.length === 0;
  return page === undefined || !isClear ? undefined : decodeSystemRows(page.rows, what);
}

async function readRowsProven(store: ObjectStore, { signal, onProgress }: LongCallOptions): Promise<SystemRows> {
  const system = new SystemReader(await createSqlite(systemClock, systemRandom));
  try {
    const { state } = await restore({ store, system, ...RESTORE_LIMITS, signal, onProgress });
    return state.rows;
  } finally {
    system.close();
  }
}

function notInitialized(store: ObjectStore): ClusterError {
  return new ClusterError("invalid", "not_initialized", `there is no cluster at ${store.url}`, { store: store.url });
}

function goneError(store: ObjectStore, epoch: number): ClusterError {
  const { url } = store;
  return new ClusterError("unavailable", "epoch_gone", `epoch ${epoch} went away while ${url} was read`, {
    url,
    epoch,
  });
}
