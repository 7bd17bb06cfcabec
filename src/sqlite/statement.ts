/** A prepared statement, kept for its next use. */
import { ClusterError } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { SqlParam, SqlParams, SqlValue, ValueCodec } from "./values.ts";
import type { Pointer, SqliteExports } from "./wasm.ts";

const SQLITE_ROW = 100;
const SQLITE_DONE = 101;
const STMTSTATUS_REPREPARE = 5;

/** A row as an object. Of columns with one name the last counts; arrays keep them all. */
export type Row = Record<string, SqlValue>;

type MakeRow = (values: readonly SqlValue[]) => Row;

export class Statement {
  readonly sql: string;
  readonly pointer: Pointer;
  /** True if it cannot change the database. */
  readonly readOnly: boolean;
  /** True for INSERT, UPDATE and DELETE: only these set SQLite's count of changes, others keep that of an earlier one. */
  readonly countsChanges: boolean;
  /** True if it was used since the cache last looked for one to drop. */
  isRecent = false;
  readonly #connection: Connection;
  readonly #exports: SqliteExports;
  readonly #codec: ValueCodec;
  readonly #parameterCount: number;
  #parameterNames: readonly string[] | undefined;
  #columnCount = 0;
  #columnNames: readonly string[] | undefined;
  #makeRow: MakeRow | undefined;
  #reprepared = -1;
  readonly #values: SqlValue[] = [];
  readonly #kept: boolean;
  #finalized = false;
  #iteration: Iteration | undefined;

  /**
   * Only {@link Connection} makes statements.
   *
   * @param kept false if it is freed after its first run
   */
  constructor(connection: Connection, sql: string, pointer: Pointer, kept: boolean) {
    this.#kept = kept;
    this.#connection = connection;
    this.sql = sql;
    this.pointer = pointer;
    const { exports } = connection.sqlite;
    this.#exports = exports;
    this.#codec = connection.codec;
    this.readOnly = exports.sqlite3_stmt_readonly(pointer) !== 0;
    this.countsChanges = !this.readOnly && COUNTS_CHANGES.test(sql);
    this.#parameterCount = exports.sqlite3_bind_parameter_count(pointer);
  }

  /** True while rows are read from it one by one. */
  get busy(): boolean {
    return this.#iteration !== undefined;
  }

