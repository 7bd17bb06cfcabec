/**
 * One instance of SQLite's WASM build with a memory of its own, and typed
 * access to the few of its exports that we call. The exports are called
 * directly: the bundled object API costs a factor of three (see bench/).
 */
import { Buffer } from "node:buffer";
import initSqlite from "@sqlite.org/sqlite-wasm";

/** A pointer into the WASM memory; 0 is null. */
export type Pointer = number;

/** The raw exports that we use. Strings are pointers, 64-bit integers are bigint. */
export interface SqliteExports {
  sqlite3_malloc(bytes: number): Pointer;
  sqlite3_free(pointer: Pointer): void;
  sqlite3_open_v2(path: Pointer, out: Pointer, flags: number, vfs: Pointer): number;
  sqlite3_close_v2(db: Pointer): number;
  sqlite3_extended_result_codes(db: Pointer, on: number): number;
  sqlite3_errmsg(db: Pointer): Pointer;
  sqlite3_extended_errcode(db: Pointer): number;
  sqlite3_error_offset(db: Pointer): number;
  sqlite3_get_autocommit(db: Pointer): number;
  sqlite3_changes(db: Pointer): number;
  sqlite3_total_changes(db: Pointer): number;
  sqlite3_last_insert_rowid(db: Pointer): bigint;
  sqlite3_set_last_insert_rowid(db: Pointer, rowid: bigint): void;
  sqlite3_db_status(db: Pointer, op: number, current: Pointer, high: Pointer, reset: number): number;
  sqlite3_prepare_v3(db: Pointer, sql: Pointer, bytes: number, flags: number, out: Pointer, tail: Pointer): number;
  sqlite3_finalize(statement: Pointer): number;
  sqlite3_step(statement: Pointer): number;
  sqlite3_reset(statement: Pointer): number;
  sqlite3_clear_bindings(statement: Pointer): number;
  sqlite3_stmt_readonly(statement: Pointer): number;
  sqlite3_stmt_status(statement: Pointer, op: number, reset: number): number;
  sqlite3_bind_parameter_count(statement: Pointer): number;
  sqlite3_bind_parameter_name(statement: Pointer, index: number): Pointer;
  sqlite3_bind_null(statement: Pointer, index: number): number;
  sqlite3_bind_int(statement: Pointer, index: number, value: number): number;
  sqlite3_bind_int64(statement: Pointer, index: number, value: bigint): number;
  sqlite3_bind_double(statement: Pointer, index: number, value: number): number;
  sqlite3_bind_text(statement: Pointer, index: number, text: Pointer, bytes: number, destructor: number): number;
  sqlite3_bind_blob(statement: Pointer, index: number, blob: Pointer, bytes: number, destructor: number): number;
  sqlite3_column_count(statement: Pointer): number;
  sqlite3_column_name(statement: Pointer, index: number): Pointer;
  sqlite3_column_type(statement: Pointer, index: number): number;
  sqlite3_column_double(statement: Pointer, index: number): number;
  sqlite3_column_int64(statement: Pointer, index: number): bigint;
  sqlite3_column_text(statement: Pointer, index: number): Pointer;
  sqlite3_column_blob(statement: Pointer, index: number): Pointer;
  sqlite3_column_bytes(statement: Pointer, index: number): number;
  sqlite3_column_value(statement: Pointer, index: number): Pointer;
}

/** A C struct of the bundled JavaScript API; members are `$name` properties. */
export interface CStruct {
  readonly pointer: Pointer;
  dispose(): void;
  [member: `$${string}`]: unknown;
}

/** The members of the bundled `capi` that we use. */
export interface SqliteApi {
  readonly sqlite3_vfs: (new () => CStruct) & { structInfo: { sizeof: number } };
  readonly sqlite3_io_methods: new () => CStruct;
  readonly sqlite3_file: (new (pointer: Pointer) => CStruct) & { structInfo: { sizeof: number } };
  sqlite3_js_rc_str(code: number): string | undefined;
  sqlite3_set_authorizer(
    db: Pointer,
    callback: (
      context: Pointer,
      action: number,
      first: string | number | null,
      second: string | number | null,
      database: string | number | null,
    ) => number,
    context: Pointer,
  ): number;
  sqlite3_db_config(db: Pointer, option: number, ...values: number[]): number;
}

