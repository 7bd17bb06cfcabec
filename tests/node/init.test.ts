/** Making a cluster (DESIGN §2): epoch 0 is the commit point, everything else can be made up for. */
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join as joinPath } from "node:path";
import { describe, expect, it } from "vitest";
import { LAST_SNAPSHOT_KEY, snapshotKey, walKey } from "../../src/format/keys.ts";
import { FileSystemStore, LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import { createTable, FAST, insert, join, lead, namesIn, newStore, QUIET, walEpochs } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { forgeEpochAfter, forgeFirstEpoch } from "../support/forge.ts";

const cluster = (store: ObjectStore, id = "test") => new LittleBigCluster({ id, store, ...FAST });

/** A port on which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Leads a cluster, writes, and reads it back on a follower that joins anew. */
async function expectWorking(store: ObjectStore): Promise<void> {
  const { node } = await lead(store, { settings: QUIET });
  await createTable(node);
  const { epoch } = await insert(node, "works");
  const follower = await join("follower", store, { settings: QUIET });
  await follower.node.sync({ atLeast: epoch });
  expect(namesIn(follower.node)).toEqual(["works"]);
}

describe("init", () => {
  it("is refused a second time, and by another id, and leaves no probes behind", async () => {
    const store = new MemoryStore();
    expect(await cluster(store).isInitialized()).toBe(false);
    await cluster(store).init();
    expect(await codeOf(cluster(store).init())).toBe("invalid/already_initialized");
    expect(await codeOf(cluster(store, "other").init())).toBe("invalid/already_initialized");
    expect(await cluster(store).initIfNeeded()).toBe(false);
    expect(await cluster(store).isInitialized()).toBe(true);
    const keys = (await store.list(".lbc/")).objects.map(({ key }) => key);
    expect(keys).toEqual([LAST_SNAPSHOT_KEY, snapshotKey(0), walKey(0)].sort());
  });

  it.each([
    ["memory", () => new MemoryStore()],
    ["file system", () => new FileSystemStore(testDirectory())],
  ])("of eight at once on the %s store is done by exactly one", async (_, make) => {
    const store = make();
    const answers = await Promise.all(Array.from({ length: 8 }, () => cluster(store).initIfNeeded()));
    expect(answers.filter(Boolean).length).toBe(1);
    expect(await walEpochs(store)).toEqual([0]);
    await expectWorking(store);
  });

  it("that stopped after any of its calls is completed by the next init and join", async () => {
    // Calls 3 to 33 race on the probe; a few of them stand for all.
    for (let last = 1, isDone = false; !isDone; last += last > 3 && last < 31 ? 9 : 1) {
      const store = new MemoryStore();
      const faults = new FaultyStore(store, {
        onCall: ({ number }) => (number > last ? { kind: "fail_before", error: new Error("power cut") } : undefined),
      });
      isDone = await cluster(faults)
        .initIfNeeded()
        .catch(() => false);
      await cluster(store).initIfNeeded();
      expect(await cluster(store).isInitialized()).toBe(true);
      await expectWorking(store);
      const keys = (await store.list(".lbc/")).objects.map(({ key }) => key);
      expect(keys, `stopped after call ${last}`).toEqual(expect.arrayContaining([LAST_SNAPSHOT_KEY, snapshotKey(0)]));
    }
  });

  it("whose calls all take effect though their answers are lost makes one cluster", async () => {
    const store = new MemoryStore();
    const lost = new Set<string>();
    const faults = new FaultyStore(store, {
      onCall: ({ operation, key }) => {
        if (operation !== "put" || !key.endsWith(".wal") || lost.size > 2) return undefined;
        lost.add(`${lost.size}`);
        return { kind: "fail_after" };
      },
    });
    expect(await cluster(faults).initIfNeeded()).toBe(true);
    expect(lost.size).toBeGreaterThan(0);
    expect(await walEpochs(store)).toEqual([0]);
    await expectWorking(store);
  });

  it("refuses a store whose create is not atomic", async () => {
    const store = new MemoryStore();
    const { put } = store;
    store.put = (key, body, options) => put.call(store, key, body, { ...options, ifAbsent: false });
    const error = await failureOf(cluster(store).init());
    expect(error).toMatchObject({ kind: "invalid", code: "store_not_atomic" });
    expect(error.message).toContain("32 of 32");
    expect((await store.list("")).objects, "nothing is left").toEqual([]);
  });

  it("refuses a store that says it created what it did not keep", async () => {
    const store = new MemoryStore();
    const { put } = store;
    store.put = async (key, body, options) => {
      const outcome = await put.call(store, key, body, options);
      if (outcome === "created") await put.call(store, key, new Uint8Array(3));
      return outcome;
    };
    expect(await codeOf(cluster(store).init())).toBe("invalid/store_not_atomic");
  });

  it("does not put a new epoch 0 below the history of a cluster that was trimmed", async () => {
    const store = await newStore();
    const { node } = await lead(store, { settings: QUIET });
    await createTable(node);
    await node.shutdown();
    await store.deleteMany([walKey(0), walKey(1), snapshotKey(0)]);
    expect(await codeOf(cluster(store).init())).toBe("invalid/already_initialized");
    expect(await walEpochs(store)).toEqual([2, 3]);
  });

  it("does not take its epoch 0 back because of a listing that lacks the epoch after it", async () => {
    const store = new MemoryStore();
    const { list, put } = store;
    let isOver = false;
    store.put = async (key, ...rest) => {
      const outcome = await put.call(store, key, ...rest);
      if (key !== walKey(0) || isOver) return outcome;
      isOver = true;
      const { node } = await lead(store, { settings: QUIET });
      await createTable(node);
      return outcome;
    };
    store.list = async (prefix, options) => {
      const page = await list.call(store, prefix, options);
      // Created while the listing was made.
      return { ...page, objects: page.objects.filter(({ key }) => key !== walKey(1) || !isOver) };
    };
    await cluster(store).init();
    expect((await walEpochs(store)).includes(0)).toBe(true);
  });
});

describe("a place where there is no such cluster", () => {
  const joinOf = (store: ObjectStore, id = "test") => cluster(store, id).joinAsFollower({ address: "127.0.0.1:0" });
  const s3 = (endpoint: string) =>
    new S3Store({
      bucket: "bucket",
      endpoint,
      region: "us-east-1",
      credentials: { accessKeyId: "key-id-of-the-test", secretAccessKey: "secret-of-the-test" },
    });

  it("is told as such, on join and on every store", async () => {
    expect(await codeOf(joinOf(new MemoryStore()))).toBe("invalid/not_initialized");
    expect(await codeOf(joinOf(new FileSystemStore(joinPath(testDirectory(), "none"))))).toBe(
      "invalid/not_initialized",
    );
  });

  it("is told as such where the directory is a file", async () => {
    const path = joinPath(testDirectory(), "file");
    writeFileSync(path, "hello");
    for (const call of [() => joinOf(new FileSystemStore(path)), () => cluster(new FileSystemStore(path)).init()])
      expect((await failureOf(call)).kind).toBe("invalid");
  });

  it("is told unavailable where nobody listens, without the secret", async () => {
    const port = await closedPort();
    const store = s3(`http://127.0.0.1:${port}`);
    for (const call of [() => joinOf(store), () => cluster(store).init(), () => cluster(store).isInitialized()]) {
      const error = await failureOf(call);
      expect(error.kind).toBe("unavailable");
      expect(decodeURIComponent(error.message)).toContain(`127.0.0.1:${port}`);
      expect(JSON.stringify(error) + error.stack).not.toContain("secret-of-the-test");
    }
  });

  it("is told as another cluster's", async () => {
    const error = await failureOf(joinOf(await newStore(), "other"));
    expect(error).toMatchObject({
      kind: "invalid",
      code: "wrong_cluster",
      details: { expected: "other", found: "test" },
    });
  });

  it("is told as one of an unknown format, on join and by a node that runs", async () => {
    const store = new MemoryStore();
    await store.put(walKey(0), await forgeFirstEpoch({ cluster_id: "test", format: 99 }));
    expect(await failureOf(joinOf(store))).toMatchObject({
      kind: "invalid",
      code: "unknown_format",
      details: { object: walKey(0), found: 99 },
    });

    const other = await newStore();
    const follower = await join("follower", other, { settings: QUIET });
    await other.put(walKey(1), await forgeEpochAfter(other, 0, { format: 99 }));
    const { until } = await import("../support/wait.ts");
    await until("the trouble in the status", () => follower.node.status().replica.trouble?.includes("format 99"));
    expect(follower.node.epoch.current).toBe(0);
    expect(await failureOf(joinOf(other))).toMatchObject({ code: "unknown_format", details: { object: walKey(1) } });
  });
});
