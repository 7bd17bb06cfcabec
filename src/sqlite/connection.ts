/** One SQLite connection with its cache of prepared statements. */
import { ClusterError, type ErrorKind } from "../errors.ts";
import { Statement } from "./statement.ts";
import type { ValueCodec } from "./values.ts";
import { VFS_NAME, type Vfs } from "./vfs.ts";
import { type Pointer, SCRATCH_BYTES, type Sqlite } from "./wasm.ts";

/** Prepared statements that a connection keeps; the one used longest ago goes first. */
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
}

/** What a statement would do: https://www.sqlite.org/c3ref/c_alter_table.html */
export interface SqlAction {
  readonly action: number;
  readonly first: string | undefined;
  readonly second: string | undefined;
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
  readonly #vfs: Vfs;
  readonly #statements = new Map<string, Statement>();
  readonly #owned: Statement[] = [];
  /** False while the library's own SQL is compiled or run, for which the rules of `authorize` do not hold. */
  rulesApply = false;
  #closed = false;
  #refusal: string | undefined;

  constructor(context: SqliteContext, path: string, mode: "read" | "write") {
    this.sqlite = context.sqlite;
    this.codec = context.codec;
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
    if (cached !== undefined && !cached.busy) return cached;
    const refusal = refuse?.(sql);
    if (refusal !== undefined) throw new ClusterError("invalid", "forbidden_sql", refusal, { sql });
    const { statement, rest } = this.#compile(sql, cached === undefined);
    if (statement === undefined) throw new ClusterError("invalid", "empty_sql", "there is no SQL in the text", { sql });
    if (!isBlank(rest)) {
      statement.finalize();
      throw new ClusterError("invalid", "several_statements", "one statement at a time: use exec for a script", {
        sql,
      });
    }
    if (cached !== undefined) return statement;
    this.#statements.set(sql, statement);
    if (this.#statements.size > CACHED_STATEMENTS_MAX) this.#evict();
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
    let rest = script;
    while (!isBlank(rest)) {
      const compiled = this.#compile(rest, false);
      rest = compiled.rest;
      compiled.statement?.run(undefined);
    }
  }

  /**
   * Asks `decide` about everything that a statement would do, whenever SQLite compiles one.
   *
   * @param decide gives the reason if it is refused
   */
  authorize(decide: (action: SqlAction) => string | undefined): void {
    const { sqlite } = this;
    const callback = (_context: Pointer, action: number, first: string | null, second: string | null): number => {
      if (!this.rulesApply || action === ACTION_SELECT || action === ACTION_READ || action === ACTION_FUNCTION)
        return 0;
      this.#refusal = decide({ action, first: first ?? undefined, second: second ?? undefined });
      return this.#refusal === undefined ? 0 : SQLITE_DENY;
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

  /** True unless a transaction is open. */
  get autocommit(): boolean {
    return this.sqlite.exports.sqlite3_get_autocommit(this.pointer) !== 0;
  }

  /** SQLite's error with its code, message and the SQL. */
  error(code: number, sql: string | undefined): ClusterError {
    const { sqlite } = this;
    const refusal = code === SQLITE_AUTH ? this.#refusal : undefined;
    this.#refusal = undefined;
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
    this.sqlite.exports.sqlite3_close_v2(this.pointer);
  }

  #evict(): void {
    for (const [sql, statement] of this.#statements) {
      if (statement.busy) continue;
      this.#statements.delete(sql);
      statement.finalize();
      return;
    }
  }

  #compile(sql: string, kept: boolean): { statement: Statement | undefined; rest: string } {
    const { sqlite } = this;
    const bytes = new TextEncoder().encode(sql);
    const start = bytes.length < SCRATCH_BYTES ? sqlite.scratch : sqlite.exports.sqlite3_malloc(bytes.length + 1);
    if (start === 0) throw new ClusterError("overloaded", "SQLITE_NOMEM", `no memory for ${bytes.length} bytes of SQL`);
    try {
      sqlite.heap.set(bytes, start);
      sqlite.heap[start + bytes.length] = 0;
      const { out } = sqlite;
      const code = sqlite.exports.sqlite3_prepare_v3(
        this.pointer,
        start,
        bytes.length + 1,
        SQLITE_PREPARE_PERSISTENT,
        out,
        out + 4,
      );
      if (code !== 0) throw this.error(code, sql);
      const pointer = sqlite.view.getUint32(out, true);
      const tail = sqlite.view.getUint32(out + 4, true) - start;
      const rest = tail >= bytes.length ? "" : new TextDecoder().decode(bytes.subarray(tail));
      return { statement: pointer === 0 ? undefined : new Statement(this, sql, pointer, kept), rest };
    } finally {
      if (start !== sqlite.scratch) sqlite.exports.sqlite3_free(start);
    }
  }
}

/** True if only white space, comments and semicolons are left. */
function isBlank(sql: string): boolean {
  return /^(?:[\s;]|--[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/|$))*$/.test(sql);
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
