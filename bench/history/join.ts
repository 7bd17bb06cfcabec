/**
 * Joining a 256 MiB database with packs of every level after its snapshot, against a plain download of the same bytes.
 * Prints JSON. `join.ts DIRECTORY LATENCY_MS`
 */
import process from "node:process";
import { clusterIn, DATABASE_BYTES, download, median, preparedStore } from "./large-database.ts";
import { type ReadCost, ReadsOf } from "./reads.ts";

export interface JoinResult extends ReadCost {
  readonly databaseBytes: number;
  readonly joinMs: number;
  readonly downloadMs: number;
  /** Of a join's time to the download next to it. */
  readonly ratio: number;
}

const ROUNDS = 5;

const [, , directory = "", latency = "0"] = process.argv;
const store = preparedStore(directory, Number(latency));
const rounds: { joinMs: number; downloadMs: number }[] = [];
let cost: ReadCost | undefined;
let databaseBytes = DATABASE_BYTES;
for (let round = 0; round < ROUNDS; round++) {
  const reads = new ReadsOf(store);
  const beganMs = performance.now();
  const node = await clusterIn(reads.store).joinAsFollower({ address: "127.0.0.1:0" });
  const joinMs = performance.now() - beganMs;
  cost = reads.cost;
  databaseBytes = node.status().db.size;
  const ranges = [...reads.ranges];
  await node.shutdown();
  rounds.push({ joinMs, downloadMs: await download(store, ranges) });
}
const result: JoinResult = {
  ...(cost as ReadCost),
  databaseBytes,
  joinMs: median(rounds.map(({ joinMs }) => joinMs)),
  downloadMs: median(rounds.map(({ downloadMs }) => downloadMs)),
  ratio: median(rounds.map(({ joinMs, downloadMs }) => joinMs / downloadMs)),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
