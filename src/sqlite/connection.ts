/** One SQLite connection with its cache of prepared statements. */
import { ClusterError, type ErrorKind } from "../errors.ts";
import { lastInsertRowid } from "./rowid.ts";
import { Statement } from "./statement.ts";
import type { ValueCodec } from "./values.ts";
import { VFS_NAME, type Vfs } from "./vfs.ts";
import { type Pointer, SCRATCH_BYTES, type Sqlite } from "./wasm.ts";

/** Prepared statements that a connection keeps; one that was not used lately goes first. */
export const CACHED_STATEMENTS_MAX = 256;

const SQLITE_OPEN_READONLY = 1;
const SQLITE_OPEN_READWRITE = 2;
const SQLITE_OPEN_CREATE = 4;
const SQLITE_PREPARE_PERSISTENT = 1;
const SQLITE_DBCONFIG_DEFENSIVE = 1010;
const SQLITE_DBCONFIG_TRUSTED_SCHEMA = 1017;

/** Everything that the connections of one instance share. */
export interface SqliteContext {
  readonly sqlite: Sqlite;
  readonly vfs: Vfs;
  readonly codec: ValueCodec;
  /** See `rowid.ts`. */
  readonly rowidOffset: number | undefined;
}

/** What a statement would do: https://www.sqlite.org/c3ref/c_alter_table.html */
export interface SqlAction {
  readonly action: number;
  readonly first: string | undefined;
  readonly second: string | undefined;
  /** Its schema name: `main`, `temp`. */
  readonly database: string | undefined;
}

const SQLITE_AUTH = 23;
const SQLITE_DENY = 1;
const ACTION_READ = 20;
const ACTION_SELECT = 21;
const ACTION_FUNCTION = 31;

export class Connection {
  readonly sqlite: Sqlite;
  readonly codec: ValueCodec;
  readonly pointer: Pointer;
  readonly #rowidOffset: number | undefined;
  readonly #vfs: Vfs;
  readonly #statements = new Map<string, Statement>();
  readonly #owned: Statement[] = [];
  /** Statements whose rows are read one by one now. */
  readonly iterating: Set<Statement> = new Set();
  /** What the authorizer knows. The bundled API keeps that for ever, so it must not hold the connection. */
  readonly #rules: { apply: boolean; refusal: string | undefined } = { apply: false, refusal: undefined };
  #closed = false;

  constructor(context: SqliteContext, path: string, mode: "read" | "write") {
    this.sqlite = context.sqlite;
    this.codec = context.codec;
    this.#rowidOffset = context.rowidOffset;
    this.#vfs = context.vfs;
    const { exports, module, out } = context.sqlite;
    const pathText = module.wasm.allocCString(path);
    const vfsName = module.wasm.allocCString(VFS_NAME);
    const flags = mode === "read" ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const code = exports.sqlite3_open_v2(pathText, out, flags, vfsName);
    this.pointer = context.sqlite.view.getUint32(out, true);
    exports.sqlite3_free(pathText);
    exports.sqlite3_free(vfsName);
    if (code !== 0) throw this.error(code, undefined);
    exports.sqlite3_extended_result_codes(this.pointer, 1);
    this.sqlite.api.sqlite3_db_config(this.pointer, SQLITE_DBCONFIG_DEFENSIVE, 1, 0);
    this.sqlite.api.sqlite3_db_config(this.pointer, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, 0);
  }

