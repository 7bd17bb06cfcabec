/** What a database says of itself, asked with SQL like everything that users read. */
import { createHash } from "node:crypto";
import type { Reads } from "../../src/mod.ts";

/**
 * What readers see changed on page 1: versions of the file format, change counter, version-valid-for
 * (https://www.sqlite.org/fileformat.html §1.3).
 */
const SHOWN_OTHERWISE: readonly (readonly [number, number])[] = [
  [18, 20],
  [24, 28],
  [92, 96],
];

/** The epoch of the data: what it says of the one before, and one. */
export function epochShown(reads: Reads): number {
  const row = reads.get<{ value: string }>("SELECT value FROM _lbc WHERE key = 'chain'");
  return row === undefined ? 0 : (JSON.parse(row.value) as { epoch: number }).epoch + 1;
}

/** SHA-256 over every page: equal if and only if the databases are. */
export function pagesDigest(reads: Reads): string {
  const hash = createHash("sha256");
  for (const { pgno, data } of reads.iterate<{ pgno: number; data: Uint8Array }>(
    "SELECT pgno, data FROM sqlite_dbpage",
  )) {
    const page = data.slice();
    if (pgno === 1) for (const [start, end] of SHOWN_OTHERWISE) page.fill(0, start, end);
    hash.update(page);
  }
  return hash.digest("hex");
}
