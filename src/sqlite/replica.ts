/** The node's database: the state that readers see, exchangeable as a whole. */
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { ClusterError } from "../errors.ts";
import type { SystemRows } from "../format/system-rows.ts";
import type { SqliteContext } from "./connection.ts";
import { createSqlite, type OpenSqlite } from "./context.ts";
import { pinImage } from "./files.ts";
import { type Db, ReaderPool } from "./reader.ts";
import { ReplicaState, SystemReader, type VerifiedEpoch } from "./replica-state.ts";
import { Writer } from "./writer.ts";

export class Replica {
  readonly context: SqliteContext;
  readonly system: SystemReader;
  readonly #readers: ReaderPool;
  #state: ReplicaState;

  private constructor(context: SqliteContext) {
    this.context = context;
    this.system = new SystemReader(context);
    this.#state = ReplicaState.empty(this.system);
    this.#readers = new ReaderPool(context, "/reader", () => pinImage(this.#state.image));
  }

  /** A replica of nothing yet, on a SQLite instance of its own. */
  static async create(clock: Clock, random: Random, open: OpenSqlite = createSqlite): Promise<Replica> {
    return new Replica(await open(clock, random));
  }

  get db(): Db {
    return this.#readers;
  }

  get epoch(): number {
    return this.#state.epoch;
  }

  get rows(): SystemRows {
    return this.#state.rows;
  }

  get state(): ReplicaState {
    return this.#state;
  }

  /** Shows readers another state from now on; who holds a snapshot of the old one keeps it. */
  replace(state: ReplicaState): void {
    this.#state = state;
    this.#readers.renew();
  }

  /** See {@link ReplicaState.verify}. */
  verify(bytes: Uint8Array, what: string): VerifiedEpoch {
    return this.#state.verify(bytes, what);
  }

  /** See {@link ReplicaState.apply}. */
  apply(verified: VerifiedEpoch): void {
    this.#readers.release();
    this.#state.apply(verified);
  }

  /** A writer on the present state. At most one is open. */
  openWriter(): Writer {
    return Writer.open(this.context, this.#state.image);
  }

  /**
   * The epoch that `writer` sealed is durable.
   *
   * @param rows the system table after it
   */
  settle(writer: Writer, walHash: string, rows: SystemRows): void {
    this.#readers.release();
    const pageCountBefore = this.#state.image.pageCount;
    const wal = writer.settle();
    this.#state.settled({ epoch: this.epoch + 1, wal, walHash, rows }, pageCountBefore);
  }

  close(): void {
    this.#readers.close();
    this.system.close();
  }

  /** Fails unless the replica holds a cluster's database. */
  expectCluster(id: string): void {
    const found = this.rows.clusterId;
    if (found === id) return;
    throw new ClusterError(
      "invalid",
      "wrong_cluster",
      `the store holds cluster ${found}, not ${id}: check the id, the bucket and the prefix`,
      { expected: id, found },
    );
  }
}
