/**
 * SQLite at work on a database in memory that is no cluster's yet, or no more: to check it, to give it other system
 * rows, to make it anew without what was deleted in it.
 */
import { CREATE_SYSTEM_TABLE, SYSTEM_TABLE } from "../format/system-rows.ts";
import { PAGE_BYTES } from "../format/wal.ts";
import { Connection, type SqliteContext } from "./connection.ts";
import { ChunkedFile } from "./scratch-files.ts";
import { Statement } from "./statement.ts";
import type { SqlParams, SqlValue } from "./values.ts";
import type { VfsFile } from "./vfs.ts";

const SCRATCH_PATH = "/scratch";
const REBUILT_PATH = "/rebuilt";
const SQLITE_DBCONFIG_DEFENSIVE = 1010;
const SQLITE_DBCONFIG_DQS_DML = 1013;
const SQLITE_DBCONFIG_DQS_DDL = 1014;

/** Rows of the system table by key. */
export type SystemRowMap = ReadonlyMap<string, SqlValue>;

export class ScratchDatabase {
  readonly #context: SqliteContext;
  readonly #connection: Connection;

  /** @param file a database that needs no WAL */
  constructor(context: SqliteContext, file: VfsFile) {
    this.#context = context;
    this.#connection = openScratch(context, file, undefined);
    const { pointer } = this.#connection;
    for (const [option, value] of [
      [SQLITE_DBCONFIG_DEFENSIVE, 0],
      // A schema with texts in double quotes, as the sqlite3 program takes it, is made anew as it is.
      [SQLITE_DBCONFIG_DQS_DML, 1],
      [SQLITE_DBCONFIG_DQS_DDL, 1],
    ] as const) {
      context.sqlite.api.sqlite3_db_config(pointer, option, value, 0);
    }
    this.#connection.exec("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF");
  }

  /** All rows, as arrays. */
  values(sql: string, params?: SqlParams): SqlValue[][] {
    return this.#connection.prepare(sql).allValues(params);
  }

  /** What `PRAGMA integrity_check` reports, up to so many problems; it may fail itself, after some. */
  *integrityProblems(problemsMax: number): Generator<string, void, undefined> {
    const statement = () => this.#connection.prepare(`PRAGMA integrity_check(${problemsMax})`);
    for (const row of Statement.iterate(statement, undefined)) {
      const [problem] = Object.values(row);
      if (problem !== "ok") yield String(problem);
    }
  }

  /** Fails as `values` would, without reading rows. */
  prepare(sql: string): void {
    this.#connection.prepare(sql);
  }

  get systemRows(): SystemRowMap {
    const rows = this.values(`SELECT key, value FROM ${SYSTEM_TABLE}`);
    return new Map(rows.map(([key = null, value = null]) => [String(key), value]));
  }

  /**
   * Makes these the only rows of the system table, whose pages then hold nothing of the old ones: SQLite overwrites
   * what it deletes with zeros, and deletes everything before it writes.
   */
  replaceSystemRows(rows: SystemRowMap): void {
    const connection = this.#connection;
    const exists = this.values("SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE", [SYSTEM_TABLE]).length > 0;
    connection.exec(
      `PRAGMA secure_delete = ON; BEGIN; ${exists ? `DELETE FROM ${SYSTEM_TABLE}` : CREATE_SYSTEM_TABLE}`,
    );
    const insert = connection.prepare(`INSERT INTO ${SYSTEM_TABLE}(key, value) VALUES (?, ?)`);
    for (const [key, value] of rows) insert.run([key, value]);
    connection.exec("COMMIT");
  }

  /**
   * A new database with the same content and nothing else, pages of {@link PAGE_BYTES}, as every cluster's: the system
   * table is the first (its root is page 2), and nothing is moved by itself when something is deleted.
   *
   * @param onBytes told of the bytes that SQLite has written of it
   */
  rebuild(onBytes: (count: number) => void): ChunkedFile {
    const rebuilt = new ChunkedFile();
    rebuilt.onBytes = onBytes;
    const { vfs } = this.#context;
    const paths = [REBUILT_PATH, `${REBUILT_PATH}-journal`];
    vfs.set(REBUILT_PATH, { exists: () => rebuilt.size() > 0, open: () => rebuilt });
    vfs.set(`${REBUILT_PATH}-journal`, { exists: () => false, open: () => new ChunkedFile() });
    try {
      // VACUUM makes tables in the order in which the schema names them.
      this.#connection.exec(`
        PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET rowid = (SELECT min(rowid) FROM sqlite_schema) - 1 WHERE name = '${SYSTEM_TABLE}';
        PRAGMA writable_schema = OFF;
        PRAGMA auto_vacuum = NONE;
        PRAGMA page_size = ${PAGE_BYTES};
        VACUUM INTO '${REBUILT_PATH}'`);
    } finally {
      for (const path of paths) vfs.delete(path);
    }
    rebuilt.onBytes = () => {};
    return rebuilt;
  }

  close(): void {
    closeScratch(this.#context, this.#connection);
  }
}

/** Lets SQLite bring what is committed in the WAL into the database file, which needs none then. */
export function absorbWal(context: SqliteContext, file: ChunkedFile, wal: ChunkedFile): void {
  const connection = openScratch(context, file, wal);
  try {
    connection.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = OFF");
    connection.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    if (wal.size() !== 0) throw new Error("SQLite did not bring the WAL into the database");
  } finally {
    // Does the same if the schema could not be read.
    closeScratch(context, connection);
    file.leaveWalMode();
  }
}

/** The VFS must not hold the file's memory any longer. */
function closeScratch({ vfs }: SqliteContext, connection: Connection): void {
  connection.close();
  for (const suffix of ["", "-wal", "-journal"]) vfs.delete(`${SCRATCH_PATH}${suffix}`);
}

function openScratch(context: SqliteContext, file: VfsFile, wal: VfsFile | undefined): Connection {
  const { vfs } = context;
  const none: VfsFile = new ChunkedFile();
  vfs.set(SCRATCH_PATH, { exists: () => true, open: () => file });
  vfs.set(`${SCRATCH_PATH}-wal`, { exists: () => wal !== undefined, open: () => wal ?? none });
  vfs.set(`${SCRATCH_PATH}-journal`, { exists: () => false, open: () => none });
  return new Connection(context, SCRATCH_PATH, "write");
}
