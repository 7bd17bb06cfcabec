/** Makes databases large enough to measure with. */
import { type ClusterNode, LittleBigCluster, type ObjectStore, type SnapshotOptions } from "../../src/mod.ts";

const ROW_BYTES = 3900;
const ROWS_PER_EPOCH = 4096;

/** Fills the database up to about `bytes`, in epochs of about 16 MiB. */
export async function fill(node: ClusterNode, bytes: number): Promise<void> {
  await node.transaction((tx) => tx.exec("CREATE TABLE large(id INTEGER PRIMARY KEY, body BLOB)")).durable;
  while (node.status().db.size < bytes) {
    const insert = "INSERT INTO large(body) SELECT randomblob(?) FROM generate";
    const generate = "WITH RECURSIVE generate(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM generate WHERE n < ?)";
    await node.transaction((tx) => tx.run(`${generate} ${insert}`, [ROWS_PER_EPOCH, ROW_BYTES])).durable;
  }
}

/** A leader of a new cluster; snapshots only as `snapshot` says. */
export async function lead(store: ObjectStore, snapshot: SnapshotOptions): Promise<ClusterNode> {
  const cluster = new LittleBigCluster({ id: "bench", store, requestBudget: "unlimited", snapshot });
  await cluster.initIfNeeded();
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  return node;
}

/** Takes none by itself. */
export const NO_SNAPSHOTS: SnapshotOptions = { walBytesMin: 2 ** 50, epochsMax: 2 ** 50 };
/** Takes one as soon as it can, then none for an hour. */
export const ONE_SNAPSHOT: SnapshotOptions = {
  walBytesMin: 0,
  databaseFraction: 0,
  epochsMax: 1,
  intervalMinMs: 3_600_000,
};
