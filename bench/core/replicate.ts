/** Applying epochs, and joining, against copying and hashing the same bytes. Prints JSON. */
import { createHash } from "node:crypto";
import process from "node:process";
import { LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { systemClock, systemRandom } from "../../src/platform/system.ts";
import { Replica } from "../../src/sqlite/replica.ts";
import { fill, lead, NO_SNAPSHOTS } from "./large.ts";

export interface ReplicateResult {
  readonly applyMBPerSecond: number;
  readonly smallEpochsPerSecond: number;
  readonly databaseMB: number;
  readonly joinMs: number;
  readonly copyAndHashMs: number;
  readonly joinRatio: number;
}

const MB = 1_000_000;
const DATABASE_BYTES = 256 * 1024 * 1024;
const APPLY_BYTES = 128 * 1024 * 1024;
const SMALL_EPOCHS = 2000;

/** The WAL objects of a store in their order. */
async function wals(store: ObjectStore): Promise<Uint8Array[]> {
  const keys: string[] = [];
  for (let after: string | undefined; ; ) {
    const { objects, more } = await store.list(".lbc/", { startAfter: after });
    keys.push(...objects.map(({ key }) => key).filter((key) => key.endsWith(".wal")));
    after = objects.at(-1)?.key;
    if (!more) break;
  }
  const objects = await Promise.all(keys.map((key) => store.get(key)));
  return objects.map((object) => object?.bytes ?? new Uint8Array(0));
}

/** Seconds to verify and apply them, in the best of several runs. */
async function applySeconds(epochs: readonly Uint8Array[], runs: number): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const replica = await Replica.create(systemClock, systemRandom);
    const beganMs = performance.now();
    for (const [epoch, bytes] of epochs.entries()) replica.apply(replica.verify(bytes, `epoch ${epoch}`));
    best = Math.min(best, (performance.now() - beganMs) / 1000);
    replica.close();
  }
  return best;
}

async function apply(): Promise<{ applyMBPerSecond: number; smallEpochsPerSecond: number }> {
  const store = new MemoryStore();
  const node = await lead(store, NO_SNAPSHOTS);
  await fill(node, APPLY_BYTES);
  await node.shutdown();
  const large = await wals(store);
  const smallStore = new MemoryStore();
  const small = await lead(smallStore, NO_SNAPSHOTS);
  await small.transaction((tx) => tx.exec("CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT)")).durable;
  for (let epoch = 0; epoch < SMALL_EPOCHS; epoch++) {
    await small.transaction((tx) => tx.run("INSERT INTO kv VALUES (?, ?)", [`key${epoch}`, "value"])).durable;
  }
  await small.shutdown();
  const bytes = large.reduce((sum, { length }) => sum + length, 0);
  const smallEpochs = await wals(smallStore);
  return {
    applyMBPerSecond: bytes / MB / (await applySeconds(large, 4)),
    smallEpochsPerSecond: smallEpochs.length / (await applySeconds(smallEpochs, 3)),
  };
}

/** One copy of the bytes and one SHA-256 over them, in milliseconds. */
function copyAndHash(bytes: Uint8Array): number {
  const beganMs = performance.now();
  createHash("sha256").update(bytes.slice()).digest();
  return performance.now() - beganMs;
}

async function joins(): Promise<Omit<ReplicateResult, "applyMBPerSecond" | "smallEpochsPerSecond">> {
  const store = new MemoryStore();
  const node = await lead(store, { ...NO_SNAPSHOTS });
  await fill(node, DATABASE_BYTES);
  await node.shutdown();
  // The successor takes the snapshot that the join reads.
  const successor = await lead(store, { walBytesMin: 0, intervalMinMs: 0, epochsMax: 1 });
  const { snapshot_epoch: before } = successor.status().replica;
  while (successor.status().replica.snapshot_epoch === before) {
    await successor.transaction((tx) => tx.run("DELETE FROM large WHERE id = -1")).durable;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const epoch = successor.status().replica.snapshot_epoch;
  await successor.shutdown();
  const snapshot = await store.get(`.lbc/${String(epoch).padStart(20, "0")}.db`);
  if (snapshot === undefined) throw new Error("there is no snapshot");
  const cluster = new LittleBigCluster({ id: "bench", store });
  const rounds: { joinMs: number; copyAndHashMs: number }[] = [];
  for (let round = 0; round < 5; round++) {
    const copyAndHashMs = copyAndHash(snapshot.bytes);
    const beganMs = performance.now();
    const follower = await cluster.joinAsFollower({ address: "127.0.0.1:0" });
    rounds.push({ joinMs: performance.now() - beganMs, copyAndHashMs });
    await follower.shutdown();
  }
  const best = rounds.reduce((a, b) => (a.joinMs / a.copyAndHashMs < b.joinMs / b.copyAndHashMs ? a : b));
  const middle = [...rounds].sort((a, b) => a.joinMs / a.copyAndHashMs - b.joinMs / b.copyAndHashMs)[2] ?? best;
  return { databaseMB: snapshot.bytes.length / MB, ...middle, joinRatio: middle.joinMs / middle.copyAndHashMs };
}

const result: ReplicateResult = { ...(await apply()), ...(await joins()) };
process.stdout.write(`${JSON.stringify(result)}\n`);
