/** What a durable write costs above one request to the store, and how many share one. Prints JSON. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import {
  type ClusterNode,
  FileSystemStore,
  LittleBigCluster,
  MemoryStore,
  type ObjectStore,
  PrefixStore,
} from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";

export interface CommitResult {
  /** Median of a lone durable write, and of a bare create of the same bytes on the same store, taken in turn. */
  readonly fileSystem: LoneWrite;
  readonly slow: LoneWrite;
  readonly writers: number;
  readonly writesPerSecond: number;
}

export interface LoneWrite {
  readonly writeMs: number;
  readonly putMs: number;
  readonly ratio: number;
}

const LATENCY_MS = 20;
const WRITERS = 256;
const WRITERS_FOR_MS = 4000;

async function lead(store: ObjectStore): Promise<ClusterNode> {
  // Heartbeats of their own would share the store with what is measured.
  const cluster = new LittleBigCluster({
    id: "bench",
    store,
    requestBudget: "unlimited",
    heartbeatIntervalMs: 300_000,
    sessionTimeoutMs: 600_000,
  });
  await cluster.init();
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  await node.transaction((tx) => tx.exec("CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT)")).durable;
  return node;
}

const UPSERT = "INSERT INTO kv VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v";

/** Times writes and bare creates in turn. */
async function loneWrites(store: ObjectStore, rounds: number): Promise<LoneWrite> {
  const node = await lead(store);
  const bare = new PrefixStore(store, "bare/");
  const writes: number[] = [];
  const puts: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const value = `value ${round}`;
    let beganMs = performance.now();
    const { epoch } = await node.transaction((tx) => tx.run(UPSERT, [`key${round % 100}`, value])).durable;
    writes.push(performance.now() - beganMs);
    const wal = await store.get(`.lbc/${String(epoch).padStart(20, "0")}.wal`);
    if (wal === undefined) throw new Error("the epoch is not in the store");
    beganMs = performance.now();
    await bare.put(`object${round}`, wal.bytes, { ifAbsent: true });
    puts.push(performance.now() - beganMs);
  }
  await node.shutdown();
  const [writeMs, putMs] = [median(writes.slice(rounds / 2)), median(puts.slice(rounds / 2))];
  return { writeMs, putMs, ratio: writeMs / putMs };
}

async function concurrentWrites(store: ObjectStore): Promise<number> {
  const node = await lead(store);
  let done = 0;
  const endMs = performance.now() + WRITERS_FOR_MS;
  const beganMs = performance.now();
  const writer = async (id: number) => {
    for (let round = 0; performance.now() < endMs; round++) {
      await node.transaction((tx) => tx.run(UPSERT, [`writer${id}`, `round ${round}`])).durable;
      done++;
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, (_, id) => writer(id)));
  const seconds = (performance.now() - beganMs) / 1000;
  await node.shutdown();
  return done / seconds;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const directory = await mkdtemp(join(tmpdir(), "lbc-bench-"));
try {
  const fileSystem = await loneWrites(new FileSystemStore(directory), 3000);
  const slow = await loneWrites(new FaultyStore(new MemoryStore(), { latencyMs: LATENCY_MS }), 100);
  const writesPerSecond = await concurrentWrites(new FaultyStore(new MemoryStore(), { latencyMs: LATENCY_MS }));
  const result: CommitResult = { fileSystem, slow, writers: WRITERS, writesPerSecond };
  process.stdout.write(`${JSON.stringify(result)}\n`);
} finally {
  await rm(directory, { recursive: true });
}
