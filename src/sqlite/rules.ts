/**
 * What SQL may not do, and why. A statement of one transaction must not be able
 * to hurt the others in its epoch, and nothing may touch what the library
 * itself relies on.
 */
import { SYSTEM_TABLE } from "../format/system-rows.ts";
import type { SqlAction } from "./connection.ts";

/** https://www.sqlite.org/c3ref/c_alter_table.html */
const CREATE_INDEX = 1;
const CREATE_TABLE = 2;
const CREATE_TEMP_INDEX = 3;
const CREATE_TEMP_VIEW = 6;
const CREATE_TRIGGER = 7;
const CREATE_VIEW = 8;
const DELETE = 9;
const DROP_INDEX = 10;
const DROP_TABLE = 11;
const INSERT = 18;
const PRAGMA = 19;
const TRANSACTION = 22;
const UPDATE = 23;
const ATTACH = 24;
const DETACH = 25;
const ALTER_TABLE = 26;
const SAVEPOINT = 32;

/** Savepoints of the library start with this. */
export const SAVEPOINT_PREFIX = "_lbc";

/** Pragmas that only read, whatever their argument. */
const READING_PRAGMAS: ReadonlySet<string> = new Set([
  "collation_list",
  "compile_options",
  "data_version",
  "database_list",
  "foreign_key_check",
  "foreign_key_list",
  "freelist_count",
  "function_list",
  "index_info",
  "index_list",
  "index_xinfo",
  "integrity_check",
  "module_list",
  "page_count",
  "pragma_list",
  "quick_check",
  "table_info",
  "table_list",
  "table_xinfo",
]);

/** Pragmas that may be read, not set: setting them would outlive the transaction or change the file's nature. */
const READ_ONLY_PRAGMAS: ReadonlySet<string> = new Set([
  "auto_vacuum",
  "encoding",
  "foreign_keys",
  "journal_mode",
  "page_size",
  "schema_version",
]);

/** Pragmas that write what is part of the database, so they are part of the transaction. */
const WRITING_PRAGMAS: ReadonlySet<string> = new Set([
  "application_id",
  "incremental_vacuum",
  "optimize",
  "user_version",
]);

/** Why a transaction's statement is refused, or `undefined` if it is not. */
export function whyNotInTransaction({ action, first, second, database }: SqlAction): string | undefined {
  switch (action) {
    case TRANSACTION:
      return `${first} is not allowed inside a transaction function: it commits when the function returns and rolls back when it throws`;
    case SAVEPOINT:
      return second?.toLowerCase().startsWith(SAVEPOINT_PREFIX)
        ? `savepoint names that start with ${SAVEPOINT_PREFIX} belong to the library`
        : undefined;
    case ATTACH:
    case DETACH:
      return "ATTACH, DETACH and VACUUM are not allowed: the replicated database is one file, and its pages are what is replicated";
    case PRAGMA:
      return whyNotPragma(first, second, true);
    case INSERT:
      // Every CREATE inserts a row into a schema: so CREATE TABLE temp.x shows, which has no action of its own.
      if (database === "temp") return temporary();
      return isSystemTable(first) ? systemTable() : undefined;
    case UPDATE:
    case DELETE:
    case CREATE_TABLE:
    case DROP_TABLE:
      return isSystemTable(first) ? systemTable() : undefined;
    case CREATE_INDEX:
    case DROP_INDEX:
    case CREATE_TRIGGER:
    case ALTER_TABLE:
      return isSystemTable(second) ? systemTable() : undefined;
    case CREATE_VIEW:
      return isSystemTable(first) ? systemTable() : undefined;
    default:
      return action >= CREATE_TEMP_INDEX && action <= CREATE_TEMP_VIEW ? temporary() : undefined;
  }
}

/** Why a reader's statement is refused, or `undefined` if it is not; what writes is refused elsewhere. */
export function whyNotInReader({ action, first, second }: SqlAction): string | undefined {
  switch (action) {
    case TRANSACTION:
    case SAVEPOINT:
      return "db has no transactions: use db.snapshot(fn) for several reads on one image, node.transaction(fn) to write";
    case ATTACH:
    case DETACH:
      return "ATTACH, DETACH and VACUUM are not allowed on the replicated database";
    case PRAGMA:
      return whyNotPragma(first, second, false);
    default:
      return undefined;
  }
}

/**
 * Why the text of a statement is refused: SQLite tells the authorizer nothing
 * of conflict clauses, and one that rolls back the whole transaction would take
 * the other transactions of the epoch with it.
 */
export function whyNotText(sql: string): string | undefined {
  if (!/rollback/i.test(sql)) return undefined;
  const plain = sql.replace(QUOTED_OR_COMMENT, " ");
  return /\b(?:OR|ON\s+CONFLICT)\s+ROLLBACK\b|\bRAISE\s*\(\s*ROLLBACK\b/i.test(plain)
    ? "OR ROLLBACK, ON CONFLICT ROLLBACK and RAISE(ROLLBACK) are not allowed: they would roll back other transactions of the epoch; use ABORT"
    : undefined;
}

const QUOTED_OR_COMMENT = /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g;

function whyNotPragma(name: string | undefined, argument: string | undefined, mayWrite: boolean): string | undefined {
  const pragma = name?.toLowerCase() ?? "";
  if (READING_PRAGMAS.has(pragma)) return undefined;
  if (READ_ONLY_PRAGMAS.has(pragma) && argument === undefined) return undefined;
  if (WRITING_PRAGMAS.has(pragma) && (mayWrite || argument === undefined)) return undefined;
  return `PRAGMA ${pragma}${argument === undefined ? "" : " with a value"} is not allowed: it would outlive the call or change how the database is replicated`;
}

function temporary(): string {
  return "temporary tables, views, triggers and indexes are not allowed: they would live on one node only and outlive the transaction";
}

function isSystemTable(name: string | undefined): boolean {
  return name?.toLowerCase() === SYSTEM_TABLE;
}

function systemTable(): string {
  return `table ${SYSTEM_TABLE} belongs to the library and is read-only`;
}
