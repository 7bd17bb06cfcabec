/**
 * JavaScript values ⇄ SQLite's values.
 *
 * | SQLite | to JavaScript | from JavaScript |
 * |---|---|---|
 * | NULL | `null` | `null` |
 * | INTEGER | `number`, or `bigint` beyond ±(2^53 - 1) | safe integer `number`, `bigint`, `boolean` as 0 or 1 |
 * | REAL | `number` | any other `number` but NaN |
 * | TEXT | `string` | `string` |
 * | BLOB | `Uint8Array`, a copy | `Uint8Array` |
 */
import { ClusterError } from "../errors.ts";
import { type Pointer, SCRATCH_BYTES, type Sqlite, type SqliteExports } from "./wasm.ts";

/** What SQLite gives. */
export type SqlValue = null | number | bigint | string | Uint8Array;
/** What SQLite takes. */
export type SqlParam = SqlValue | boolean;
/** Values of `?` by position, or of `:name`, `@name` and `$name` by name without the sign. */
export type SqlParams = readonly SqlParam[] | Readonly<Record<string, SqlParam>>;

const SQLITE_INTEGER = 1;
const SQLITE_FLOAT = 2;
const SQLITE_TEXT = 3;
const SQLITE_BLOB = 4;
const SQLITE_STATIC = 0;
const SQLITE_TRANSIENT = -1;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
/** Up to this length a text is written byte by byte; faster than a call. */
const SHORT_TEXT_LENGTH = 48;
/** UTF-8 never needs more for one UTF-16 unit. */
const UTF8_BYTES_PER_UNIT_MAX = 3;

/** Reads column values and binds parameters for the statements of one instance. */
export class ValueCodec {
  readonly #sqlite: Sqlite;
  readonly #exports: SqliteExports;
  readonly #layout: ValueLayout | undefined;
  #scratchUsed = 0;
  /** Bytes of texts and blobs bound so far. */
  boundBytes = 0;

  constructor(sqlite: Sqlite, layout: ValueLayout | undefined) {
    this.#sqlite = sqlite;
    this.#exports = sqlite.exports;
    this.#layout = layout;
  }

  /** Starts the parameters of one execution: what was written before may be overwritten. */
  beginBind(): void {
    this.#scratchUsed = 0;
  }

  /**
   * Binds one parameter.
   *
   * @param keep true if SQLite must copy it, because other statements run before this one has ended
   * @param name of the parameter, for errors
   */
  bind(statement: Pointer, index: number, value: SqlParam, keep: boolean, name: string | number): number {
    const exports = this.#exports;
    switch (typeof value) {
      case "string":
        return this.#bindText(statement, index, value, keep);
      case "number":
        if (Number.isInteger(value) && !Object.is(value, -0)) {
          if (value === (value | 0)) return exports.sqlite3_bind_int(statement, index, value);
          if (Number.isSafeInteger(value)) return exports.sqlite3_bind_int64(statement, index, BigInt(value));
        }
        if (Number.isNaN(value)) refuseParam(name, "NaN", "SQLite would store NULL; pass null if that is meant");
        return exports.sqlite3_bind_double(statement, index, value);
      case "boolean":
        return exports.sqlite3_bind_int(statement, index, value ? 1 : 0);
      case "bigint":
        if (value < INT64_MIN || value > INT64_MAX) refuseParam(name, "a bigint beyond 64 bits", "store it as text");
        return exports.sqlite3_bind_int64(statement, index, value);
      default:
        if (value === null) return exports.sqlite3_bind_null(statement, index);
        if (value instanceof Uint8Array) return this.#bindBlob(statement, index, value, keep);
        return refuseParam(name, describe(value), "pass null, number, bigint, string, boolean or Uint8Array");
    }
  }

