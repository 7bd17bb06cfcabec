/**
 * What an application's writes notice of packs of every level, a snapshot and retention that all run at once, on a 256 MiB
 * database: the longest that a write takes, from when it was due, and the longest that the event loop stands still, against
 * the same right before. Prints JSON.
 *
 * Epochs go by as fast as they can up to shortly before one that ends packs of every level and, as the settings say, asks
 * for a snapshot; there the retention of eight days passes for the store. That happens several times.
 *
 * The store is memory in a thread of its own. `stall.ts memory` gives it large objects in pieces of 1 MiB, as to a file
 * system; `stall.ts s3` by `S3Store`, over HTTP.
 */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { PACK_LEVELS, packsEndingAt } from "../../src/format/pack.ts";
import { type ClusterNode, LittleBigCluster } from "../../src/mod.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { fill } from "../core/large.ts";
import { DATABASE_BYTES, MB } from "./large-database.ts";
import { LoopGaps } from "./loop-gaps.ts";
import { ThreadStore } from "./thread-store.ts";

/** What was seen in one stretch of time. */
export interface Stretch {
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly longestWriteMs: number;
  readonly longestGapMs: number;
}

export interface StallRound {
  readonly quiet: Stretch;
  readonly busy: Stretch;
  readonly packMegabytes: number;
  readonly snapshotMegabytes: number;
  readonly deleted: number;
  readonly busySeconds: number;
}

export interface StallResult {
  readonly rounds: readonly StallRound[];
  readonly databaseMB: number;
}

const ROUNDS = 3;
const LATENCY_MS = 5;
const UPLOAD_BYTES_PER_MS = 100_000;
const WRITE_INTERVAL_MS = 10;
const BODY_BYTES = 3900;
const QUIET_EPOCHS = 900;
/** Epochs before the boundary at which retention begins. */
const EARLY_EPOCHS = 100;
const DAY_MS = 86_400_000;
const LONGEST_PACK = PACK_LEVELS.at(-1) as number;

/** Writes at a steady rate, whatever becomes of them. */
class Writes {
  readonly #write: () => Promise<unknown>;
  readonly #gaps = new LoopGaps();
  readonly #isMeasured: () => boolean;
  readonly #waitsMs: number[] = [];
  #longestGapMs = 0;

  /** @param isMeasured whether what happens now counts */
  constructor(write: () => Promise<unknown>, isMeasured: () => boolean) {
    this.#write = write;
    this.#isMeasured = isMeasured;
  }

  /** Goes on until `isOver`. */
  async run(isOver: () => boolean): Promise<Stretch> {
    this.#gaps.take();
    const beganMs = performance.now();
    const pending = new Set<Promise<void>>();
    for (let count = 0; !isOver(); count++) {
      const dueMs = beganMs + count * WRITE_INTERVAL_MS;
      if (dueMs > performance.now()) await sleep(dueMs - performance.now());
      const isMeasured = this.#isMeasured();
      const writing = this.#write().then(() => {
        if (isMeasured && this.#isMeasured()) this.#waitsMs.push(performance.now() - dueMs);
        pending.delete(writing);
      });
      pending.add(writing);
      const gapMs = this.#gaps.take();
      if (isMeasured) this.#longestGapMs = Math.max(this.#longestGapMs, gapMs);
    }
    await Promise.all(pending);
    this.#gaps.stop();
    const sorted = this.#waitsMs.sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
    return {
      writes: sorted.length,
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      longestWriteMs: at(1),
      longestGapMs: this.#longestGapMs,
    };
  }
}

class Stall {
  readonly #store = new ThreadStore();
  readonly #random = new SeededRandom(1);
  readonly #written = new Map<string, number>();
  readonly #cluster: LittleBigCluster;
  #node!: ClusterNode;
  #rows = 0;

