/** A machine of a simulated cluster, and whatever runs on it: one process after another. */
import type { LogEvent } from "../../base/log.ts";
import { LittleBigCluster } from "../../cluster.ts";
import type { ClusterOptions } from "../../config.ts";
import { errorMessage, isClusterError } from "../../errors.ts";
import type { JoinOptions } from "../../node/join.ts";
import type { ClusterNode } from "../../node/node.ts";
import type { ObjectStore } from "../../store/store.ts";
import type { SimulatedNetwork } from "./network.ts";
import { SimulatedProcess } from "./process.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { SqliteLease, SqlitePool } from "./sqlite-pool.ts";
import type { SimulatedStore } from "./store.ts";
import type { VirtualTime } from "./virtual-time.ts";

const PORT = 7000;
/** A join that failed is tried again so much later, as a supervisor would. */
const RESTART_MS = 500;

/** What a member is, over all its runs. */
export interface MemberOptions {
  /** Unique; also the machine's name. */
  readonly name: string;
  /** False for one that never leads. *Default* true. */
  readonly candidate?: boolean;
  /** How its nodes join: zone, applications. */
  readonly join?: JoinOptions;
  /** Settings of its nodes, the cluster's own aside. */
  readonly settings?: Partial<ClusterOptions>;
}

/** What the cluster gives its members. */
export interface MemberWorld {
  readonly id: string;
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly random: SeededRandom;
  readonly pool: SqlitePool;
  readonly settings: Partial<ClusterOptions>;
  storeOf(process: SimulatedProcess): SimulatedStore;
  /** What stands between a node and its store, e.g. retries. */
  wrap(store: SimulatedStore, process: SimulatedProcess): ObjectStore;
  clocksOf(member: string): { readonly clockRate: number; readonly wallOffsetMs: number };
  onLog(member: SimulatedMember, event: LogEvent): void;
  /** A node has left in order; its process is about to end. */
  onLeft(member: SimulatedMember, run: MemberRun): void;
}

/** One run of a member. */
export interface MemberRun {
  readonly process: SimulatedProcess;
  readonly store: SimulatedStore;
  readonly sqlite: SqliteLease;
  /** `undefined` until it has joined. */
  node: ClusterNode | undefined;
}

export class SimulatedMember {
  readonly name: string;
  readonly host: string;
  readonly candidate: boolean;
  readonly #world: MemberWorld;
  readonly #options: MemberOptions;
  #run: MemberRun | undefined;
  #runCount = 0;
  #isWanted = false;
  readonly #leases = new Set<SqliteLease>();

  constructor(world: MemberWorld, host: string, options: MemberOptions) {
    this.name = options.name;
    this.host = host;
    this.candidate = options.candidate ?? true;
    this.#world = world;
    this.#options = options;
  }

  /** What runs there now. */
  get run(): MemberRun | undefined {
    return this.#run;
  }

  /** The node, if it has joined and its process is not gone. */
  get node(): ClusterNode | undefined {
    return this.#run?.node;
  }

  get process(): SimulatedProcess | undefined {
    return this.#run?.process;
  }

  /** Starts a process there, which joins, and tries again if it cannot; if one is about to leave, when it has left. */
  start(): void {
    this.#isWanted = true;
    if (this.#run !== undefined) return;
    const { time, random, network } = this.#world;
    const process = new SimulatedProcess({
      name: `${this.name}#${++this.#runCount}`,
      host: this.host,
      time,
      random: random.fork(`${this.name}#${this.#runCount}`),
      ...this.#world.clocksOf(this.name),
    });
    const store = this.#world.storeOf(process);
    const sqlite = this.#world.pool.lease();
    const run: MemberRun = { process, store, sqlite, node: undefined };
    this.#leases.add(sqlite);
    this.#run = run;
    const cluster = new LittleBigCluster({
      ...this.#world.settings,
      ...this.#options.settings,
      id: this.#world.id,
      store: this.#world.wrap(store, process),
      clock: process.clock,
      random: process.random,
      transport: network.transportOf(process),
      openSqlite: sqlite.open,
      log: (event) => {
        if (process.state !== "ended") this.#world.onLog(this, event);
      },
    });
    process.clock.soon(() => void this.#join(cluster, run));
  }

  /** The process is killed. */
  crash(): void {
    this.#isWanted = false;
    this.#end(this.#run);
  }

  /** Kills whatever runs there, and gives its memory back: time will not pass any more. */
  close(): void {
    this.crash();
    for (const lease of this.#leases) this.#release(lease);
  }

  /** The node leaves in order, and its process ends. */
  async stop(): Promise<void> {
    this.#isWanted = false;
    const run = this.#run;
    if (run?.node === undefined) {
      this.#end(run);
      return;
    }
    const { node, process } = run;
    // Not while it stands still.
    await turn(process);
    await node.shutdown();
    await turn(process);
    this.#world.onLeft(this, run);
    this.#end(run);
    if (this.#isWanted) this.start();
  }

  async #join(cluster: LittleBigCluster, run: MemberRun): Promise<void> {
    try {
      await cluster.initIfNeeded();
      const options: JoinOptions = { ...this.#options.join, address: `${this.host}:${PORT}` };
      const node = this.candidate ? await cluster.joinAsLeader(options) : await cluster.joinAsFollower(options);
      run.node = node;
    } catch (error) {
      if (!isClusterError(error)) throw error;
      this.#world.onLog(this, { level: "warn", event: "join_failed", code: error.code, reason: errorMessage(error) });
      this.restartLater(run);
    }
  }

  /** Ends the run, if it is still this one, and starts another a little later. */
  restartLater(run: MemberRun): void {
    if (this.#run !== run) return;
    this.#end(run);
    this.#world.time.schedule(RESTART_MS, () => {
      if (this.#isWanted) this.start();
    });
  }

  #release(lease: SqliteLease): void {
    this.#leases.delete(lease);
    lease.release();
  }

  #end(run: MemberRun | undefined): void {
    if (run === undefined || this.#run !== run) return;
    this.#run = undefined;
    run.process.end();
    this.#world.network.ended(run.process);
    // It may be in the middle of a turn, of which nobody sees the rest; but it still uses its memory.
    this.#world.time.schedule(0, () => this.#release(run.sqlite));
  }
}

/** Resolves in an event of the process's own. */
function turn({ clock }: SimulatedProcess): Promise<void> {
  return new Promise((resolve) => {
    clock.soon(resolve);
  });
}
