/**
 * The leader's writing connection.
 *
 * ```
 *  transact(fn) … transact(fn) ─► seal(rows) ─► WAL bytes ─► (durable) settle()
 *  └─ savepoints in one open transaction ─┘     │
 *                                               └► read from as a layer above the
 *                                                  image until it is part of it
 * ```
 *
 * At most one epoch is sealed and not yet settled; the next transactions go on
 * above it. What is not durable lives only here: closing the writer drops it.
 */
import { ClusterError, errorMessage } from "../errors.ts";
import { CREATE_SYSTEM_TABLE, SYSTEM_TABLE } from "../format/system-rows.ts";
import { parseWal, type Wal } from "../format/wal.ts";
import { Connection, type SqliteContext } from "./connection.ts";
import { MemoryFile, WriterFile } from "./files.ts";
import { type DurableImage, type PageSource, WalLayer } from "./image.ts";
import { isThenable, type Reads } from "./reader.ts";
import { SAVEPOINT_PREFIX, whyNotInTransaction, whyNotText } from "./rules.ts";
import { type Row, Statement } from "./statement.ts";
import type { SqlParams, SqlValue } from "./values.ts";

const DBSTATUS_CACHE_USED = 1;
const DBSTATUS_DEFERRED_FKS = 10;
const SQLITE_DBCONFIG_ENABLE_FKEY = 1002;
const SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE = 1006;
/** Pages that SQLite may keep though they are clean; what is above are pages that wait for the seal. */
const CLEAN_CACHE_BYTES = 16 * 1024 * 1024;

/** What one statement did. */
export interface RunResult {
  /** Rows inserted, updated or deleted by it, not counting triggers. */
  readonly changes: number;
  /** The rowid of the last row inserted on this connection. */
  readonly lastInsertRowid: number | bigint;
}

/** Inside a transaction: reads see its own writes. Dead once the function has returned. */
export interface Transaction extends Reads {
  /** Runs one statement. */
  run(sql: string, params?: SqlParams): RunResult;
  /** Runs a script of statements without parameters. */
  exec(script: string): void;
}

/** Rows of the system table to write into an epoch; `null` removes a row. */
export type SystemRowChanges = Readonly<Record<string, string | number | null>>;

/** A whole system table: every row by its key. */
export type SystemTable = ReadonlyMap<string, SqlValue>;

/** Where the leader's writer is in the VFS; at most one is open there. */
const WRITER_PATH = "/writer";

/** Thrown when SQLite rolled back the whole batch; nothing of it was written. */
export class BatchLostError extends Error {
  override readonly name = "BatchLostError";
}

export class Writer {
  readonly #connection: Connection;
  readonly #file: WriterFile;
  readonly #walFile: MemoryFile;
  readonly #image: DurableImage;
  readonly #removeFiles: () => void;
  #begin!: Statement;
  #commit!: Statement;
  #savepoint!: Statement;
  #release!: Statement;
  #rollbackTo!: Statement;
  #checkpoint!: Statement;
  #deleteRow!: Statement;
  /** By the number of rows that they set. */
  readonly #setRowStatements = new Map<number, Statement>();
  #sealed: Wal | undefined;
  #inTransaction = false;
  #isRewound = true;
  #isClosed = false;
  /** Bytes bound by the transactions of the open batch. */
  #boundBytes = 0;