  constructor() {
    this.#cluster = new LittleBigCluster({
      id: "bench",
      store: this.#store,
      requestBudget: "unlimited",
      // Every second one is due at the end of the longest packs.
      snapshot: {
        walBytesMin: 2 ** 50,
        objectsMax: 2 ** 50,
        epochsMax: LONGEST_PACK / 2,
        intervalMinMs: 0,
      },
      log: ({ event, level, ...more }) => {
        if (event === "pack_written") this.#written.set(`${more["from"]}-${more["to"]}`, Number(more["bytes"]));
        if (event === "snapshot_written") this.#written.set("snapshot", Number(more["bytes"]));
        if (level !== "info") process.stderr.write(`${event} ${JSON.stringify(more)}\n`);
      },
    });
  }

  async run(): Promise<StallResult> {
    await this.#cluster.init();
    if (process.argv[2] === "s3") await this.#store.useS3();
    this.#node = await this.#cluster.joinAsLeader({ address: "127.0.0.1:0" });
    await this.#node.waitForLeadership();
    await fill(this.#node, DATABASE_BYTES);
    this.#rows = this.#node.db.get<{ rows: number }>("SELECT max(id) AS rows FROM large")?.rows ?? 0;
    const rounds: StallRound[] = [];
    for (let round = 1; round <= ROUNDS; round++) rounds.push(await this.#round((round + 1) * LONGEST_PACK));
    const databaseMB = this.#node.status().db.size / MB;
    await this.#node.shutdown();
    await this.#store.close();
    return { rounds, databaseMB };
  }

  async #round(boundary: number): Promise<StallRound> {
    const { epoch } = this.#node;
    while (epoch.current < boundary - QUIET_EPOCHS - EARLY_EPOCHS) await this.#write();
    process.stderr.write(`at epoch ${epoch.current}\n`);
    this.#store.latencyMs = LATENCY_MS;
    this.#store.uploadBytesPerMs = UPLOAD_BYTES_PER_MS;
    await sleep(1000);
    // Right after the end of a pack it is being written.
    const isQuiet = () => epoch.current % (PACK_LEVELS[0] as number) > 3;
    const quiet = await new Writes(() => this.#write(), isQuiet).run(() => epoch.current >= boundary - EARLY_EPOCHS);
    this.#written.clear();
    await this.#store.setForward(8 * DAY_MS);
    const beganMs = performance.now();
    let deleted: number | undefined;
    const vacuum = this.#cluster.vacuum().then((report) => {
      deleted = report.deleted;
    });
    const isOver = () => deleted !== undefined && this.#isWritten(boundary);
    const busy = await new Writes(
      () => this.#write(),
      () => true,
    ).run(isOver);
    await vacuum;
    const busySeconds = (performance.now() - beganMs) / 1000;
    this.#store.latencyMs = 0;
    this.#store.uploadBytesPerMs = Number.POSITIVE_INFINITY;
    const packs = packsEndingAt(boundary).map(({ from, to }) => this.#written.get(`${from}-${to}`) ?? Number.NaN);
    return {
      quiet,
      busy,
      packMegabytes: packs.reduce((sum, bytes) => sum + bytes, 0) / MB,
      snapshotMegabytes: (this.#written.get("snapshot") ?? Number.NaN) / MB,
      deleted: deleted ?? Number.NaN,
      busySeconds,
    };
  }

  #isWritten(boundary: number): boolean {
    const packs = packsEndingAt(boundary);
    return this.#written.has("snapshot") && packs.every(({ from, to }) => this.#written.has(`${from}-${to}`));
  }

  #write(): Promise<unknown> {
    const id = 1 + Math.floor(this.#random.fraction() * this.#rows);
    return this.#node.transaction((tx) =>
      tx.run("UPDATE large SET body = randomblob(?) WHERE id = ?", [BODY_BYTES, id]),
    ).durable;
  }
}

process.stdout.write(`${JSON.stringify(await new Stall().run())}\n`);