  /**
   * The statement for one SQL command, from the cache or new. A busy one is not shared: then it is new and not kept.
   *
   * @param refuse gives the reason if a new statement with this text is not allowed
   */
  prepare(sql: string, refuse?: (sql: string) => string | undefined): Statement {
    const cached = this.#statements.get(sql);
    if (cached !== undefined && !cached.busy) {
      cached.isRecent = true;
      return cached;
    }
    const refusal = refuse?.(sql);
    if (refusal !== undefined) throw new ClusterError("invalid", "forbidden_sql", refusal, { sql });
    const { statement, rest } = this.#compileOne(sql, cached === undefined);
    if (statement === undefined) throw new ClusterError("invalid", "empty_sql", "there is no SQL in the text", { sql });
    if (!isBlank(rest)) {
      statement.finalize();
      throw new ClusterError("invalid", "several_statements", "one statement at a time: use exec for a script", {
        sql,
      });
    }
    if (cached !== undefined) return statement;
    this.#statements.set(sql, statement);
    if (this.#statements.size > CACHED_STATEMENTS_MAX) this.#evict(statement);
    return statement;
  }

  /** Takes a statement out of the cache: it lives as long as the connection, and users' SQL of the same text is another. */
  own(statement: Statement): Statement {
    this.#statements.delete(statement.sql);
    this.#owned.push(statement);
    return statement;
  }

  /** Runs every statement of a script; rows are dropped. */
  exec(script: string): void {
    const bytes = this.#encode(script);
    const start = this.#allocate(bytes.length + 1);
    try {
      this.#write(bytes, start);
      for (let at = 0; at < bytes.length; ) {
        const { statement, tail } = this.#compile(start + at, bytes.length - at, false, script);
        at += tail;
        statement?.run(undefined);
        if (tail === 0) return;
      }
    } finally {
      this.sqlite.exports.sqlite3_free(start);
    }
  }

  /** False while the library's own SQL is compiled or run, for which the rules of `authorize` do not hold. */
  set rulesApply(apply: boolean) {
    this.#rules.apply = apply;
  }

  /** Ends every iteration: who still asks for rows gets an error. */
  endIterations(): void {
    for (const statement of this.iterating) statement.endIteration();
  }

  /**
   * Asks `decide` about everything that a statement would do, whenever SQLite compiles one.
   *
   * @param decide gives the reason if it is refused
   */
  authorize(decide: (action: SqlAction) => string | undefined): void {
    const sqlite = this.sqlite;
    const rules = this.#rules;
    // The bundled API gives 0 for a null pointer.
    const textOf = (text: string | number | null) => (typeof text === "string" ? text : undefined);
    type Text = string | number | null;
    const callback = (_context: Pointer, action: number, first: Text, second: Text, database: Text): number => {
      if (!rules.apply || action === ACTION_SELECT || action === ACTION_READ || action === ACTION_FUNCTION) return 0;
      rules.refusal = decide({ action, first: textOf(first), second: textOf(second), database: textOf(database) });
      return rules.refusal === undefined ? 0 : SQLITE_DENY;
    };
    const code = sqlite.api.sqlite3_set_authorizer(this.pointer, callback, 0);
    if (code !== 0) throw this.error(code, undefined);
  }

  /** A counter or size of the connection: https://www.sqlite.org/c3ref/c_dbstatus_options.html */
  status(option: number): number {
    const { exports, out } = this.sqlite;
    exports.sqlite3_db_status(this.pointer, option, out, out + 4, 0);
    return this.sqlite.view.getInt32(out, true);
  }

  /** The rowid of the last row inserted on this connection. */
  get lastInsertRowid(): number | bigint {
    return lastInsertRowid(this.sqlite, this.pointer, this.#rowidOffset);
  }

  /** True unless a transaction is open. */
  get autocommit(): boolean {
    return this.sqlite.exports.sqlite3_get_autocommit(this.pointer) !== 0;
  }

  /** SQLite's error with its code, message and the SQL. */
  error(code: number, sql: string | undefined): ClusterError {
    const { sqlite } = this;
    const refusal = code === SQLITE_AUTH ? this.#rules.refusal : undefined;
    this.#rules.refusal = undefined;
    if (refusal !== undefined)
      return new ClusterError("invalid", "forbidden_sql", refusal, sql === undefined ? {} : { sql });
    const name = sqlite.codeName(code);
    const text = sqlite.cString(sqlite.exports.sqlite3_errmsg(this.pointer));
    const cause = this.#vfs.lastError;
    this.#vfs.lastError = undefined;
    return new ClusterError(
      kindOf(code & 0xff),
      name,
      `SQLite: ${text}`,
      { primary: sqlite.codeName(code & 0xff), extended: name, code, ...(sql === undefined ? {} : { sql }) },
      cause === undefined ? undefined : { cause },
    );
  }

  /** Frees every statement and the connection; safe twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const statement of this.#statements.values()) statement.finalize();
    for (const statement of this.#owned) statement.finalize();
    this.#statements.clear();
    this.sqlite.exports.sqlite3_close_v2(this.pointer);
  }

  /** A second chance for what was used since the last time; never `newest`, which is about to be used. */
  #evict(newest: Statement): void {
    for (const [sql, statement] of this.#statements) {
      if (statement.busy || statement === newest) continue;
      this.#statements.delete(sql);
      if (!statement.isRecent) {
        statement.finalize();
        return;
      }
      statement.isRecent = false;
      this.#statements.set(sql, statement); // At the end, where this loop comes to it again.
    }
  }

  #compileOne(sql: string, kept: boolean): { statement: Statement | undefined; rest: string } {
    const { sqlite } = this;
    const bytes = this.#encode(sql);
    const start = bytes.length < SCRATCH_BYTES ? sqlite.scratch : this.#allocate(bytes.length + 1);
    try {
      this.#write(bytes, start);
      const { statement, tail } = this.#compile(start, bytes.length, kept, sql);
      return { statement, rest: tail >= bytes.length ? "" : new TextDecoder().decode(bytes.subarray(tail)) };
    } finally {
      if (start !== sqlite.scratch) sqlite.exports.sqlite3_free(start);
    }
  }