  /** @param source what SQLite reads: the image, or more above it */
  private constructor(context: SqliteContext, image: DurableImage, path: string, source: PageSource = image) {
    this.#image = image;
    const file = new WriterFile(source);
    const walFile = new MemoryFile();
    this.#file = file;
    this.#walFile = walFile;
    context.vfs.set(path, { exists: () => file.size() > 0, open: () => file });
    context.vfs.set(`${path}-wal`, { exists: () => walFile.size() > 0, open: () => walFile });
    context.vfs.set(`${path}-journal`, { exists: () => false, open: () => new MemoryFile() });
    this.#removeFiles = () => {
      for (const suffix of ["", "-wal", "-journal"]) context.vfs.delete(`${path}${suffix}`);
    };
    this.#connection = new Connection(context, path, "write");
  }

  /**
   * A writer on an image that is a database.
   *
   * @param path where it is in the VFS; differs from those of other writers that are open
   */
  static open(context: SqliteContext, image: DurableImage, path: string = WRITER_PATH): Writer {
    const writer = new Writer(context, image, path);
    writer.#configure();
    writer.#prepare();
    return writer;
  }

  /** A writer above an epoch that no writer has sealed, and that is not durable yet: it is settled like one's own. */
  static openAbove(context: SqliteContext, image: DurableImage, sealed: Wal): Writer {
    const writer = new Writer(context, image, WRITER_PATH, new WalLayer(image, sealed));
    writer.#sealed = sealed;
    writer.#configure();
    writer.#prepare();
    return writer;
  }

  /** A writer on an empty image, with the system table made and its rows set, ready to seal epoch 0. */
  static create(context: SqliteContext, image: DurableImage, rows: SystemRowChanges): Writer {
    if (image.pageCount !== 0) throw new Error("the image is not empty");
    const writer = new Writer(context, image, WRITER_PATH);
    writer.#configure();
    writer.#connection.exec(`BEGIN; ${CREATE_SYSTEM_TABLE}`);
    writer.#inTransaction = true;
    writer.#prepare();
    writer.#writeRows(rows);
    return writer;
  }

  /** Bytes, about, that wait for the seal. */
  get pendingBytes(): number {
    return Math.max(this.#boundBytes, this.#connection.status(DBSTATUS_CACHE_USED) - CLEAN_CACHE_BYTES);
  }

  /**
   * Runs `fn` as one transaction of the open batch. Throws what `fn` throws,
   * with nothing of it left behind.
   *
   * @throws BatchLostError if SQLite rolled back the whole batch
   */
  transact<T>(fn: (tx: Transaction) => T): T {
    this.#ensureBegun();
    this.#savepoint.run(undefined);
    const handle = new TransactionHandle(this.#connection);
    const { codec } = this.#connection;
    const boundBefore = codec.boundBytes;
    this.#connection.rulesApply = true;
    try {
      const value = fn(handle);
      handle.end();
      if (isThenable(value)) {
        // Its later calls fail on the dead handle; that rejection is told here, once.
        Promise.resolve(value).catch(() => {});
        throw new ClusterError(
          "invalid",
          "async_transaction",
          "the transaction function returned a promise: it must be synchronous; do what is asynchronous before or after",
        );
      }
      this.#checkForeignKeys();
      this.#connection.rulesApply = false;
      this.#release.run(undefined);
      this.#boundBytes += codec.boundBytes - boundBefore;
      return value;
    } catch (error) {
      // First: while rows of a RETURNING are being read, a savepoint cannot be released.
      handle.end();
      this.#connection.rulesApply = false;
      this.#undo(error);
      throw error;
    }
  }

  /**
   * Ends the batch: writes the system rows, commits, and gives the epoch's WAL
   * file. Throws, with the batch lost, if SQLite cannot commit.
   */
  seal(rows: SystemRowChanges): Wal {
    this.#beginSeal();
    this.#writeRows(rows);
    return this.#commitSeal();
  }

  /** The same, with these rows as the whole system table: whatever else is in it goes. */
  sealTable(table: SystemTable): Wal {
    this.#beginSeal();
    const found = this.#connection.prepare(`SELECT key FROM ${SYSTEM_TABLE}`).allValues(undefined);
    for (const [key] of found) {
      if (!table.has(String(key))) this.#deleteSystemRow(key ?? null);
    }
    this.#setRows(table.size).run([...table].flat());
    return this.#commitSeal();
  }

  #beginSeal(): void {
    if (this.#sealed !== undefined) throw new Error("the sealed epoch is not settled");
    this.#ensureBegun();
  }

  #commitSeal(): Wal {
    this.#commit.run(undefined);
    this.#inTransaction = false;
    const wal = parseWal(this.#walFile.copy(), "the sealed epoch");
    this.#sealed = wal;
    this.#file.setSource(new WalLayer(this.#image, wal));
    this.#isRewound = false;
    return wal;
  }

  /**
   * Makes SQLite start a new WAL file for the next epoch. Apart from `seal`, so
   * that the sealed epoch can be on its way to the store meanwhile.
   */
  rewind(): void {
    if (this.#isRewound) return;
    this.#checkpoint.run(undefined);
    if (this.#walFile.size() !== 0) throw new Error("SQLite did not reset its WAL");
    this.#isRewound = true;
    this.#ensureBegun();
  }

  /** The sealed epoch is durable: makes it part of the image. Readers must have been released. */
  settle(): Wal {
    const wal = this.#sealed;
    if (wal === undefined) throw new Error("no epoch is sealed");
    this.#image.apply(wal);
    this.#sealed = undefined;
    this.#file.setSource(this.#image);
    return wal;
  }

  /** Drops everything that is not in the image; safe twice. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#connection.close();
    this.#removeFiles();
  }

  #configure(): void {
    const { sqlite, pointer } = this.#connection;
    sqlite.api.sqlite3_db_config(pointer, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, 0);
    // A new database is turned into a WAL database through one rollback journal: in memory, it needs no file.
    if (this.#image.pageCount === 0) this.#connection.exec("PRAGMA page_size = 4096; PRAGMA journal_mode = MEMORY;");
    // Exclusive before WAL: the WAL index then is plain memory, no shared memory is asked for.
    this.#connection.exec(`
      PRAGMA locking_mode = EXCLUSIVE;
      PRAGMA journal_mode = WAL;
      PRAGMA wal_autocheckpoint = 0;
      PRAGMA synchronous = OFF;
      PRAGMA cache_spill = OFF;
      PRAGMA cache_size = -${CLEAN_CACHE_BYTES / 1024};
      PRAGMA foreign_keys = ON;
    `);
  }

  #prepare(): void {
    const connection = this.#connection;
    const own = (sql: string) => connection.own(connection.prepare(sql));
    const savepoint = `${SAVEPOINT_PREFIX}_transaction`;
    this.#begin = own("BEGIN");
    this.#commit = own("COMMIT");
    this.#savepoint = own(`SAVEPOINT ${savepoint}`);
    this.#release = own(`RELEASE ${savepoint}`);
    this.#rollbackTo = own(`ROLLBACK TO ${savepoint}`);
    this.#checkpoint = own("PRAGMA wal_checkpoint(TRUNCATE)");
    this.#deleteRow = own("DELETE FROM _lbc WHERE key = ?");
    connection.authorize(whyNotInTransaction);
  }

  #ensureBegun(): void {
    if (this.#inTransaction) return;
    this.rewind();
    if (this.#inTransaction) return;
    this.#begin.run(undefined);
    this.#inTransaction = true;
    this.#boundBytes = 0;
  }

  #writeRows(rows: SystemRowChanges): void {
    const set: (string | number)[] = [];
    for (const [key, value] of Object.entries(rows)) {
      if (value === null) this.#deleteSystemRow(key);
      else set.push(key, value);
    }
    if (set.length > 0) this.#setRows(set.length / 2).run(set);
  }

  /** No foreign key of a user's table on ours may keep a row from being deleted. */
  #deleteSystemRow(key: SqlValue): void {
    const { sqlite, pointer } = this.#connection;
    sqlite.api.sqlite3_db_config(pointer, SQLITE_DBCONFIG_ENABLE_FKEY, 0, 0);
    try {
      this.#deleteRow.run([key]);
    } finally {
      sqlite.api.sqlite3_db_config(pointer, SQLITE_DBCONFIG_ENABLE_FKEY, 1, 0);
    }
  }

  /** The statement that sets so many rows at once. */
  #setRows(count: number): Statement {
    const values = Array.from({ length: count }, () => "(?, ?)").join(", ");
    const sql = `INSERT INTO _lbc(key, value) VALUES ${values} ON CONFLICT(key) DO UPDATE SET value = excluded.value`;
    const statement = this.#setRowStatements.get(count) ?? this.#connection.own(this.#connection.prepare(sql));
    this.#setRowStatements.set(count, statement);
    return statement;
  }

  /** Deferred violations would make the commit fail for every transaction of the epoch. */
  #checkForeignKeys(): void {
    if (this.#connection.status(DBSTATUS_DEFERRED_FKS) === 0) return;
    throw new ClusterError(
      "invalid",
      "SQLITE_CONSTRAINT_FOREIGNKEY",
      "the transaction leaves deferred foreign keys without their parent rows and was rolled back",
      { primary: "SQLITE_CONSTRAINT", extended: "SQLITE_CONSTRAINT_FOREIGNKEY" },
    );
  }

  #undo(error: unknown): void {
    if (this.#connection.autocommit) {
      this.#inTransaction = false;
      throw new BatchLostError(`SQLite rolled back every transaction of the epoch: ${errorMessage(error)}`, {
        cause: error,
      });
    }
    this.#rollbackTo.run(undefined);
    this.#release.run(undefined);
  }
}

