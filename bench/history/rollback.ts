/**
 * Rolling back 10 000 changed pages of a 256 MiB database, against writing them and opening the state of then. Prints JSON.
 * `rollback.ts DIRECTORY`
 */
import process from "node:process";
import { type ClusterNode, FileSystemStore, LittleBigCluster } from "../../src/mod.ts";
import { median } from "./large-database.ts";
import { LoopGaps } from "./loop-gaps.ts";

export interface RollbackResult {
  readonly pages: number;
  /** From the call until it is durable: the first of the process, and the median. */
  readonly firstMs: number;
  readonly rollbackMs: number;
  /** The longest that the event loop stood still meanwhile, and in the write of the same pages. */
  readonly blockedMs: number;
  readonly writeBlockedMs: number;
  readonly writeMs: number;
  readonly openAtMs: number;
  readonly ratio: number;
}

const PAGES = 10_000;
const BODY_BYTES = 3900;
const ROUNDS = 5;

interface Round {
  readonly rollbackMs: number;
  readonly blockedMs: number;
  readonly writeMs: number;
  readonly writeBlockedMs: number;
  readonly openAtMs: number;
  readonly pages: number;
}

async function measure(cluster: LittleBigCluster, node: ClusterNode): Promise<Round> {
  const gaps = new LoopGaps();
  const { current: before } = node.epoch;
  await settle();
  gaps.take();
  let beganMs = performance.now();
  // A row fills a page: every sixth of them.
  const update = "UPDATE large SET body = randomblob(?) WHERE id % 6 = 1 AND id <= 6 * ?";
  const { durable } = node.transaction((tx) => tx.run(update, [BODY_BYTES, PAGES]));
  await durable;
  const writeMs = performance.now() - beganMs;
  const writeBlockedMs = gaps.take();
  await settle();
  gaps.take();
  beganMs = performance.now();
  const { pages } = await node.rollback(before);
  const rollbackMs = performance.now() - beganMs;
  const blockedMs = gaps.take();
  gaps.stop();
  await settle();
  beganMs = performance.now();
  const past = await cluster.openAt(before);
  const openAtMs = performance.now() - beganMs;
  past.close();
  return { rollbackMs, blockedMs, writeMs, writeBlockedMs, openAtMs, pages };
}

/** What the last step left to do is done meanwhile. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 500));
}

const cluster = new LittleBigCluster({
  id: "bench",
  store: new FileSystemStore(process.argv[2] ?? ""),
  // What a snapshot costs is another figure's.
  snapshot: { walBytesMin: 2 ** 50, objectsMax: 2 ** 50, epochsMax: 2 ** 50 },
});
const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
await node.waitForLeadership();
const rounds: Round[] = [];
for (let round = 0; round < ROUNDS; round++) rounds.push(await measure(cluster, node));
await node.shutdown();
const [first] = rounds as [Round];
const result: RollbackResult = {
  pages: first.pages,
  firstMs: first.rollbackMs,
  rollbackMs: median(rounds.map(({ rollbackMs }) => rollbackMs)),
  blockedMs: Math.max(...rounds.map(({ blockedMs }) => blockedMs)),
  writeBlockedMs: Math.max(...rounds.map(({ writeBlockedMs }) => writeBlockedMs)),
  writeMs: median(rounds.map(({ writeMs }) => writeMs)),
  openAtMs: median(rounds.map(({ openAtMs }) => openAtMs)),
  ratio: median(rounds.map(({ rollbackMs, openAtMs, writeMs }) => rollbackMs / (openAtMs + writeMs))),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
