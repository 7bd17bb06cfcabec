/** What is known of an epoch from its WAL object alone. */
import { ClusterError } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { findSystemPages, type SystemPage, USUAL_SYSTEM_PAGE } from "../format/system-page.ts";
import { decodeSystemRows, type Leader, type SystemRows } from "../format/system-rows.ts";
import { parseWal, parseWalPrefix, type Wal, walFrameCount } from "../format/wal.ts";
import type { ObjectStore } from "../store/store.ts";

/** Frames are in the order of their pages, and the system table is usually page 2: it is among the first seven. */
export const PREFIX_BYTES: number = 32 * 1024;

export interface EpochFacts {
  readonly epoch: number;
  /** `last_update` as it was written: an RFC 3339 time of the leader's clock, information only. */
  readonly time: string | undefined;
  /** `undefined` in epoch 0 and in the epoch with which a leader steps down. */
  readonly leader: Leader | undefined;
  readonly clusterId: string;
  /** The epochs between which it goes back, if it is the epoch of a rollback. */
  readonly rollback: { readonly from: number; readonly to: number } | undefined;
  /** Size of the WAL object. */
  readonly bytes: number;
  /** Pages that changed. */
  readonly pages: number;
}

/**
 * Reads what an epoch tells of itself: the beginning of its WAL, and the rest only if the system table is not in there.
 * What was read is verified by its checksums; what was not read is not.
 *
 * @returns `undefined` if there is no such WAL
 * @throws ClusterError `corrupt` if the WAL is damaged
 */
export async function readEpochFacts(
  store: ObjectStore,
  epoch: number,
  signal: AbortSignal | undefined,
): Promise<EpochFacts | undefined> {
  const key = walKey(epoch);
  const start = await store.get(key, { range: { offset: 0, length: PREFIX_BYTES }, signal });
  if (start === undefined) return undefined;
  const prefix = parseWalPrefix(start.bytes, start.size, key);
  const inPrefix = choosePage(prefix, epoch);
  if (inPrefix !== undefined || isWhole(prefix)) return factsOf(epoch, inPrefix, prefix, start.size);
  const object = await store.get(key, { signal });
  if (object === undefined) return undefined;
  const wal = parseWal(object.bytes, key);
  return factsOf(epoch, choosePage(wal, epoch), wal, object.size);
}

/**
 * The system table's page among those that look like it. A user's copy of the table can look like it too, but its chain
 * does not name the epoch before; so in the beginning of a WAL a page with another chain does not end the search.
 */
function choosePage(wal: Wal, epoch: number): SystemPage | undefined {
  const pages = findSystemPages(wal);
  return (
    pages.find(({ rows }) => namesEpochBefore(rows.get("chain"), epoch)) ??
    pages.find(({ pageNumber, rows }) => isWhole(wal) || (pageNumber === USUAL_SYSTEM_PAGE && !rows.has("chain")))
  );
}

/** The commit, which tells the size of the database, is in the last frame. */
function isWhole(wal: Wal): boolean {
  return wal.pageCount > 0;
}

function namesEpochBefore(chain: unknown, epoch: number): boolean {
  return typeof chain === "string" && chain.startsWith(`{"epoch":${epoch - 1},`);
}

function factsOf(epoch: number, page: SystemPage | undefined, wal: Wal, bytes: number): EpochFacts {
  const key = walKey(epoch);
  if (page === undefined) refuse(key, "system table", "a page with its rows", "none");
  const rows = decodeSystemRows(page.rows, key);
  checkPlace(rows, epoch, key);
  const { rollback } = rows;
  return {
    epoch,
    time: rows.lastUpdate,
    leader: rows.leader,
    clusterId: rows.clusterId,
    rollback: rollback?.epoch === epoch ? { from: rollback.from, to: rollback.to } : undefined,
    bytes,
    pages: changedPages(wal, bytes),
  };
}

/** A leader that does not write the chain leaves an old one; one that names this epoch or a later one belongs elsewhere. */
function checkPlace(rows: SystemRows, epoch: number, key: string): void {
  if (rows.chain === undefined || rows.chain.epoch < epoch) return;
  refuse(key, "epoch before it", `${epoch - 1} or none`, String(rows.chain.epoch));
}

/** A page has one frame in what a single commit writes at once; so the number of frames tells, unless one repeats. */
function changedPages(wal: Wal, bytes: number): number {
  return isWhole(wal) ? new Set(wal.pageNumbers).size : walFrameCount(bytes);
}

function refuse(object: string, where: string, expected: string, found: string): never {
  throw new ClusterError(
    "corrupt",
    "wal_corrupt",
    `${object} is not what belongs there: ${where}: expected ${expected}, found ${found}`,
    { object, where, expected, found },
  );
}
