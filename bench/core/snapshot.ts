/**
 * Opening a 256 MiB database and taking snapshots of it while writing: resident
 * memory, and how long writes wait. Prints JSON. `prepare DIR` makes the
 * database, `measure DIR` opens it in a fresh process.
 */
import process from "node:process";
import { FileSystemStore, LittleBigCluster } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { fill, lead, NO_SNAPSHOTS } from "./large.ts";

export interface SnapshotResult {
  readonly databaseMB: number;
  readonly residentMaxMB: number;
  readonly residentRatio: number;
  readonly snapshotMs: number;
  readonly quiet: Waits;
  readonly during: Waits;
  /** The longest wait during the snapshot above the longest without it. */
  readonly extraMaxMs: number;
}

export interface Waits {
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const DATABASE_BYTES = 256 * 1024 * 1024;
const MB = 1_000_000;
const QUIET_WRITES = 300;
const [, , command = "", directory = ""] = process.argv;

if (command === "prepare") {
  const node = await lead(new FileSystemStore(directory), NO_SNAPSHOTS);
  await fill(node, DATABASE_BYTES);
  await node.transaction((tx) => tx.exec("CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT)")).durable;
  await node.shutdown();
} else {
  process.stdout.write(`${JSON.stringify(await measure())}\n`);
}

async function measure(): Promise<SnapshotResult> {
  const files = new FileSystemStore(directory);
  // Snapshots take the disk, epochs a store of their own kind of latency: what is measured is our waiting, not the disk's.
  let takeSnapshot = false;
  let uploading = false;
  let snapshotMs = Number.NaN;
  const store = new FaultyStore(files, {
    onCall: () => undefined,
  });
  const put = store.put.bind(store);
  store.put = async (key, body, options) => {
    if (!key.endsWith(".db")) return await put(key, body, options);
    uploading = true;
    const beganMs = performance.now();
    const outcome = await put(key, body, options);
    snapshotMs = performance.now() - beganMs;
    uploading = false;
    takeSnapshot = false;
    return outcome;
  };
  const snapshot = { walBytesMin: 0, databaseFraction: 0, intervalMinMs: 3_600_000, epochsMax: 1 };
  void takeSnapshot;
  const cluster = new LittleBigCluster({ id: "bench", store, requestBudget: "unlimited", snapshot });
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  const write = async () => {
    const beganMs = performance.now();
    await node.transaction((tx) => tx.run("INSERT INTO kv VALUES (?, ?)", [crypto.randomUUID(), "value"])).durable;
    return performance.now() - beganMs;
  };
  const during: number[] = [];
  while (Number.isNaN(snapshotMs)) {
    const ms = await write();
    if (uploading || !Number.isNaN(snapshotMs)) during.push(ms);
  }
  const quiet: number[] = [];
  for (let count = 0; count < QUIET_WRITES; count++) quiet.push(await write());
  const databaseMB = node.status().db.size / MB;
  await node.shutdown();
  const residentMaxMB = (process.resourceUsage().maxRSS * 1024) / MB;
  const [q, d] = [waits(quiet), waits(during)];
  return {
    databaseMB,
    residentMaxMB,
    residentRatio: residentMaxMB / (1.5 * databaseMB + 100),
    snapshotMs,
    quiet: q,
    during: d,
    extraMaxMs: d.maxMs - q.maxMs,
  };
}

function waits(values: readonly number[]): Waits {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (fraction: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
  return { writes: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}