  /** Names of the result's columns. */
  get columnNames(): readonly string[] {
    this.#checkColumns();
    if (this.#columnNames === undefined) {
      const { sqlite } = this.#connection;
      this.#columnNames = Array.from({ length: this.#columnCount }, (_, index) =>
        sqlite.cString(sqlite.exports.sqlite3_column_name(this.pointer, index)),
      );
    }
    return this.#columnNames;
  }

  /** Runs to the end; rows, if any, are dropped. */
  run(params: SqlParams | undefined): void {
    this.#bind(params, false);
    try {
      while (this.#step()) {
        // Rows of e.g. RETURNING are not asked for here.
      }
    } finally {
      this.#reset();
    }
  }

  /** All rows as objects. */
  all(params: SqlParams | undefined): Row[] {
    this.#bind(params, false);
    const rows: Row[] = [];
    try {
      if (!this.#step()) return rows;
      const makeRow = this.#prepareRows();
      const codec = this.#codec;
      do {
        codec.row(this.pointer, this.#columnCount, this.#values);
        rows.push(makeRow(this.#values));
      } while (this.#step());
      return rows;
    } finally {
      this.#reset();
    }
  }

  /** The first row as an object. */
  first(params: SqlParams | undefined): Row | undefined {
    this.#bind(params, false);
    try {
      if (!this.#step()) return undefined;
      const makeRow = this.#prepareRows();
      this.#codec.row(this.pointer, this.#columnCount, this.#values);
      return makeRow(this.#values);
    } finally {
      this.#reset();
    }
  }

  /** All rows as arrays. */
  allValues(params: SqlParams | undefined): SqlValue[][] {
    this.#bind(params, false);
    const rows: SqlValue[][] = [];
    try {
      while (this.#step()) {
        if (rows.length === 0) this.#checkColumns();
        const values: SqlValue[] = new Array(this.#columnCount);
        this.#codec.row(this.pointer, this.#columnCount, values);
        rows.push(values);
      }
      return rows;
    } finally {
      this.#reset();
    }
  }

  /**
   * Rows as objects, one by one; ends early when the consumer stops.
   *
   * @param prepare gives the statement when the first row is asked for: one that was prepared
   *   before could meanwhile be evicted, or be busy with another iteration
   */
  static *iterate(prepare: () => Statement, params: SqlParams | undefined): Generator<Row, void, undefined> {
    const statement = prepare();
    statement.#bind(params, true);
    const iteration: Iteration = { isEnded: false };
    statement.#iteration = iteration;
    statement.#connection.iterating.add(statement);
    try {
      while (statement.#step()) {
        const makeRow = statement.#prepareRows();
        statement.#codec.row(statement.pointer, statement.#columnCount, statement.#values);
        yield makeRow(statement.#values);
        if (iteration.isEnded) {
          throw new ClusterError(
            "closed",
            "iteration_ended",
            "the transaction or snapshot in which the rows were read has ended",
          );
        }
      }
    } finally {
      if (!iteration.isEnded) statement.endIteration();
    }
  }

  /** Ends the iteration under way, if there is one; who still asks it for rows gets an error. */
  endIteration(): void {
    if (this.#iteration === undefined) return;
    this.#iteration.isEnded = true;
    this.#iteration = undefined;
    this.#connection.iterating.delete(this);
    this.#reset();
  }

  /** Frees it; safe twice. Rows that are still asked for fail with `closed`. */
  finalize(): void {
    if (this.#finalized) return;
    this.#finalized = true;
    this.#exports.sqlite3_finalize(this.pointer);
  }

  #step(): boolean {
    if (this.#finalized) refuseFinalized();
    const code = this.#exports.sqlite3_step(this.pointer);
    if (code === SQLITE_ROW) return true;
    if (code === SQLITE_DONE) return false;
    throw this.#connection.error(code, this.sql);
  }

  #reset(): void {
    if (this.#finalized) return;
    if (!this.#kept) {
      this.finalize();
      return;
    }
    this.#exports.sqlite3_reset(this.pointer);
  }

  /** A schema change makes SQLite prepare the statement again, with other columns maybe. */
  #checkColumns(): void {
    const reprepared = this.#exports.sqlite3_stmt_status(this.pointer, STMTSTATUS_REPREPARE, 0);
    if (reprepared === this.#reprepared) return;
    this.#reprepared = reprepared;
    this.#columnCount = this.#exports.sqlite3_column_count(this.pointer);
    this.#columnNames = undefined;
    this.#makeRow = undefined;
    this.#values.length = this.#columnCount;
  }

  #prepareRows(): MakeRow {
    this.#checkColumns();
    this.#makeRow ??= rowMaker(this.columnNames);
    return this.#makeRow;
  }

  #bind(params: SqlParams | undefined, keep: boolean): void {
    if (this.busy)
      throw new ClusterError("invalid", "statement_busy", "the statement is being iterated", { sql: this.sql });
    if (this.#finalized) refuseFinalized();
    try {
      this.#bindAll(params, keep);
    } catch (error) {
      this.#reset();
      throw error;
    }
  }

  #bindAll(params: SqlParams | undefined, keep: boolean): void {
    const count = this.#parameterCount;
    if (params === undefined) {
      if (count !== 0) this.#refuseCount(0);
      return;
    }
    const codec = this.#codec;
    if (Array.isArray(params)) {
      if (params.length !== count) this.#refuseCount(params.length);
      codec.beginBind();
      for (let index = 1; index <= count; index++) {
        this.#check(codec.bind(this.pointer, index, params[index - 1] as SqlParam, keep, index));
      }
      return;
    }
    this.#bindNamed(params as Readonly<Record<string, SqlParam>>, keep);
  }

  #bindNamed(params: Readonly<Record<string, SqlParam>>, keep: boolean): void {
    if (typeof params !== "object" || params === null) {
      throw new ClusterError("invalid", "bad_parameter", "parameters are an array, or an object of names", {
        sql: this.sql,
      });
    }
    const names = this.#names();
    // All are read before the first is bound: a getter may run SQL of its own.
    const values = names.map((name) => {
      if (!Object.hasOwn(params, name)) {
        throw new ClusterError("invalid", "bad_parameter", `parameter ${name} is missing`, {
          parameter: name,
          sql: this.sql,
        });
      }
      return params[name] as SqlParam;
    });
    const codec = this.#codec;
    codec.beginBind();
    for (const [index, name] of names.entries()) {
      this.#check(codec.bind(this.pointer, index + 1, values[index] as SqlParam, keep, name));
    }
    for (const name of Object.keys(params)) {
      if (!names.includes(name)) {
        throw new ClusterError("invalid", "bad_parameter", `the statement has no parameter ${name}`, {
          parameter: name,
          sql: this.sql,
        });
      }
    }
  }

  #names(): readonly string[] {
    this.#parameterNames ??= Array.from({ length: this.#parameterCount }, (_, index) => {
      const { sqlite } = this.#connection;
      const name = sqlite.cString(sqlite.exports.sqlite3_bind_parameter_name(this.pointer, index + 1));
      return name === "" ? String(index + 1) : name.slice(1);
    });
    return this.#parameterNames;
  }

  #check(code: number): void {
    if (code !== 0) throw this.#connection.error(code, this.sql);
  }

  #refuseCount(found: number): never {
    throw new ClusterError(
      "invalid",
      "bad_parameter",
      `the statement takes ${this.#parameterCount} parameters, ${found} were given`,
      { expected: this.#parameterCount, found, sql: this.sql },
    );
  }
}

/** One reading of rows one by one. */
interface Iteration {
  isEnded: boolean;
}

function refuseFinalized(): never {
  throw new ClusterError("closed", "connection_closed", "the connection was closed while rows were read");
}

const COUNTS_CHANGES = /^(?:\s|--[^\n]*|\/\*[\s\S]*?\*\/)*(?:INSERT|UPDATE|DELETE|REPLACE|WITH)\b/i;

/** A function that makes row objects of one shape. */
function rowMaker(names: readonly string[]): MakeRow {
  // An assignment to this one name would change the row's prototype.
  if (names.includes("__proto__"))
    return (values) => Object.fromEntries(names.map((name, index) => [name, values[index] as SqlValue]));
  return (values) => {
    const row: Row = {};
    for (let index = 0; index < names.length; index++) row[names[index] as string] = values[index] as SqlValue;
    return row;
  };
}
