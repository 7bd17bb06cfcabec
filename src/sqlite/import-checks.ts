/** What an SQLite file must be to become a cluster's database. */
import { ClusterError, type ErrorKind, errorMessage, isClusterError } from "../errors.ts";
import { CREATE_SYSTEM_TABLE, FORMAT, SYSTEM_TABLE } from "../format/system-rows.ts";
import { DATABASE_HEADER_BYTES, type DatabaseHeader, parseDatabaseHeader } from "./database-header.ts";
import type { ScratchDatabase } from "./scratch-database.ts";
import type { ChunkedFile } from "./scratch-files.ts";

/** How many problems `integrity_check` may report before it stops. */
const PROBLEMS_MAX = 5;
/** So many of the first bytes are looked at to tell a text. */
const TEXT_SAMPLE_BYTES = 512;

/** An error about a file that was not imported. Nothing was written. */
export function importError(
  kind: ErrorKind,
  code: string,
  file: string,
  reason: string,
  details: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): ClusterError {
  const text = `${file} was not imported: ${reason}`;
  return new ClusterError(kind, code, text, { file, ...details }, cause === undefined ? undefined : { cause });
}

/** The database's header. Refuses what is empty or something else. */
export function checkIsDatabase(database: ChunkedFile, file: string): DatabaseHeader {
  if (database.size() === 0)
    throw importError(
      "invalid",
      "not_a_database",
      file,
      "the file is empty; without one, init makes an empty database",
    );
  const header = parseDatabaseHeader(database.head(DATABASE_HEADER_BYTES));
  if (header !== undefined) return header;
  const reason = isText(database.head(TEXT_SAMPLE_BYTES))
    ? `it is a text, not an SQLite database; if it is an SQL script, make a database of it first: sqlite3 new.db < ${file}`
    : "it is not an SQLite database, or an encrypted one; one that is encrypted must be decrypted first, with the program that encrypted it";
  throw importError("invalid", "not_a_database", file, reason);
}

/** Refuses a database of which a part is missing, and one whose texts this build of SQLite cannot read. */
export function checkHeader(database: ChunkedFile, file: string): void {
  const { pageBytes, pageCount, encoding } = checkIsDatabase(database, file);
  const expected = (pageCount ?? 1) * pageBytes;
  if (database.size() < expected) {
    const reason = `it is cut off: its header tells of ${expected} bytes, there are ${database.size()}; copy it anew`;
    throw importError("corrupt", "database_corrupt", file, reason, { expected, found: database.size() });
  }
  // SQLite's WASM build has no UTF-16, and would take the texts for UTF-8.
  if (encoding !== "UTF-8") {
    const reason = `its texts are ${encoding}, a cluster's are UTF-8; convert it first: sqlite3 ${file} .dump | sqlite3 utf8.db`;
    throw importError("invalid", "database_unsupported", file, reason, { encoding });
  }
}

/** `PRAGMA integrity_check`. */
export function checkIntegrity(database: ScratchDatabase, file: string): void {
  const problems: string[] = [];
  asking(file, () => {
    try {
      for (const problem of database.integrityProblems(PROBLEMS_MAX)) problems.push(problem);
    } catch (error) {
      if (problems.length === 0) throw error;
    }
  });
  if (problems.length === 0) return;
  const advice = `Repair it first (sqlite3 ${file} .recover | sqlite3 repaired.db), or take a copy from before the damage`;
  const reason = `it is damaged; SQLite's integrity_check reports: ${problems.join("; ")}. ${advice}`;
  throw importError("corrupt", "database_corrupt", file, reason, { problems });
}

/** Refuses virtual tables that no node could read or write. */
export function checkVirtualTables(database: ScratchDatabase, file: string): void {
  const tables = asking(file, () =>
    database.values("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage = 0 ORDER BY name"),
  ).map(([name]) => String(name));
  for (const table of tables) {
    try {
      database.prepare(`SELECT 1 FROM "${table.replaceAll('"', '""')}"`);
    } catch (error) {
      const reason = `the SQLite of the cluster's nodes cannot open its virtual table ${JSON.stringify(table)} (${errorMessage(error)}); drop the table in a copy of the file and import that`;
      throw importError("invalid", "database_unsupported", file, reason, { table }, error);
    }
  }
}

/** Refuses a table of the system table's name that is something else. */
export function checkSystemTable(database: ScratchDatabase, file: string): void {
  const found = asking(file, () =>
    database.values(
      "SELECT type, name, sql FROM sqlite_schema WHERE ?1 COLLATE NOCASE IN (name, tbl_name) AND sql IS NOT NULL",
      [SYSTEM_TABLE],
    ),
  );
  if (found.length === 0) return;
  const isOurs = found.every(
    ([type, name, sql]) => type === "table" && name === SYSTEM_TABLE && squeeze(String(sql)) === CREATE_SYSTEM_TABLE,
  );
  if (!isOurs) {
    const reason = `it has a table ${SYSTEM_TABLE} that is not a cluster's, and that name belongs to the cluster; rename it in a copy of the file and import that`;
    throw importError("invalid", "foreign_system_table", file, reason, { table: SYSTEM_TABLE });
  }
  const format = database.systemRows.get("format");
  if (format === undefined || format === null || format === FORMAT) return;
  const reason = `it was exported from a cluster of format ${format}, this version of littlebigcluster reads format ${FORMAT}: upgrade it`;
  throw importError("invalid", "unknown_format", file, reason, { expected: FORMAT, found: format });
}

/** Runs something of SQLite's; its errors become those of an import. */
export function asking<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!isClusterError(error) || error.details.primary === undefined) throw error;
    const { kind, message, details } = error;
    if (kind === "corrupt") {
      const reason = `it is damaged or encrypted (${message}); decrypt or repair it first, or take another copy`;
      throw importError("corrupt", "database_corrupt", file, reason, details, error);
    }
    if (kind === "overloaded") throw importError(kind, error.code, file, `out of memory (${message})`, details, error);
    const reason = `the SQLite of the cluster's nodes cannot work with it (${message})`;
    throw importError("invalid", "database_unsupported", file, reason, details, error);
  }
}

function isText(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte >= 0x20 || (byte >= 0x09 && byte <= 0x0d));
}

function squeeze(sql: string): string {
  return sql.replace(/\s+/g, " ").trim();
}