/** The `tx` of a transaction function. */
class TransactionHandle implements Transaction {
  readonly #connection: Connection;
  #ended = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  run(sql: string, params?: SqlParams): RunResult {
    const statement = this.#statement(sql);
    statement.run(params);
    const { sqlite, pointer } = this.#connection;
    return {
      changes: statement.countsChanges ? sqlite.exports.sqlite3_changes(pointer) : 0,
      lastInsertRowid: this.#connection.lastInsertRowid,
    };
  }

  exec(script: string): void {
    this.#check(script);
    this.#connection.exec(script);
  }

  query<T = Row>(sql: string, params?: SqlParams): T[] {
    return this.#statement(sql).all(params) as T[];
  }

  get<T = Row>(sql: string, params?: SqlParams): T | undefined {
    return this.#statement(sql).first(params) as T | undefined;
  }

  values<T extends readonly SqlValue[] = SqlValue[]>(sql: string, params?: SqlParams): T[] {
    return this.#statement(sql).allValues(params) as unknown as T[];
  }

  iterate<T = Row>(sql: string, params?: SqlParams): IterableIterator<T> {
    if (this.#ended) this.#check("");
    return Statement.iterate(() => this.#statement(sql), params) as IterableIterator<T>;
  }

  /** Ends what is still being iterated too: an open read would keep the epoch from being sealed. */
  end(): void {
    this.#ended = true;
    this.#connection.endIterations();
  }

  #statement(sql: string): Statement {
    if (this.#ended) this.#check("");
    return this.#connection.prepare(sql, whyNotText);
  }

  #check(sql: string): void {
    if (this.#ended) {
      throw new ClusterError(
        "closed",
        "transaction_ended",
        "the transaction has ended: tx is only for the time of the function",
      );
    }
    const refusal = whyNotText(sql);
    if (refusal !== undefined) throw new ClusterError("invalid", "forbidden_sql", refusal, { sql });
  }
}
