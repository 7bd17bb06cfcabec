/** Lists that writes append to: each reads where the list ends, so one that did not see another would take its place. */
import type { Reads } from "../../sqlite/reader.ts";
import type { Transaction } from "../../sqlite/writer.ts";

const TABLE = "lbc_check_lists";
export const LIST_COUNT = 4;

/** The end of one list. */
export interface ListReading {
  readonly list: number;
  readonly length: number;
  readonly tail: readonly string[];
}

export function createLists(tx: Transaction): void {
  tx.exec(
    `CREATE TABLE ${TABLE} (list INTEGER, position INTEGER, element TEXT NOT NULL, PRIMARY KEY (list, position)) WITHOUT ROWID`,
  );
}

export function appendToList(tx: Transaction, list: number, element: string): void {
  const end = tx.get<{ last: number | null }>(`SELECT max(position) AS last FROM ${TABLE} WHERE list = ?`, [list]);
  tx.run(`INSERT INTO ${TABLE} VALUES (?, ?, ?)`, [list, (end?.last ?? 0) + 1, element]);
}

/** Of the newest elements at most so many. */
export function readList(reads: Reads, list: number, tailMax: number): ListReading {
  const sql = `SELECT position, element FROM ${TABLE} WHERE list = ? ORDER BY position DESC LIMIT ?`;
  const rows = reads.values<[number, string]>(sql, [list, tailMax]);
  return { list, length: rows[0]?.[0] ?? 0, tail: rows.map(([, element]) => element).reverse() };
}