  /** Compiles the first statement of the text at `start`, a C string; `tail` is where the rest begins. */
  #compile(
    start: Pointer,
    length: number,
    kept: boolean,
    sql: string,
  ): { statement: Statement | undefined; tail: number } {
    const { sqlite } = this;
    if (this.#closed) throw new ClusterError("closed", "connection_closed", "the connection was closed");
    const { out } = sqlite;
    const code = sqlite.exports.sqlite3_prepare_v3(
      this.pointer,
      start,
      length + 1,
      SQLITE_PREPARE_PERSISTENT,
      out,
      out + 4,
    );
    if (code !== 0) throw this.error(code, sql);
    const pointer = sqlite.view.getUint32(out, true);
    const tail = sqlite.view.getUint32(out + 4, true) - start;
    return { statement: pointer === 0 ? undefined : new Statement(this, sql, pointer, kept), tail };
  }

  /** UTF-8 without NUL, where SQLite would stop reading. */
  #encode(sql: string): Uint8Array {
    if (sql.includes("\0"))
      throw new ClusterError("invalid", "nul_in_sql", "SQL text must not hold a NUL character", { sql });
    return new TextEncoder().encode(sql);
  }

  #allocate(bytes: number): Pointer {
    const start = this.sqlite.exports.sqlite3_malloc(bytes);
    if (start === 0) throw new ClusterError("overloaded", "SQLITE_NOMEM", `no memory for ${bytes} bytes of SQL`);
    return start;
  }

  #write(bytes: Uint8Array, start: Pointer): void {
    this.sqlite.heap.set(bytes, start);
    this.sqlite.heap[start + bytes.length] = 0;
  }
}

/** True if only white space, comments and semicolons are left. */
function isBlank(sql: string): boolean {
  for (let at = 0; at < sql.length; ) {
    if (/[\s;]/.test(sql.charAt(at))) at++;
    else if (sql.startsWith("--", at)) at = endOf("\n", sql, at + 2);
    else if (sql.startsWith("/*", at)) at = endOf("*/", sql, at + 2);
    else return false;
  }
  return true;
}

function endOf(mark: string, text: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found + mark.length;
}

const SQLITE_NOMEM = 7;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

function kindOf(primaryCode: number): ErrorKind {
  switch (primaryCode) {
    case SQLITE_NOMEM:
    case SQLITE_FULL:
      return "overloaded";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "corrupt";
    default:
      return "invalid";
  }
}
