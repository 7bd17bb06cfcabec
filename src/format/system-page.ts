/**
 * Reads the system table `_lbc` (docs/architecture.md §2) out of one WAL file, without a database.
 *
 * Every epoch rewrites `last_update`, and all rows together are a few hundred bytes: so every WAL has the one leaf page
 * that holds them all. It is page 2 of a database that was made as a cluster's; where a cluster began with a file that
 * existed before, it can be any. Nothing in a WAL says which table a page belongs to, so it is recognised by its rows.
 */
import { type RecordValue, readLeafRows } from "./record.ts";
import { framePageOffset, PAGE_BYTES, type Wal } from "./wal.ts";

/** Where the table is in a database that was made as a cluster's: its first page is the schema's. */
export const USUAL_SYSTEM_PAGE = 2;

/** Rows that every epoch has, of clusters of ours and of the original's. */
const REQUIRED_KEYS = ["cluster_id", "last_update"] as const;

/** A page that looks like the one with the system table's rows. */
export interface SystemPage {
  readonly pageNumber: number;
  /** Key → value as it is stored; see `decodeSystemRows`. */
  readonly rows: ReadonlyMap<string, RecordValue>;
}

/**
 * The pages of a WAL, or of the beginning of one, that look like the system table's: that of `_lbc`, and any copy that
 * a user's table holds. The usual one comes first, then those with a later `last_update`.
 */
export function findSystemPages(wal: Wal): SystemPage[] {
  const found: SystemPage[] = [];
  const seen = new Set<number>();
  // Of a page that repeats the last frame counts.
  for (let frame = wal.frameCount - 1; frame >= 0; frame--) {
    const pageNumber = wal.pageNumbers[frame] as number;
    if (seen.has(pageNumber)) continue;
    seen.add(pageNumber);
    const start = framePageOffset(frame);
    const rows = readSystemPage(wal.bytes.subarray(start, start + PAGE_BYTES));
    if (rows !== undefined) found.push({ pageNumber, rows });
  }
  return found.sort(compareLikelihood);
}

/** The rows of a page, if it looks like the system table's; never throws. */
export function readSystemPage(page: Uint8Array): ReadonlyMap<string, RecordValue> | undefined {
  const rows = readLeafRows(page, isKeyValue);
  if (rows === undefined) return undefined;
  const table = new Map(rows.map(([key, value]) => [key as string, value as RecordValue]));
  return REQUIRED_KEYS.every((key) => table.has(key)) ? table : undefined;
}

function isKeyValue(row: readonly RecordValue[]): boolean {
  return row.length === 2 && typeof row[0] === "string";
}

function compareLikelihood(a: SystemPage, b: SystemPage): number {
  if (a.pageNumber === USUAL_SYSTEM_PAGE) return -1;
  if (b.pageNumber === USUAL_SYSTEM_PAGE) return 1;
  const [timeA, timeB] = [a, b].map(({ rows }) => String(rows.get("last_update"))) as [string, string];
  if (timeA !== timeB) return timeA > timeB ? -1 : 1;
  return a.pageNumber - b.pageNumber;
}
