import { type ClusterOptions, type ClusterSettings, parseClusterOptions } from "./config.ts";
import { isClusterError } from "./errors.ts";
import { ClusterHistory, type VerifyOptions } from "./history/cluster-history.ts";
import type { RowChange } from "./history/diff.ts";
import type { Exported, ExportOptions } from "./history/export.ts";
import type { Forked, ForkOptions } from "./history/fork.ts";
import { hasEpochs, type InitOptions, initialize } from "./history/init.ts";
import type { EpochRecord, HistoryOptions } from "./history/log.ts";
import type { OpenAtOptions, PastDb } from "./history/past.ts";
import type { HistoryExtent, Point } from "./history/point.ts";
import type { LongCallOptions } from "./history/progress.ts";
import type { VacuumReport } from "./history/retention.ts";
import type { VerifyReport } from "./history/verify-report.ts";
import { type JoinOptions, join, nodeParts } from "./node/join.ts";
import type { ClusterNode } from "./node/node.ts";
import type { ObjectStore } from "./store/store.ts";

/**
 * A cluster in an object store.
 *
 * ```ts
 * const cluster = new LittleBigCluster({ id: "lol", store: new FileSystemStore("./lol") });
 * await cluster.initIfNeeded();
 * const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
 * await node.waitForLeadership();
 * await node.transaction((tx) => tx.exec("CREATE TABLE IF NOT EXISTS jobs (name TEXT)")).durable;
 * ```
 */
export class LittleBigCluster {
  readonly #settings: ClusterSettings;

  /** @throws ClusterError `invalid`/`bad_configuration` that names every problem at once */
  constructor(options: ClusterOptions) {
    this.#settings = parseClusterOptions(options);
  }

  /** The cluster's id. */
  get id(): string {
    return this.#settings.id;
  }

  /**
   * Makes the cluster, once. Proves first that the store's create-if-absent is atomic.
   *
   * @throws ClusterError `invalid`: `already_initialized`, `store_not_atomic`, or what the store says
   */
  async init(options: InitOptions = {}): Promise<void> {
    await initialize(nodeParts(this.#settings), options);
  }

  /** Whether there is a cluster, of whatever id: one LIST. */
  isInitialized(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<boolean> {
    return hasEpochs(this.#settings.store, options.signal);
  }

  /** Makes the cluster unless it is there; of any number of nodes that do so at once, one does. Gives true for that one. */
  async initIfNeeded(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<boolean> {
    try {
      await this.init(options);
      return true;
    } catch (error) {
      if (isClusterError(error) && error.code === "already_initialized") return false;
      throw error;
    }
  }

  /** Joins as a node that leads when nobody else does. */
  joinAsLeader(options: JoinOptions = {}): Promise<ClusterNode> {
    return join(this.#settings, options, true);
  }

  /** Joins as a node that never leads. */
  joinAsFollower(options: JoinOptions = {}): Promise<ClusterNode> {
    return join(this.#settings, options, false);
  }

  /**
   * The database as of a point in time, read-only, beside whatever runs: takes its whole size in memory until it is
   * closed.
   *
   * @throws ClusterError `invalid`: `bad_point`, `point_in_future`, `point_before_history`; `corrupt`
   */
  openAt(point: Point, options: OpenAtOptions = {}): Promise<PastDb> {
    return this.#history().openAt(point, options);
  }

  /** The earliest epoch that can be restored, and the newest. */
  extent(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<HistoryExtent> {
    return this.#history().extent(options.signal);
  }

  /** The epochs of the history, with what each tells of itself. */
  history(options: HistoryOptions = {}): AsyncIterable<EpochRecord> {
    return this.#history().list(options);
  }

  /** The rows that differ between two points, table by table; both databases are in memory until it ends. */
  diff(pointA: Point, pointB: Point, options: OpenAtOptions = {}): AsyncIterable<RowChange> {
    return this.#history().diff(pointA, pointB, options);
  }

  /**
   * Writes the database as of a point to a file that any SQLite opens. The cluster's secret is not in it.
   *
   * @throws ClusterError `invalid`: as `openAt`, `file_exists`, `file_unwritable`, `secret_in_data`
   */
  export(point: Point, file: string, options: ExportOptions = {}): Promise<Exported> {
    return this.#history().export(point, file, options);
  }

  /**
   * Makes another cluster, in another place and with another id and secret, that begins as this one was at a point. This
   * one is not touched.
   *
   * @throws ClusterError `invalid`: as `openAt`, `same_cluster_id`, `already_initialized`, `store_not_atomic`
   */
  fork(point: Point, store: ObjectStore, options: ForkOptions): Promise<Forked> {
    return this.#history().fork(point, store, options);
  }

  /**
   * The restore drill: reads the whole history from a snapshot on, checks every object, the hash chain, the state
   * checksums, that snapshots and packs are what the epochs lead to, and SQLite's integrity; says what cannot be restored.
   *
   * @throws ClusterError `invalid`/`not_initialized`, and what the store says; damage is in the report
   */
  verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    return this.#history().verify(options);
  }

  /**
   * Deletes what is older than `retentionMs`, as the leader does by itself. Any number of nodes may do so at once.
   *
   * @throws ClusterError `corrupt` if what must be kept is not whole: then nothing is deleted
   */
  vacuum(options: LongCallOptions = {}): Promise<VacuumReport> {
    return this.#history().vacuum(options);
  }

  #history(): ClusterHistory {
    return new ClusterHistory(nodeParts(this.#settings));
  }
}
