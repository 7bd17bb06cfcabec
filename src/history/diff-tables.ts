/** The tables of a database whose rows are compared, and how each is read in an order that both sides share. */
import { SYSTEM_TABLE } from "../format/system-rows.ts";
import type { StillDatabase } from "../sqlite/still-database.ts";
import type { SqlValue } from "../sqlite/values.ts";

/** A column of a primary key, as its index orders it. */
export interface KeyColumn {
  readonly name: string;
  readonly collation: string;
  readonly descending: boolean;
}

/**
 * What tells a row from others.
 *
 * - `rowid`: the rowid, also under the name of an INTEGER PRIMARY KEY
 * - `primary`: the values of any other primary key
 * - `none`: a table without a primary key whose columns have taken every name of the rowid
 */
export type TableKey =
  | { readonly kind: "rowid" }
  | { readonly kind: "primary"; readonly columns: readonly KeyColumn[] }
  | { readonly kind: "none" };

export interface TableShape {
  readonly name: string;
  /** The text that made it. */
  readonly sql: string;
  readonly rootPage: number;
  /** Columns that hold what was written, in their order; generated ones follow from them and are left out. */
  readonly columns: readonly string[];
  readonly key: TableKey;
  /** How SQL calls the rowid; `undefined` without one, or where the columns have taken all its names. */
  readonly rowidName: string | undefined;
  /** Tables that hold what a virtual table shows. */
  readonly shadows: readonly string[];
}

/** What SQLite keeps for itself is left out, except the counters of AUTOINCREMENT, which nothing else tells. */
const SEQUENCE_TABLE = "sqlite_sequence";
/** Which of their shadow tables hold the rows of virtual tables: full-text and spatial ones. Others show other tables' rows. */
const ROW_SHADOWS: readonly string[] = ["content", "node"];
const ROWID_NAMES: readonly string[] = ["rowid", "_rowid_", "oid"];
const HIDDEN_NO = 0;

/** SQLite compares names so. */
export function foldName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** The tables that are compared, by folded name. Gives "rest" after each: there may be thousands. */
export function* readTables(database: StillDatabase): Generator<"rest", Map<string, TableShape>> {
  const listed = database.values(
    `SELECT l.name, l.type, s.sql, s.rootpage, l.wr FROM pragma_table_list AS l
       JOIN sqlite_schema AS s ON s.name = l.name AND s.type = 'table' WHERE l.schema = 'main' ORDER BY l.name`,
  );
  const shadows = listed.filter(([, type]) => type === "shadow").map(([name]) => String(name));
  const tables = new Map<string, TableShape>();
  for (const [tableName, type, sql, rootPage, withoutRowid] of listed) {
    const name = String(tableName);
    const own = type === "virtual" ? shadows.filter((shadow) => isShadowOf(shadow, name)) : [];
    if (type === "shadow" || isInternal(name)) continue;
    if (type === "virtual" && !ROW_SHADOWS.some((suffix) => own.includes(`${name}_${suffix}`))) continue;
    const columns = readColumns(database, name);
    tables.set(foldName(name), {
      name,
      sql: String(sql),
      rootPage: Number(rootPage),
      columns: columns.filter(({ hidden }) => hidden === HIDDEN_NO).map((column) => column.name),
      ...readKey(database, name, columns, withoutRowid !== 0),
      shadows: own,
    });
    yield "rest";
  }
  return tables;
}

/** The statements that made what is in the database, without what SQLite and the library made for themselves. */
export function readSchema(database: StillDatabase): SqlValue[][] {
  const shadows = new Set(
    database
      .values("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'")
      .map(([name]) => name),
  );
  return database
    .values("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name")
    .filter(
      ([, name, table]) => !isOfSqlite(String(name)) && !isSystem(String(table)) && !shadows.has(table as string),
    );
}

function isInternal(name: string): boolean {
  return isSystem(name) || (isOfSqlite(name) && foldName(name) !== SEQUENCE_TABLE);
}

function isOfSqlite(name: string): boolean {
  return /^sqlite_/i.test(name);
}

function isSystem(name: string): boolean {
  return foldName(name) === SYSTEM_TABLE;
}

function isShadowOf(shadow: string, table: string): boolean {
  return foldName(shadow).startsWith(`${foldName(table)}_`);
}

interface Column {
  readonly name: string;
  readonly type: string;
  /** Place in the primary key, from 1; 0 if it is not in it. */
  readonly keyPlace: number;
  readonly hidden: number;
}

function readColumns(database: StillDatabase, table: string): Column[] {
  return database
    .values("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?, 'main')", [table])
    .map(([name, type, pk, hidden]) => ({
      name: String(name),
      type: String(type),
      keyPlace: Number(pk),
      hidden: Number(hidden),
    }));
}

function readKey(
  database: StillDatabase,
  table: string,
  columns: readonly Column[],
  isWithoutRowid: boolean,
): { key: TableKey; rowidName: string | undefined } {
  const index = database.values("SELECT name FROM pragma_index_list(?, 'main') WHERE origin = 'pk'", [table])[0]?.[0];
  const keyColumns = columns.filter(({ keyPlace }) => keyPlace > 0);
  // Without an index of its own the key is the rowid: INTEGER PRIMARY KEY.
  if (index === undefined && keyColumns.length === 1 && !isWithoutRowid)
    return { key: { kind: "rowid" }, rowidName: quoteName(keyColumns[0]?.name ?? "") };
  const taken = new Set(columns.map(({ name }) => foldName(name)));
  const rowidName = isWithoutRowid ? undefined : ROWID_NAMES.find((name) => !taken.has(name));
  if (rowidName === undefined && !isWithoutRowid) return { key: { kind: "none" }, rowidName };
  if (index === undefined) return { key: { kind: "rowid" }, rowidName };
  const indexed = database.values(`SELECT name, coll, "desc" FROM pragma_index_xinfo(?, 'main') WHERE key = 1`, [
    index,
  ]);
  return {
    key: {
      kind: "primary",
      columns: indexed.map(([name, collation, descending]) => ({
        name: String(name),
        collation: String(collation),
        descending: descending !== 0,
      })),
    },
    rowidName,
  };
}