  /** The value of a column of the current row. */
  column(statement: Pointer, index: number): SqlValue {
    const exports = this.#exports;
    switch (exports.sqlite3_column_type(statement, index)) {
      case SQLITE_INTEGER: {
        const approximate = exports.sqlite3_column_double(statement, index);
        return Number.isSafeInteger(approximate) ? approximate : exports.sqlite3_column_int64(statement, index);
      }
      case SQLITE_FLOAT:
        return exports.sqlite3_column_double(statement, index);
      case SQLITE_TEXT: {
        const start = exports.sqlite3_column_text(statement, index);
        return this.#text(start, exports.sqlite3_column_bytes(statement, index));
      }
      case SQLITE_BLOB: {
        const start = exports.sqlite3_column_blob(statement, index);
        return this.#sqlite.heap.slice(start, start + exports.sqlite3_column_bytes(statement, index));
      }
      default:
        return null;
    }
  }

  /** Appends the values of the current row to `out`. */
  row(statement: Pointer, columnCount: number, out: SqlValue[]): void {
    const layout = this.#layout;
    if (layout === undefined || columnCount === 0) {
      for (let index = 0; index < columnCount; index++) out[index] = this.column(statement, index);
      return;
    }
    const first = this.#exports.sqlite3_column_value(statement, 0);
    let { view } = this.#sqlite;
    for (let index = 0; index < columnCount; index++) {
      const value = first + index * layout.stride;
      const flags = view.getUint16(value + layout.flags, true);
      if ((flags & MEM_NULL) !== 0) out[index] = null;
      else if ((flags & MEM_INT) !== 0) out[index] = readInteger(view, value);
      else if ((flags & MEM_REAL) !== 0) out[index] = view.getFloat64(value, true);
      else if ((flags & (MEM_STR | MEM_ZERO | MEM_INT_REAL)) === MEM_STR) {
        out[index] = this.#text(view.getUint32(value + layout.start, true), view.getInt32(value + layout.length, true));
      } else {
        out[index] = this.column(statement, index);
        view = this.#sqlite.view; // A zeroblob is filled in only now: the memory may have moved.
      }
    }
  }

  #text(start: Pointer, length: number): string {
    return length === 0 ? "" : this.#sqlite.buffer.toString("utf8", start, start + length);
  }

  #bindText(statement: Pointer, index: number, text: string, keep: boolean): number {
    const exports = this.#exports;
    const { scratch } = this.#sqlite;
    const length = text.length;
    const room = length * UTF8_BYTES_PER_UNIT_MAX;
    if (this.#scratchUsed + room > SCRATCH_BYTES) return this.#bindLongText(statement, index, text, room);
    const start = scratch + this.#scratchUsed;
    let bytes = length <= SHORT_TEXT_LENGTH ? this.#writeAscii(text, start) : -1;
    if (bytes < 0) bytes = this.#sqlite.buffer.write(text, start, room, "utf8");
    this.#scratchUsed += bytes;
    this.boundBytes += bytes;
    return exports.sqlite3_bind_text(statement, index, start, bytes, keep ? SQLITE_TRANSIENT : SQLITE_STATIC);
  }

  /** Gives the length, or -1 if the text is not ASCII. */
  #writeAscii(text: string, start: Pointer): number {
    const { heap } = this.#sqlite;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) return -1;
      heap[start + i] = code;
    }
    return text.length;
  }

  #bindLongText(statement: Pointer, index: number, text: string, room: number): number {
    const exports = this.#exports;
    const start = this.#allocate(room);
    const bytes = this.#sqlite.buffer.write(text, start, room, "utf8");
    this.boundBytes += bytes;
    const code = exports.sqlite3_bind_text(statement, index, start, bytes, SQLITE_TRANSIENT);
    exports.sqlite3_free(start);
    return code;
  }

  #bindBlob(statement: Pointer, index: number, blob: Uint8Array, keep: boolean): number {
    const exports = this.#exports;
    const { scratch } = this.#sqlite;
    this.boundBytes += blob.length;
    if (this.#scratchUsed + blob.length <= SCRATCH_BYTES) {
      const start = scratch + this.#scratchUsed;
      this.#sqlite.heap.set(blob, start);
      this.#scratchUsed += blob.length;
      return exports.sqlite3_bind_blob(statement, index, start, blob.length, keep ? SQLITE_TRANSIENT : SQLITE_STATIC);
    }
    const start = this.#allocate(blob.length);
    this.#sqlite.heap.set(blob, start);
    const code = exports.sqlite3_bind_blob(statement, index, start, blob.length, SQLITE_TRANSIENT);
    exports.sqlite3_free(start);
    return code;
  }

  #allocate(bytes: number): Pointer {
    const start = this.#exports.sqlite3_malloc(bytes);
    if (start === 0) {
      throw new ClusterError("overloaded", "SQLITE_NOMEM", `no memory for a parameter of ${bytes} bytes`, { bytes });
    }
    return start;
  }
}

