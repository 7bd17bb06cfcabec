/**
 * Reading the durable image with SQL.
 *
 * A reader keeps its read transaction open from one query to the next, which
 * spares SQLite the locking and checking of a new one (most of the cost of a
 * small query). Whoever moves the image calls `release` first; the next query
 * then begins on the new version.
 */
import { ClusterError } from "../errors.ts";
import { Connection, type SqliteContext } from "./connection.ts";
import { type PinnedSource, ReaderFile } from "./files.ts";
import { whyNotInReader } from "./rules.ts";
import { type Row, Statement } from "./statement.ts";
import type { SqlParams, SqlValue } from "./values.ts";

/** Readers of rows that are consumed one by one, and snapshots held, at one time. */
export const OPEN_READERS_MAX = 64;

/** Reads with SQL. All methods are synchronous. Errors of SQLite are `ClusterError`s with SQLite's code. */
export interface Reads {
  /** All rows, as objects. */
  query<T = Row>(sql: string, params?: SqlParams): T[];
  /** The first row, as an object, or `undefined`. */
  get<T = Row>(sql: string, params?: SqlParams): T | undefined;
  /** All rows, as arrays in the order of the columns. */
  values<T extends readonly SqlValue[] = SqlValue[]>(sql: string, params?: SqlParams): T[];
  /** Rows as objects one by one, all of one state of the database. */
  iterate<T = Row>(sql: string, params?: SqlParams): IterableIterator<T>;
}

/** `node.db`: reads of the durable image of the epoch that the node has reached (docs/architecture.md §7). */
export interface Db extends Reads {
  /** Names of the columns that a query gives, in their order: what `values` leaves out, and known without any row. */
  columns(sql: string): readonly string[];
  /**
   * Several reads on one image, whatever is applied meanwhile. `fn` may be
   * async; the image's old pages are kept until it ends.
   */
  snapshot<T>(fn: (reads: Reads) => T): T;
}

/** One connection on one version at a time. */
export class ReaderConnection implements Reads {
  readonly #connection: Connection;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #context: SqliteContext;
  readonly #path: string;
  /** True once another database has taken the place of the one that it knows. */
  isStale = false;

  constructor(context: SqliteContext, path: string, pinSource: () => PinnedSource) {
    context.vfs.set(path, { exists: () => true, open: () => new ReaderFile(pinSource) });
    this.#context = context;
    this.#path = path;
    this.#connection = new Connection(context, path, "read");
    this.#begin = this.#connection.own(this.#connection.prepare("BEGIN"));
    this.#commit = this.#connection.own(this.#connection.prepare("COMMIT"));
    this.#connection.authorize(whyNotInReader);
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
    return Statement.iterate(() => this.#statement(sql), params) as IterableIterator<T>;
  }

  columns(sql: string): readonly string[] {
    return this.#statement(sql).columnNames;
  }

  /** True while it holds a version; SQLite itself lets go of it after some errors, e.g. when memory runs out. */
  get isHolding(): boolean {
    return !this.#connection.autocommit;
  }

  /** Lets go of the version that it reads. */
  release(): void {
    this.#connection.endIterations();
    if (!this.isHolding) return;
    this.#connection.rulesApply = false;
    this.#commit.run(undefined);
  }

  close(): void {
    this.#connection.endIterations();
    this.#connection.close();
    this.#context.vfs.delete(this.#path);
  }

  #statement(sql: string): Statement {
    if (!this.isHolding) {
      this.#connection.rulesApply = false;
      this.#begin.run(undefined);
      this.#connection.rulesApply = true;
    }
    const statement = this.#connection.prepare(sql);
    if (!statement.readOnly) {
      throw new ClusterError("invalid", "read_only", "db only reads: write with node.transaction(fn)", { sql });
    }
    return statement;
  }
}

/** The `reads` of a snapshot: dead once it has ended, because its reader then serves another. */
class SnapshotReads implements Reads {
  readonly #reader: ReaderConnection;
  #ended = false;

  constructor(reader: ReaderConnection) {
    this.#reader = reader;
    // The first read decides which version a transaction sees: make it now.
    reader.get("SELECT 1 FROM sqlite_schema LIMIT 1");
  }

  query<T = Row>(sql: string, params?: SqlParams): T[] {
    return this.#held().query<T>(sql, params);
  }

  get<T = Row>(sql: string, params?: SqlParams): T | undefined {
    return this.#held().get<T>(sql, params);
  }

