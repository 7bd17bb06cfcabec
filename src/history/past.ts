/** A database as of an epoch: opened beside whatever runs, read-only. */
import { ClusterError, isClusterError } from "../errors.ts";
import type { Db, Reads } from "../sqlite/reader.ts";
import { Replica } from "../sqlite/replica.ts";
import type { SqlParams, SqlValue } from "../sqlite/values.ts";
import { readVacuumMarker } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import type { LongCallOptions } from "./progress.ts";
import { type JoinProgress, restore, restoreLimits } from "./restore.ts";

/** A database as it was, with the same queries as `node.db`. Takes its whole size in memory until it is closed. */
export interface PastDb extends Db {
  /** The epoch that it shows. */
  readonly epoch: number;
  /** RFC 3339 time of that epoch, by the clock of the leader that wrote it. */
  readonly lastUpdate: string | undefined;
  /** Lets its memory go; safe twice. */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Options of opening a past database. */
export type OpenAtOptions = LongCallOptions<JoinProgress>;

/**
 * The replica of an epoch, in a SQLite instance of its own; whoever asked closes it.
 *
 * @throws ClusterError `invalid`: `point_before_history`, `point_in_future`, `not_initialized`; `corrupt`
 */
export async function restoreReplica(
  parts: HistoryParts,
  epoch: number | undefined,
  options: OpenAtOptions = {},
): Promise<Replica> {
  const { store, log, settings } = parts;
  const { clock, random, openSqlite } = settings;
  const { signal, onProgress } = options;
  const replica = await Replica.create(clock, random, openSqlite);
  try {
    const system = replica.system;
    const { state } = await restore({
      ...restoreLimits(settings),
      store,
      system,
      log,
      signal,
      onProgress,
      upTo: epoch,
    });
    replica.replace(state);
    replica.expectCluster(settings.id);
    return replica;
  } catch (error) {
    replica.close();
    throw epoch === undefined ? error : await trimmedMeanwhile(parts, epoch, error, signal);
  }
}

/** Codes of errors that tell of objects which are not there. */
const MISSING: ReadonlySet<string> = new Set(["history_incomplete", "history_unproven"]);

/** Retention that moved over the epoch explains what is missing better than what is missing. */
async function trimmedMeanwhile(
  { store }: HistoryParts,
  epoch: number,
  error: unknown,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  if (!isClusterError(error) || !MISSING.has(error.code)) return error;
  const earliest = await readVacuumMarker(store, signal).catch(() => 0);
  if (epoch >= earliest) return error;
  return beforeHistory(epoch, earliest);
}

/** The point is older than the retention. */
export function beforeHistory(epoch: number, earliest: number): ClusterError {
  return new ClusterError(
    "invalid",
    "point_before_history",
    `epoch ${epoch} is before the history that is kept: the earliest point is epoch ${earliest}`,
    { epoch, earliest },
  );
}

/** Opens the database as of an epoch. */
export async function openPast(parts: HistoryParts, epoch: number, options: OpenAtOptions = {}): Promise<PastDb> {
  return new PastDatabase(await restoreReplica(parts, epoch, options));
}

class PastDatabase implements PastDb {
  readonly epoch: number;
  readonly lastUpdate: string | undefined;
  readonly #replica: Replica;

  constructor(replica: Replica) {
    this.#replica = replica;
    this.epoch = replica.epoch;
    this.lastUpdate = replica.rows.lastUpdate;
  }

  query<T>(sql: string, params?: SqlParams): T[] {
    return this.#replica.db.query<T>(sql, params);
  }

  get<T>(sql: string, params?: SqlParams): T | undefined {
    return this.#replica.db.get<T>(sql, params);
  }

  values<T extends readonly SqlValue[] = SqlValue[]>(sql: string, params?: SqlParams): T[] {
    return this.#replica.db.values<T>(sql, params);
  }

  iterate<T>(sql: string, params?: SqlParams): IterableIterator<T> {
    return this.#replica.db.iterate<T>(sql, params);
  }

  columns(sql: string): readonly string[] {
    return this.#replica.db.columns(sql);
  }

  snapshot<T>(fn: (reads: Reads) => T): T {
    return this.#replica.db.snapshot(fn);
  }

  close(): void {
    this.#replica.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
