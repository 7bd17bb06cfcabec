/** The log that every write of a checked run adds its id to: what was written, in which order. */
import type { Reads } from "../../sqlite/reader.ts";
import type { Transaction } from "../../sqlite/writer.ts";

export const CHECK_LOG_TABLE = "lbc_check_log";

/** The end of the log. */
export interface LogReading {
  /** How many ids there are. */
  readonly length: number;
  /** The last of them, in their order. */
  readonly tail: readonly string[];
}

export function createCheckLog(tx: Transaction): void {
  tx.exec(`CREATE TABLE ${CHECK_LOG_TABLE} (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL)`);
}

/** @throws ClusterError `SQLITE_CONSTRAINT_UNIQUE` if this leader has the id already: the write is executed a second time */
export function appendToLog(tx: Transaction, id: string): void {
  tx.run(`INSERT INTO ${CHECK_LOG_TABLE}(id) VALUES (?)`, [id]);
}

/** Of the newest ids at most so many. */
export function readLog(reads: Reads, tailMax: number): LogReading {
  // Rows are never deleted, and a counter is rolled back with its transaction: so the last number is the count, and costs nothing.
  const rows = reads.values<[number, string]>(`SELECT seq, id FROM ${CHECK_LOG_TABLE} ORDER BY seq DESC LIMIT ?`, [
    tailMax,
  ]);
  return { length: rows[0]?.[0] ?? 0, tail: rows.map(([, id]) => id).reverse() };
}