interface SqliteModule {
  readonly capi: SqliteApi;
  readonly wasm: {
    readonly exports: SqliteExports;
    heap8u(): Uint8Array;
    heapForSize(type: Float64ArrayConstructor): Float64Array;
    allocCString(text: string): Pointer;
    cstrToJs(pointer: Pointer): string;
    installFunction(signature: string, callback: (...args: never[]) => unknown): Pointer;
  };
  readonly vfs: {
    installVfs(parts: {
      io: { struct: CStruct; methods: Record<string, unknown> };
      vfs: { struct: CStruct; methods: Record<string, unknown>; name: string; asDefault: boolean };
    }): void;
  };
}

/** Text up to this size is written into a kept buffer; longer text gets memory of its own. */
export const SCRATCH_BYTES = 65536;

/** A WASM instance. Dropping every reference to it frees its memory. */
export class Sqlite {
  readonly api: SqliteApi;
  readonly exports: SqliteExports;
  readonly module: SqliteModule;
  /** A kept buffer of {@link SCRATCH_BYTES} for texts and blobs that SQLite reads at once. */
  readonly scratch: Pointer;
  /** 16 bytes for out-parameters. */
  readonly out: Pointer;
  #heap: Uint8Array;
  #buffer: Buffer;
  #view: DataView;

  private constructor(module: SqliteModule) {
    this.module = module;
    this.api = module.capi;
    this.exports = module.wasm.exports;
    this.scratch = this.exports.sqlite3_malloc(SCRATCH_BYTES);
    this.out = this.exports.sqlite3_malloc(16);
    if (this.scratch === 0 || this.out === 0) throw new Error("SQLite: out of memory at start");
    this.#heap = module.wasm.heap8u();
    this.#buffer = Buffer.from(this.#heap.buffer as ArrayBuffer);
    this.#view = new DataView(this.#heap.buffer);
  }

  /** Makes an instance: about 16 ms, 8 MiB. */
  static async create(): Promise<Sqlite> {
    const init = initSqlite as unknown as (options: Record<string, unknown>) => Promise<SqliteModule>;
    return new Sqlite(await init({ print: () => {}, printErr: () => {} }));
  }

  /** The WASM memory. It moves when it grows: never keep it across a call into SQLite. */
  get heap(): Uint8Array {
    if (this.#heap.length === 0) this.#renew();
    return this.#heap;
  }

  /** The WASM memory for text. Never keep it across a call into SQLite. */
  get buffer(): Buffer {
    if (this.#heap.length === 0) this.#renew();
    return this.#buffer;
  }

  /** The WASM memory for numbers, little-endian. Never keep it across a call into SQLite. */
  get view(): DataView {
    if (this.#heap.length === 0) this.#renew();
    return this.#view;
  }

  /** Text of a C string; empty for null. */
  cString(pointer: Pointer): string {
    return pointer === 0 ? "" : this.module.wasm.cstrToJs(pointer);
  }

  /** SQLite's name of a result code, e.g. `SQLITE_CONSTRAINT_UNIQUE`. */
  codeName(code: number): string {
    return this.api.sqlite3_js_rc_str(code) ?? this.api.sqlite3_js_rc_str(code & 0xff) ?? `SQLITE_${code}`;
  }

  /** A copy of the memory as it is, up to its last byte that is not zero. */
  save(): Uint8Array {
    const { heap } = this;
    let end = heap.length;
    while (end > 0 && heap[end - 1] === 0) end--;
    return heap.slice(0, end);
  }

  /**
   * Sets the memory back to what `save` gave. Everything that was opened since is gone without having been closed, and
   * must not be used.
   */
  restore(memory: Uint8Array): void {
    this.heap.set(memory);
  }

  #renew(): void {
    this.#heap = this.module.wasm.heap8u();
    this.#buffer = Buffer.from(this.#heap.buffer as ArrayBuffer);
    this.#view = new DataView(this.#heap.buffer);
  }
}
