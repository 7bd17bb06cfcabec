/** A whole small cluster on a real S3 server (Ceph RGW). */
import { describe, expect, it } from "vitest";
import { snapshotKey } from "../../src/format/keys.ts";
import { LittleBigCluster } from "../../src/mod.ts";
import { failureOf } from "../store/failure.ts";
import { newBucket, requireRgw, rgw, s3Store } from "../store/s3.ts";
import { createTable, FAST, insert, isWalPut, join, lead, namesIn, walEpochs } from "../support/cluster.ts";
import { until } from "../support/wait.ts";

const settings = {
  ...FAST,
  heartbeatIntervalMs: 200,
  sessionTimeoutMs: 2000,
  requestBudget: "unlimited",
  snapshot: { epochsMax: 5, intervalMinMs: 0 },
} as const;

describe.skipIf(rgw === undefined)("a cluster on a real S3 server", () => {
  it("is initialised by one of four, writes, follows, snapshots, fails over and fences", async () => {
    const store = s3Store(await newBucket());
    const clusters = Array.from({ length: 4 }, () => new LittleBigCluster({ id: "test", store, ...settings }));
    const answers = await Promise.all(clusters.map((cluster) => cluster.initIfNeeded()));
    expect(answers.filter(Boolean).length).toBe(1);

    const first = await lead(store, { settings });
    await createTable(first.node);
    const follower = await join("follower", store, { settings });
    const second = await join("leader", store, { settings });
    const acks = await Promise.all(Array.from({ length: 50 }, (_, index) => insert(first.node, `w${index}`)));
    const newest = Math.max(...acks.map(({ epoch }) => epoch));
    await follower.node.sync({ atLeast: newest });
    expect(namesIn(follower.node).length).toBe(50);
    await insert(first.node, "large", new Uint8Array(6 * 1024 * 1024));
    await until("a snapshot", () => first.node.status().replica.snapshot_epoch > 0);
    expect(await store.head(snapshotKey(first.node.status().replica.snapshot_epoch))).toBeDefined();

    first.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    const lost = failureOf(insert(first.node, "lost"));
    await second.node.waitForLeadership({ timeoutMs: 15_000 });
    const { epoch } = await insert(second.node, "after");
    first.faults.onCall = () => undefined;
    expect((await lost).kind).toBe("fenced");
    for (const { node } of [first, follower]) {
      await node.sync({ atLeast: epoch });
      expect(namesIn(node).length).toBe(52);
    }
    const epochs = await walEpochs(store);
    expect(epochs).toEqual(epochs.map((_, index) => index));
  });

  it("tells of a bucket that is not there, not allowed, or empty", async () => {
    const codes = async (store: ReturnType<typeof s3Store>) => {
      const cluster = new LittleBigCluster({ id: "test", store, ...settings });
      return [
        await failureOf(() => cluster.init()),
        await failureOf(() => cluster.joinAsFollower({ address: "127.0.0.1:0" })),
      ];
    };
    const { credentials } = requireRgw();
    const bucket = await newBucket();
    for (const error of await codes(s3Store("test-no-such-bucket"))) {
      expect(error.kind).toBe("invalid");
      expect(error.message).toContain("test-no-such-bucket");
    }
    const denied = s3Store(bucket, { credentials: { ...credentials, secretAccessKey: "wrong-secret-key" } });
    for (const error of await codes(denied)) {
      expect(error.kind).toBe("invalid");
      expect(error.message + JSON.stringify(error)).not.toContain("wrong-secret-key");
    }
    const empty = new LittleBigCluster({ id: "test", store: s3Store(bucket), ...settings });
    expect((await failureOf(() => empty.joinAsFollower({ address: "127.0.0.1:0" }))).code).toBe("not_initialized");
  });
});
