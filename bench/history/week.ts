/**
 * Days of one epoch a second, by a simulated clock, with a real leader: what is in the bucket, what joins and restores
 * read, what the leader asks of the store. Prints JSON.
 *
 * `week.ts DAYS`: the retention is seven eighths of them, so that the last one shows what stays.
 */
import process from "node:process";
import { parseClusterOptions } from "../../src/config.ts";
import { parseKey, walKey } from "../../src/format/keys.ts";
import { PACK_LEVELS } from "../../src/format/pack.ts";
import { PAGE_BYTES } from "../../src/format/wal.ts";
import { restoreReplica } from "../../src/history/past.ts";
import {
  type ClusterNode,
  type ClusterOptions,
  type Db,
  LittleBigCluster,
  type MeterSnapshot,
  type ObjectStore,
} from "../../src/mod.ts";
import { Replica } from "../../src/sqlite/replica.ts";
import { REQUEST_KINDS } from "../../src/store/metered-store.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { BenchStore, type StoreUse } from "./bench-store.ts";
import { type ReadCost, ReadsOf } from "./reads.ts";
import { SimulatedClock } from "./simulated-clock.ts";
import { Workload } from "./workload.ts";

const DAY_SECONDS = 86_400;
const RETENTION_SHARE = 7 / 8;
const SAMPLES = 64;
const STEP_MS = 1000;
/** The shortest retention that there is. */
const RETENTION_MIN_MS = 3_600_000;

/** What one join or one restore read. */
export interface Sample extends ReadCost {
  readonly epoch: number;
  /** Bytes read, as a multiple of the database's. */
  readonly ratio: number;
}

export interface KindUse extends StoreUse {
  readonly kind: "wal" | "snapshot" | "pack";
}

export interface WeekResult {
  readonly days: number;
  readonly retentionDays: number;
  readonly epochs: number;
  readonly databaseBytes: number;
  /** Of the epochs that the retention keeps. */
  readonly retainedWalBytes: number;
  readonly walBytesMean: number;
  readonly objectsMax: number;
  readonly bytesMax: number;
  readonly end: readonly KindUse[];
  readonly extent: { readonly earliest: number; readonly newest: number };
  readonly joins: readonly Sample[];
  readonly restores: readonly Sample[];
  /** Requests by kind of the last day, and their price. */
  readonly dayRequests: Readonly<Record<string, number>>;
  readonly dayUsd: number;
  /** Those that are charged for, of an epoch. */
  readonly dayRatio: number;
  readonly deletedObjects: number;
  readonly elapsedSeconds: number;
}

class Week {
  readonly #epochs: number;
  readonly #clock = new SimulatedClock();
  readonly #store = new BenchStore({ clock: this.#clock, isCompressing: true });
  readonly #options: Omit<ClusterOptions, "store">;
  readonly #random = new SeededRandom(1);
  readonly #joins: Sample[] = [];
  readonly #walBytes: number[] = [];
  #objectsMax = 0;
  #bytesMax = 0;
  #deletedObjects = 0;

  constructor(days: number) {
    this.#epochs = Math.round(days * DAY_SECONDS);
    const retentionMs = Math.max(RETENTION_MIN_MS, Math.round(days * RETENTION_SHARE * DAY_SECONDS * 1000));
    const log: ClusterOptions["log"] = ({ event, level, ...more }) => {
      if (event === "history_trimmed") this.#deletedObjects += Number(more["deleted"]);
      if (level !== "info") process.stderr.write(`${event} ${JSON.stringify(more)}\n`);
    };
    this.#options = { id: "bench", clock: this.#clock, retentionMs, log };
  }

