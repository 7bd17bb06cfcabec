/** A database that stands still while it is read row by row, with what SQL alone does not tell of a value. */
import { equalBytes } from "../base/bytes.ts";
import { Connection, type SqliteContext } from "./connection.ts";
import { ReaderFile } from "./files.ts";
import type { DurableImage, ImagePin } from "./image.ts";
import type { Statement } from "./statement.ts";
import type { SqlValue } from "./values.ts";

const SQLITE_NOMEM = 7;
const SQLITE_ROW = 100;
const SQLITE_DONE = 101;
const SQLITE_TRANSIENT = -1;
/** What a decoder makes of bytes that are not UTF-8: then two texts may look the same and not be. */
const REPLACEMENT = "\ufffd";

let databases = 0;

/** One version of an image, whatever is applied to it meanwhile. */
export class StillDatabase {
  readonly #context: SqliteContext;
  readonly #connection: Connection;
  readonly #pin: ImagePin;
  readonly #path: string;
  #closed = false;

  constructor(context: SqliteContext, image: DurableImage) {
    databases++;
    this.#context = context;
    this.#path = `/still-${databases}`;
    const pin = image.pin();
    this.#pin = pin;
    const pinned = { source: pin, version: pin.version, release: () => {} };
    context.vfs.set(this.#path, { exists: () => true, open: () => new ReaderFile(() => pinned) });
    this.#connection = new Connection(context, this.#path, "read");
  }

  /** All rows, as arrays. */
  values(sql: string, params?: readonly SqlValue[]): SqlValue[][] {
    return this.#connection.prepare(sql).allValues(params);
  }

  /** Rows one by one. Only one scan of one text at a time. */
  scan(sql: string): Scan {
    return new Scan(this.#connection, this.#connection.prepare(sql));
  }

  /** A statement that gives one number for the values of two rows. */
  comparison(sql: string): Comparison {
    return new Comparison(this.#connection, this.#connection.prepare(sql));
  }

  /** Safe twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.close();
    this.#context.vfs.delete(this.#path);
    this.#pin.release();
  }
}

/** The rows of a statement, one at a time. */
export class Scan {
  /** The present row's values; overwritten by the next. */
  readonly values: SqlValue[] = [];
  /** Their types, as SQLite numbers them: a number alone does not tell 1 from 1.0. */
  readonly types: number[] = [];
  readonly #connection: Connection;
  readonly #statement: Statement;
  readonly #columnCount: number;

  /** Only {@link StillDatabase.scan} makes scans. */
  constructor(connection: Connection, statement: Statement) {
    this.#connection = connection;
    this.#statement = statement;
    this.#columnCount = connection.sqlite.exports.sqlite3_column_count(statement.pointer);
  }

  /** Goes to the next row; false after the last. */
  next(): boolean {
    const { pointer, sql } = this.#statement;
    const { sqlite, codec } = this.#connection;
    const code = sqlite.exports.sqlite3_step(pointer);
    if (code !== SQLITE_ROW) {
      this.end();
      if (code === SQLITE_DONE) return false;
      throw this.#connection.error(code, sql);
    }
    for (let index = 0; index < this.#columnCount; index++)
      this.types[index] = sqlite.exports.sqlite3_column_type(pointer, index);
    codec.row(pointer, this.#columnCount, this.values);
    return true;
  }

  /** True if column `index` holds exactly what column `otherIndex` of the other's row holds, its type included. */
  hasSame(index: number, other: Scan, otherIndex: number): boolean {
    if (this.types[index] !== other.types[otherIndex]) return false;
    const value = this.values[index] as SqlValue;
    const otherValue = other.values[otherIndex] as SqlValue;
    if (value instanceof Uint8Array) return equalBytes(value, otherValue as Uint8Array);
    if (!Object.is(value, otherValue)) return false;
    if (typeof value !== "string" || !value.includes(REPLACEMENT)) return true;
    return equalBytes(this.textBytes(index), other.textBytes(otherIndex));
  }

  /** The bytes of a text of the present row. */
  textBytes(index: number): Uint8Array {
    const { sqlite } = this.#connection;
    const start = sqlite.exports.sqlite3_column_blob(this.#statement.pointer, index);
    const length = sqlite.exports.sqlite3_column_bytes(this.#statement.pointer, index);
    return sqlite.heap.slice(start, start + length);
  }

  /** Lets go of the rows that were not read. */
  end(): void {
    this.#connection.sqlite.exports.sqlite3_reset(this.#statement.pointer);
  }
}

/** Asks SQLite itself how it orders values. */
export class Comparison {
  readonly #connection: Connection;
  readonly #statement: Statement;

  /** Only {@link StillDatabase.comparison} makes comparisons. */
  constructor(connection: Connection, statement: Statement) {
    this.#connection = connection;
    this.#statement = statement;
  }

  /** The number that the statement gives for these columns of two rows. */
  of(a: Scan, aIndexes: readonly number[], b: Scan, bIndexes: readonly number[]): number {
    const { sqlite, codec } = this.#connection;
    const { pointer, sql } = this.#statement;
    codec.beginBind();
    let parameter = 0;
    for (const index of aIndexes) this.#bind(++parameter, a, index);
    for (const index of bIndexes) this.#bind(++parameter, b, index);
    try {
      const code = sqlite.exports.sqlite3_step(pointer);
      if (code !== SQLITE_ROW) throw this.#connection.error(code, sql);
      return sqlite.exports.sqlite3_column_double(pointer, 0);
    } finally {
      sqlite.exports.sqlite3_reset(pointer);
    }
  }

  #bind(parameter: number, scan: Scan, index: number): void {
    const { codec } = this.#connection;
    const value = scan.values[index] as SqlValue;
    const { pointer, sql } = this.#statement;
    const code =
      typeof value === "string" && value.includes(REPLACEMENT)
        ? this.#bindTextBytes(parameter, scan.textBytes(index))
        : codec.bind(pointer, parameter, value, true, parameter);
    if (code !== 0) throw this.#connection.error(code, sql);
  }

  #bindTextBytes(parameter: number, bytes: Uint8Array): number {
    const { sqlite } = this.#connection;
    const { exports } = sqlite;
    const start = exports.sqlite3_malloc(Math.max(1, bytes.length));
    if (start === 0) return SQLITE_NOMEM;
    sqlite.heap.set(bytes, start);
    const code = exports.sqlite3_bind_text(this.#statement.pointer, parameter, start, bytes.length, SQLITE_TRANSIENT);
    exports.sqlite3_free(start);
    return code;
  }
}
