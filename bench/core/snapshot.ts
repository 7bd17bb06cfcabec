/**
 * Opening a 256 MiB database and taking a snapshot of it while writing:
 * resident memory, and how long writes wait. Prints JSON.
 *
 * `prepare DIR` makes the database in a file-system store, `measure DIR` opens
 * it in a fresh process. Two measurements: with everything on the disk, where
 * the snapshot's bytes and the epochs share one device, and with the epochs in
 * memory behind a fixed latency, where only what our process does can make a
 * write wait.
 */
import process from "node:process";
import {
  FileSystemStore,
  LittleBigCluster,
  MemoryStore,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  type PutOutcome,
} from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { fill, lead, NO_SNAPSHOTS, ONE_SNAPSHOT } from "./large.ts";

export interface SnapshotResult {
  readonly databaseMB: number;
  readonly residentMaxMB: number;
  /** Of 1.5 × the database plus 100 MB. */
  readonly residentRatio: number;
  readonly snapshotMs: number;
  readonly quiet: Waits;
  readonly during: Waits;
  /** The longest wait while the snapshot was taken, above the longest without. */
  readonly extraMaxMs: number;
}

/** How long writes took. */
export interface Waits {
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const DATABASE_BYTES = 256 * 1024 * 1024;
const MB = 1_000_000;
const QUIET_WRITES = 300;
const EPOCH_LATENCY_MS = 5;

/** Says when a snapshot is being written to the store below. */
class SnapshotWatch {
  isUploading = false;
  elapsedMs = Number.NaN;

  watch(store: ObjectStore): ObjectStore {
    const put = async (key: string, body: PutBody, options?: PutOptions): Promise<PutOutcome> => {
      if (!key.endsWith(".db")) return await store.put(key, body, options);
      this.isUploading = true;
      const beganMs = performance.now();
      const outcome = await store.put(key, body, options);
      this.elapsedMs = performance.now() - beganMs;
      this.isUploading = false;
      return outcome;
    };
    return new Proxy(store, { get: (target, name) => (name === "put" ? put : bound(target, name)) });
  }
}

function bound(target: ObjectStore, name: string | symbol): unknown {
  const member: unknown = Reflect.get(target, name, target);
  return typeof member === "function" ? member.bind(target) : member;
}

/** Large objects on the disk, new epochs in memory behind a latency. */
function splitStore(disk: ObjectStore): ObjectStore {
  const memory = new FaultyStore(new MemoryStore(), { latencyMs: EPOCH_LATENCY_MS });
  const put = (key: string, body: PutBody, options?: PutOptions) =>
    (key.endsWith(".wal") ? memory : disk).put(key, body, options);
  return new Proxy(disk, { get: (target, name) => (name === "put" ? put : bound(target, name)) });
}

async function measure(store: ObjectStore): Promise<SnapshotResult> {
  const watch = new SnapshotWatch();
  const cluster = new LittleBigCluster({
    id: "bench",
    store: watch.watch(store),
    requestBudget: "unlimited",
    snapshot: ONE_SNAPSHOT,
  });
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  const write = async () => {
    const beganMs = performance.now();
    await node.transaction((tx) => tx.run("INSERT INTO kv VALUES (?, ?)", [crypto.randomUUID(), "value"])).durable;
    return performance.now() - beganMs;
  };
  const during: number[] = [];
  while (Number.isNaN(watch.elapsedMs)) {
    const isAfter = watch.isUploading;
    const waitedMs = await write();
    if (isAfter || watch.isUploading) during.push(waitedMs);
  }
  const quiet: number[] = [];
  for (let count = 0; count < QUIET_WRITES; count++) quiet.push(await write());
  const databaseMB = node.status().db.size / MB;
  await node.shutdown();
  const residentMaxMB = (process.resourceUsage().maxRSS * 1024) / MB;
  return {
    databaseMB,
    residentMaxMB,
    residentRatio: residentMaxMB / (1.5 * databaseMB + 100),
    snapshotMs: watch.elapsedMs,
    quiet: waits(quiet),
    during: waits(during),
    extraMaxMs: waits(during).maxMs - waits(quiet).maxMs,
  };
}

function waits(values: readonly number[]): Waits {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (fraction: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
  return { writes: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

async function prepare(directory: string): Promise<void> {
  const store = new FileSystemStore(directory);
  const node = await lead(store, NO_SNAPSHOTS);
  await fill(node, DATABASE_BYTES);
  await node.transaction((tx) => tx.exec("CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT)")).durable;
  await node.shutdown();
  // The next leader takes the snapshot from which the measurement opens the database.
  const next = await lead(store, ONE_SNAPSHOT);
  const { snapshot_epoch: before } = next.status().replica;
  while (next.status().replica.snapshot_epoch === before) {
    await next.transaction((tx) => tx.run("INSERT INTO kv VALUES (?, ?)", [crypto.randomUUID(), "value"])).durable;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await next.shutdown();
}

const [, , command = "", directory = ""] = process.argv;
if (command === "prepare") {
  await prepare(directory);
} else {
  const disk = new FileSystemStore(directory);
  process.stdout.write(`${JSON.stringify(await measure(command === "measure" ? disk : splitStore(disk)))}\n`);
}