  async run(days: number): Promise<WeekResult> {
    const beganMs = performance.now();
    const cluster = new LittleBigCluster({ ...this.#options, store: this.#store });
    await cluster.init();
    const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
    await this.#pass(node.waitForLeadership());
    const workload = new Workload(node, new SeededRandom(2));
    await this.#pass(workload.fill());
    const first = node.epoch.current;
    const moments = sampleMoments(first, first + this.#epochs, () => this.#random.fraction());
    let yesterday = node.status().store;
    const dayEpochs = Math.round(Math.min(DAY_SECONDS, this.#epochs / 8));
    const beganDayAt = first + this.#epochs - dayEpochs;
    while (node.epoch.current < first + this.#epochs) {
      this.#clock.advance(STEP_MS);
      await workload.step();
      await this.#observe(node);
      const epoch = node.epoch.current;
      if (moments.has(epoch)) this.#joins.push(await this.#read(undefined));
      if (epoch === beganDayAt) yesterday = node.status().store;
      if ((epoch - first) % 8640 === 0) {
        const seconds = Math.round((performance.now() - beganMs) / 1000);
        process.stderr.write(`${((epoch - first) / DAY_SECONDS).toFixed(1)} days, ${seconds} s\n`);
      }
    }
    const day = difference(node.status().store, yesterday, dayEpochs);
    const extent = await cluster.extent();
    const result = {
      days,
      retentionDays: days * RETENTION_SHARE,
      epochs: this.#epochs,
      databaseBytes: node.status().db.size,
      retainedWalBytes: sum(this.#walBytes.slice(-Math.round(this.#epochs * RETENTION_SHARE))),
      walBytesMean: sum(this.#walBytes) / this.#walBytes.length,
      objectsMax: this.#objectsMax,
      bytesMax: this.#bytesMax,
      end: await useByKind(this.#store),
      extent,
      joins: this.#joins,
      restores: await this.#restores(extent),
      ...day,
      deletedObjects: this.#deletedObjects,
      elapsedSeconds: (performance.now() - beganMs) / 1000,
    };
    await this.#pass(node.shutdown());
    return result;
  }

  /** Lets time pass until something has happened. */
  async #pass(promise: Promise<unknown>): Promise<void> {
    let isOver = false;
    const over = promise.finally(() => {
      isOver = true;
    });
    over.catch(() => {});
    while (!isOver) {
      this.#clock.advance(STEP_MS / 10);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await over;
  }

  async #observe(node: ClusterNode): Promise<void> {
    const { objects, bytes } = this.#store.use;
    this.#objectsMax = Math.max(this.#objectsMax, objects);
    this.#bytesMax = Math.max(this.#bytesMax, bytes);
    this.#walBytes.push((await this.#store.head(walKey(node.epoch.current)))?.size ?? Number.NaN);
    await this.#store.settled();
  }

  /** What reading a state from the store takes: of the newest epoch, as a joining node does, or of another one. */
  async #read(point: number | undefined): Promise<Sample> {
    const reads = new ReadsOf(this.#store);
    const { store } = reads;
    const settings = parseClusterOptions({ ...this.#options, store });
    const read =
      point === undefined
        ? await restoreReplica({ settings, store, log: settings.log }, undefined)
        : await new LittleBigCluster({ ...this.#options, store }).openAt(point);
    const { epoch } = read;
    const db: Db = read instanceof Replica ? read.db : read;
    const databaseBytes = (db.get<{ page_count: number }>("PRAGMA page_count")?.page_count ?? 0) * PAGE_BYTES;
    read.close();
    const { cost } = reads;
    return { ...cost, epoch, ratio: cost.bytes / databaseBytes };
  }

  /** Of points at random, and of those right before a pack is complete, which is when most objects must be read. */
  async #restores({ earliest, newest }: { earliest: number; newest: number }): Promise<Sample[]> {
    const samples: Sample[] = [];
    for (const epoch of sampleMoments(earliest, newest, () => this.#random.fraction())) {
      samples.push(await this.#read(epoch));
    }
    return samples;
  }
}

/** Half of them at random, the others right before a pack of some level is complete. */
function sampleMoments(from: number, to: number, random: () => number): Set<number> {
  const moments = new Set<number>();
  for (let index = 0; moments.size < SAMPLES && index < 10 * SAMPLES; index++) {
    const epoch = from + 1 + Math.floor(random() * (to - from - 1));
    const length = PACK_LEVELS[Math.floor(index / 2) % PACK_LEVELS.length] as number;
    const moment = index % 2 === 0 ? epoch : Math.ceil(epoch / length) * length - 1;
    if (moment > from && moment <= to) moments.add(moment);
  }
  return moments;
}

async function useByKind(store: ObjectStore): Promise<KindUse[]> {
  const uses = new Map<KindUse["kind"], KindUse>();
  for (let startAfter: string | undefined; ; ) {
    const page = await store.list("", { startAfter });
    for (const { key, size } of page.objects) {
      const kind = parseKey(key)?.kind;
      if (kind === undefined) continue;
      const { objects, bytes } = uses.get(kind) ?? { objects: 0, bytes: 0 };
      uses.set(kind, { kind, objects: objects + 1, bytes: bytes + size });
    }
    startAfter = page.objects.at(-1)?.key;
    if (!page.more) return [...uses.values()];
  }
}

/** What was asked between two moments, in which there were so many epochs. */
function difference(
  after: MeterSnapshot,
  before: MeterSnapshot,
  epochs: number,
): Pick<WeekResult, "dayRequests" | "dayUsd" | "dayRatio"> {
  const dayRequests: Record<string, number> = {};
  for (const kind of REQUEST_KINDS) dayRequests[kind] = after[kind].requests - before[kind].requests;
  const charged = after.total.requests - before.total.requests - (dayRequests["delete"] ?? 0);
  return { dayRequests, dayUsd: after.estimatedUsd - before.estimatedUsd, dayRatio: charged / epochs };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

const days = Number(process.argv[2] ?? 8);
process.stdout.write(`${JSON.stringify(await new Week(days).run(days))}\n`);
process.exit(0);