/** A 64-bit integer in memory: a number if no digit is lost. */
export function readInteger(view: DataView, at: number): number | bigint {
  const value = view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
  return Number.isSafeInteger(value) ? value : view.getBigInt64(at, true);
}

function refuseParam(name: string | number, found: string, advice: string): never {
  throw new ClusterError("invalid", "bad_parameter", `parameter ${name} is ${found}: ${advice}`, {
    parameter: name,
    found,
  });
}

function describe(value: unknown): string {
  if (typeof value !== "object") return typeof value;
  return value?.constructor?.name ?? "an object";
}

const MEM_NULL = 0x0001;
const MEM_STR = 0x0002;
const MEM_INT = 0x0004;
const MEM_REAL = 0x0008;
const MEM_BLOB = 0x0010;
const MEM_INT_REAL = 0x0020;
const MEM_ZERO = 0x0400;

/**
 * Where SQLite keeps the parts of an `sqlite3_value` (`struct sqlite3_value` in
 * its vdbeInt.h), in bytes from its start; the number itself is at 0. Reading
 * them spares two or three calls a column, which is most of what a scan costs.
 */
export interface ValueLayout {
  /** From one column's value to the next. */
  readonly stride: number;
  readonly start: number;
  readonly length: number;
  readonly flags: number;
}

const EXPECTED: Omit<ValueLayout, "stride"> = { start: 8, length: 12, flags: 16 };

/** A statement whose one row tells whether the layout is as expected. */
export const LAYOUT_PROBE = "SELECT 1.5, 'abc', x'0102', NULL, 4611686018427387905, '', zeroblob(3), -7";

/** The layout of this build, proven on a row of {@link LAYOUT_PROBE}; `undefined` if it is another one. */
export function probeLayout(sqlite: Sqlite, statement: Pointer): ValueLayout | undefined {
  const at = Array.from({ length: 8 }, (_, index) => sqlite.exports.sqlite3_column_value(statement, index));
  const { view } = sqlite;
  const [real = 0, text = 0, blob = 0, none = 0, integer = 0, empty = 0, zeros = 0, negative = 0] = at;
  const stride = text - real;
  const flags = (value: Pointer) => view.getUint16(value + EXPECTED.flags, true) & 0x3f;
  const length = (value: Pointer) => view.getInt32(value + EXPECTED.length, true);
  const textStart = view.getUint32(text + EXPECTED.start, true);
  const fits =
    at.every((value, index) => value === real + index * stride) &&
    flags(real) === MEM_REAL &&
    view.getFloat64(real, true) === 1.5 &&
    flags(text) === MEM_STR &&
    length(text) === 3 &&
    sqlite.buffer.toString("utf8", textStart, textStart + 3) === "abc" &&
    flags(blob) === MEM_BLOB &&
    length(blob) === 2 &&
    flags(none) === MEM_NULL &&
    flags(integer) === MEM_INT &&
    view.getBigInt64(integer, true) === 4611686018427387905n &&
    flags(empty) === MEM_STR &&
    length(empty) === 0 &&
    flags(zeros) === MEM_BLOB &&
    flags(negative) === MEM_INT &&
    view.getBigInt64(negative, true) === -7n;
  return fits ? { stride, ...EXPECTED } : undefined;
}
