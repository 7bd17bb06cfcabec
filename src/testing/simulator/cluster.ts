/** A cluster in one process and in virtual time: its members, their network, their bucket. For applications' own tests, too. */
import type { LogEvent } from "../../base/log.ts";
import type { ClusterOptions } from "../../config.ts";
import type { ObjectStore } from "../../store/store.ts";
import { type BucketEvents, SimulatedBucket } from "./bucket.ts";
import { type MemberOptions, type MemberRun, type MemberWorld, SimulatedMember } from "./member.ts";
import { SimulatedNetwork } from "./network.ts";
import type { SimulatedProcess } from "./process.ts";
import { SeededRandom } from "./seeded-random.ts";
import type { SqlitePool } from "./sqlite-pool.ts";
import { type ObservedCall, SimulatedStore } from "./store.ts";
import { VirtualTime } from "./virtual-time.ts";
import { LOCAL_STORE, type StoreSpeed, StoreWeather } from "./weather.ts";

/** What a simulated cluster is made of. */
export interface SimulatedClusterOptions {
  /** All chance comes from it: the same seed and the same calls give the same run. */
  readonly seed: number | string;
  readonly pool: SqlitePool;
  /** *Default* `simulated`. */
  readonly id?: string;
  /** Of all members. */
  readonly settings?: Partial<ClusterOptions>;
  /** *Default*: a local one. */
  readonly storeSpeed?: StoreSpeed;
  /** A call of the store that is not answered fails after this. *Default* 10 000. */
  readonly storeTimeoutMs?: number;
  /** How wrong the store's clock is. *Default* 0. */
  readonly storeClockErrorMs?: number;
  /** What stands between a node and the store, e.g. `RetryingStore`. *Default*: nothing. */
  readonly wrapStore?: (store: ObjectStore, process: SimulatedProcess, member: number) => ObjectStore;
  /** Of a process of this member that is about to start. *Default*: right. */
  readonly clocksOf?: (member: number) => { readonly clockRate: number; readonly wallOffsetMs: number };
  readonly bucketEvents?: BucketEvents;
  readonly onLog?: (member: SimulatedMember, event: LogEvent) => void;
  /** A node has left in order; its process is about to end. */
  readonly onLeft?: (member: SimulatedMember, run: MemberRun) => void;
}

const RIGHT_CLOCKS = { clockRate: 1, wallOffsetMs: 0 };

/**
 * Nodes are real: the library's own code with its own SQLite, on a simulated clock, network and store. Time passes only in
 * `run`, as fast as it can be computed. An application's own timers and connections are not simulated: it has to ask the
 * cluster (`member.process.clock`), or a run is not the same twice.
 *
 * ```ts
 * const pool = new SqlitePool();
 * await pool.fill(20);
 * const cluster = new SimulatedCluster({ seed: 1, pool });
 * const [a, b] = ["a", "b"].map((name) => cluster.addMember({ name, join: { app } }));
 * a.start();
 * b.start();
 * await cluster.run(60_000, () => a.node?.isLeading || b.node?.isLeading);
 * a.crash();
 * await cluster.run(60_000);
 * cluster.close();
 * ```
 */
export class SimulatedCluster {
  /** The cluster's id. */
  readonly id: string;
  readonly time: VirtualTime = new VirtualTime();
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly bucket: SimulatedBucket;
  readonly weather: StoreWeather;
  readonly members: SimulatedMember[] = [];
  /** Told of every call of the store, when it is made and when it takes effect. */
  readonly callWatchers: Set<(call: ObservedCall) => void> = new Set();
  readonly #options: SimulatedClusterOptions;

  constructor(options: SimulatedClusterOptions) {
    this.#options = options;
    this.id = options.id ?? "simulated";
    this.random = new SeededRandom(options.seed);
    const { time } = this;
    this.network = new SimulatedNetwork({ time, random: this.random.fork("network") });
    this.bucket = new SimulatedBucket(time, options.storeClockErrorMs ?? 0, options.bucketEvents ?? {});
    const hostOf = (member: number) => this.members[member]?.host ?? "";
    this.weather = new StoreWeather(this.random.fork("weather"), options.storeSpeed ?? LOCAL_STORE, time, hostOf);
  }

  /** A machine on which nothing runs yet. */
  addMember(options: MemberOptions): SimulatedMember {
    const index = this.members.length;
    const member = new SimulatedMember(this.#world(index), `10.0.${index >> 8}.${(index & 255) + 1}`, options);
    this.members.push(member);
    return member;
  }

  /** Lets time pass, by so much at the most; ends early when `isOver` says so after an event. */
  async run(forMs: number, isOver?: () => boolean): Promise<void> {
    await this.time.run(this.time.nowMs + forMs, isOver);
  }

  /** Kills whatever runs, and gives its memory back. */
  close(): void {
    for (const member of this.members) member.close();
  }

  #world(index: number): MemberWorld {
    const { pool, settings = {}, storeTimeoutMs, wrapStore, clocksOf, onLog, onLeft } = this.#options;
    const { time, network, bucket, weather, callWatchers } = this;
    const onCall = (call: ObservedCall) => {
      for (const watcher of callWatchers) watcher(call);
    };
    return {
      id: this.id,
      time,
      network,
      random: this.random.fork(`member ${index}`),
      pool,
      settings,
      storeOf: (process) =>
        new SimulatedStore({ time, bucket, process, weather: weather.fateOf, onCall, timeoutMs: storeTimeoutMs }),
      wrap: (store, process) => wrapStore?.(store, process, index) ?? store,
      clocksOf: () => clocksOf?.(index) ?? RIGHT_CLOCKS,
      onLog: (member, event) => {
        time.witness(`${member.name} ${event.event}`);
        onLog?.(member, event);
      },
      onLeft: (member, run) => onLeft?.(member, run),
    };
  }
}