  values<T extends readonly SqlValue[] = SqlValue[]>(sql: string, params?: SqlParams): T[] {
    return this.#held().values<T>(sql, params);
  }

  *iterate<T = Row>(sql: string, params?: SqlParams): IterableIterator<T> {
    yield* this.#held().iterate<T>(sql, params);
  }

  end(): void {
    this.#ended = true;
  }

  #held(): ReaderConnection {
    if (this.#ended)
      throw new ClusterError(
        "closed",
        "snapshot_ended",
        "the snapshot has ended: reads is only for the time of the function",
      );
    if (!this.#reader.isHolding) {
      throw new ClusterError(
        "unavailable",
        "snapshot_lost",
        "SQLite gave the snapshot up after an error: take a new one",
      );
    }
    return this.#reader;
  }
}

/** The readers of one image: a main one for queries, others for what stays open. */
export class ReaderPool implements Db {
  readonly #context: SqliteContext;
  readonly #pinSource: () => PinnedSource;
  #main: ReaderConnection;
  readonly #idle: ReaderConnection[] = [];
  readonly #path: string;
  #made = 0;
  readonly #lent = new Set<ReaderConnection>();
  #closed = false;

  /** @param path of the files in the VFS; differs between pools */
  constructor(context: SqliteContext, path: string, pinSource: () => PinnedSource) {
    this.#context = context;
    this.#path = path;
    this.#pinSource = pinSource;
    this.#main = this.#make();
  }

  query<T = Row>(sql: string, params?: SqlParams): T[] {
    return this.#open().query<T>(sql, params);
  }

  get<T = Row>(sql: string, params?: SqlParams): T | undefined {
    return this.#open().get<T>(sql, params);
  }

  values<T extends readonly SqlValue[] = SqlValue[]>(sql: string, params?: SqlParams): T[] {
    return this.#open().values<T>(sql, params);
  }

  *iterate<T = Row>(sql: string, params?: SqlParams): IterableIterator<T> {
    const reader = this.#borrow();
    try {
      yield* reader.iterate<T>(sql, params);
    } finally {
      this.#giveBack(reader);
    }
  }

  columns(sql: string): readonly string[] {
    return this.#open().columns(sql);
  }

  snapshot<T>(fn: (reads: Reads) => T): T {
    const reader = this.#borrow();
    let reads: SnapshotReads | undefined;
    let pending = false;
    const end = () => {
      reads?.end();
      this.#giveBack(reader);
    };
    try {
      reads = new SnapshotReads(reader);
      const result = fn(reads);
      if (isThenable(result)) {
        const settled = Promise.resolve(result).finally(end);
        pending = true;
        return settled as T;
      }
      return result;
    } finally {
      if (!pending) end();
    }
  }

  /** Must be called before the image changes. */
  release(): void {
    this.#main.release();
  }

  /**
   * Must be called when another database takes the place of this one: the schemas that SQLite
   * remembers are checked by a counter only, which two histories may share.
   */
  renew(): void {
    if (this.#closed) return;
    for (const reader of this.#lent) reader.isStale = true;
    for (const reader of this.#idle.splice(0)) reader.close();
    this.#main.close();
    this.#main = this.#make();
  }

  /** Closes the readers; those lent are closed when they come back. Safe twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#main.close();
    for (const reader of this.#idle.splice(0)) reader.close();
  }

  #open(): ReaderConnection {
    if (this.#closed)
      throw new ClusterError("closed", "node_closed", "the node was shut down: its database can no longer be read");
    return this.#main;
  }

  #borrow(): ReaderConnection {
    this.#open();
    if (this.#lent.size >= OPEN_READERS_MAX) {
      throw new ClusterError(
        "overloaded",
        "too_many_readers",
        `${OPEN_READERS_MAX} iterations and snapshots are open: end some first`,
        {
          limit: OPEN_READERS_MAX,
        },
      );
    }
    const reader = this.#idle.pop() ?? this.#make();
    this.#lent.add(reader);
    return reader;
  }

  #giveBack(reader: ReaderConnection): void {
    this.#lent.delete(reader);
    if (this.#closed || reader.isStale) {
      reader.close();
      return;
    }
    reader.release();
    this.#idle.push(reader);
  }

  #make(): ReaderConnection {
    this.#made++;
    return new ReaderConnection(this.#context, `${this.#path}-${this.#made}`, this.#pinSource);
  }
}

/** True for promises and what behaves like one. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
