/**
 * The rowid of the last insert, read from where SQLite keeps it in its
 * connection structure: the API gives it as a bigint, which costs every
 * statement of a transaction about 5 % of its time.
 */
import { readInteger } from "./values.ts";
import type { Pointer, Sqlite } from "./wasm.ts";

/** The structure begins with a few pointers and flags; the rowid is among the first fields. */
const SEARCHED_BYTES = 256;
const MARKS: readonly bigint[] = [0x1234_5678_9abc_def1n, -0x0fed_cba9_8765_4321n];

/** Where in a connection the rowid is, proven by setting it twice; `undefined` if it is not found without doubt. */
export function probeRowidOffset(sqlite: Sqlite, db: Pointer): number | undefined {
  let candidates = Array.from({ length: SEARCHED_BYTES / 8 }, (_, index) => index * 8);
  for (const mark of MARKS) {
    sqlite.exports.sqlite3_set_last_insert_rowid(db, mark);
    candidates = candidates.filter((offset) => sqlite.view.getBigInt64(db + offset, true) === mark);
  }
  sqlite.exports.sqlite3_set_last_insert_rowid(db, 0n);
  return candidates.length === 1 ? candidates[0] : undefined;
}

/** The rowid of the last row inserted on the connection. */
export function lastInsertRowid(sqlite: Sqlite, db: Pointer, offset: number | undefined): number | bigint {
  if (offset !== undefined) return readInteger(sqlite.view, db + offset);
  const rowid = sqlite.exports.sqlite3_last_insert_rowid(db);
  const approximate = Number(rowid);
  return Number.isSafeInteger(approximate) ? approximate : rowid;
}
