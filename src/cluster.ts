import { type ClusterOptions, type ClusterSettings, parseClusterOptions } from "./config.ts";
import { isClusterError } from "./errors.ts";
import { hasEpochs, initialize } from "./history/init.ts";
import { type JoinOptions, join, nodeParts } from "./node/join.ts";
import type { ClusterNode } from "./node/node.ts";

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
  async init(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await initialize(nodeParts(this.#settings), options.signal);
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
}
