/** A fork: a new cluster with the state of another, which is not touched, and of whose secret it knows nothing. */
import { describe, expect, it } from "vitest";
import { LAST_SNAPSHOT_KEY, snapshotKey, walKey } from "../../src/format/keys.ts";
import { fork } from "../../src/history/fork.ts";
import { FileSystemStore, LittleBigCluster, MemoryStore, type ObjectStore, PrefixStore } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import { bytesOf, createTable, insert, join, lead, namesIn, newStore, QUIET, walEpochs } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { secretState, stateWithOldCopies } from "../support/secret-state.ts";
import { askSqliteCli, sqliteCliVersion } from "../support/sqlite-cli.ts";
import { allObjects, digests, historyParts, keysWith, stateAt } from "../support/sqlite-file.ts";

/** The original: three rows in three epochs, the last of which is not forked. */
async function original(store: ObjectStore): Promise<{ store: ObjectStore; epoch: number; secret: string }> {
  await newStore(store);
  const { node } = await lead(store, { settings: QUIET });
  await createTable(node);
  await insert(node, "one");
  const { epoch } = await insert(node, "two");
  await insert(node, "three");
  await node.shutdown();
  const { secret } = (await stateAt(store, 0)).rows;
  return { store, epoch, secret: secret as string };
}

/** A cluster called `test` like those of the other tests is a fork of one called so here. */
async function originalOf(id: string): Promise<{ store: ObjectStore; secret: string }> {
  const store = await newStore(new MemoryStore(), id);
  return { store, secret: (await stateAt(store)).rows.secret as string };
}

const stores: [string, () => ObjectStore][] = [
  ["memory", () => new MemoryStore()],
  ["file system", () => new FileSystemStore(testDirectory())],
];

const forked = (id: string, store: ObjectStore) => new LittleBigCluster({ id, store, ...QUIET });
const address = "127.0.0.1:0";

describe("a fork", () => {
  it.each(stores)("has the state of its point, rows of its own and nothing else: %s store", async (_, make) => {
    const { store, epoch, secret } = await original(make());
    const before = await digests(store);
    const target = make();
    const result = await fork(historyParts(store), await stateAt(store, epoch), target, { id: "fork" });
    expect(await digests(store), "the original is untouched").toEqual(before);

    expect([...(await allObjects(target)).keys()]).toEqual([LAST_SNAPSHOT_KEY, snapshotKey(0), walKey(0)]);
    expect(result).toEqual({ epoch, bytes: (await bytesOf(target, snapshotKey(0))).length });
    const { rows } = await stateAt(target);
    expect(rows).toMatchObject({ clusterId: "fork", format: 1 });
    expect(rows).toMatchObject({ leader: undefined, chain: undefined, rollback: undefined });
    expect(rows.secret).toMatch(/^[\w-]{43}$/);
    expect(rows.secret).not.toBe(secret);
    expect(Date.parse(rows.lastUpdate as string)).toBeGreaterThan(Date.now() - 60_000);
    for (const text of [secret, secret.slice(0, 10), secret.slice(20, 30), secret.slice(33)])
      expect(await keysWith(target, text)).toEqual([]);

    const leader = await forked("fork", target).joinAsLeader({ address });
    const follower = await forked("fork", target).joinAsFollower({ address });
    try {
      await leader.waitForLeadership();
      expect(namesIn(leader)).toEqual(["one", "two"]);
      const written = await insert(leader, "of the fork");
      await follower.sync({ atLeast: written.epoch });
      expect(namesIn(follower)).toEqual(["of the fork", "one", "two"]);
      expect(follower.db.values("PRAGMA integrity_check")).toEqual([["ok"]]);
    } finally {
      await follower.shutdown();
      await leader.shutdown();
    }
    expect(await digests(store), "the original is untouched").toEqual(before);
    expect(await codeOf(forked("test", target).joinAsFollower({ address }))).toBe("invalid/wrong_cluster");
    const { node } = await join("follower", store, { settings: QUIET });
    expect(namesIn(node)).toEqual(["one", "three", "two"]);
  });

  it.skipIf(sqliteCliVersion === undefined)("opens in stock SQLite, its snapshot and its WAL", async () => {
    const { store, epoch } = await original(new MemoryStore());
    const target = new MemoryStore();
    await fork(historyParts(store), await stateAt(store, epoch), target, { id: "fork" });
    const [snapshot, wal] = [await bytesOf(target, snapshotKey(0)), await bytesOf(target, walKey(0))];
    const sql = "PRAGMA integrity_check; PRAGMA journal_mode; SELECT name FROM items ORDER BY name";
    expect(askSqliteCli(snapshot, undefined, sql)).toBe("ok\nwal\none\ntwo");
    // The WAL has every page: only the first page, which says that there is one, is taken from elsewhere.
    expect(askSqliteCli(snapshot.subarray(0, 4096), wal, sql)).toBe("ok\nwal\none\ntwo");
  });

  it("of a fork, and into a prefix of the original's own store, is possible", async () => {
    const { store, epoch } = await original(new MemoryStore());
    const inside = new PrefixStore(store, "forks/a");
    await fork(historyParts(store), await stateAt(store, epoch), inside, { id: "a" });
    const again = new MemoryStore();
    await fork(historyParts(inside, "a"), await stateAt(inside), again, { id: "test" });
    const { node } = await lead(again, { settings: QUIET });
    expect(namesIn(node)).toEqual(["one", "two"]);
    expect(await codeOf(forked("test", store).init())).toBe("invalid/already_initialized");
    expect((await stateAt(store)).rows.clusterId).toBe("test");
  });

  it("has no older copy of the original's secret, in free space of whatever page", async () => {
    const { led, secret } = await stateWithOldCopies();
    const target = new MemoryStore();
    await fork(historyParts(), led.replica.state, target, { id: "fork" });
    for (let at = 0; at + 8 <= secret.length; at += 4)
      expect(await keysWith(target, secret.slice(at, at + 8))).toEqual([]);
    const node = await forked("fork", target).joinAsFollower({ address });
    expect(node.db.get("SELECT count(*) AS n FROM items")).toEqual({ n: 405 });
    expect(node.db.values("PRAGMA integrity_check")).toEqual([["ok"]]);
    expect(node.db.values("SELECT key FROM _lbc ORDER BY key").flat()).toEqual([
      "cluster_id",
      "format",
      "last_update",
      "secret",
    ]);
    await node.shutdown();
  });

  it("of a cluster without a secret gets one", async () => {
    const { led } = await secretState();
    led.commit({ secret: null, format: null });
    const target = new MemoryStore();
    await fork(historyParts(), led.replica.state, target, { id: "fork" });
    expect((await stateAt(target)).rows).toMatchObject({ format: 1, secret: expect.stringMatching(/^[\w-]{43}$/) });
  });

  it("is complete after it was cut off once its epoch was there, also if answers were lost", async () => {
    const { led } = await secretState();
    const state = led.replica.state;
    for (const key of [snapshotKey(0), LAST_SNAPSHOT_KEY]) {
      const store = new MemoryStore();
      const cut = { kind: "fail_before", error: new Error("power cut") } as const;
      const faults = new FaultyStore(store, {
        onCall: (call) => (call.operation === "put" && call.key === key ? cut : undefined),
      });
      await expect(fork(historyParts(), state, faults, { id: "fork" })).rejects.toThrow("power cut");
      const node = await forked("fork", store).joinAsFollower({ address });
      expect(node.db.get("SELECT count(*) AS n FROM items")).toEqual({ n: 405 });
      await node.shutdown();
      expect([...(await allObjects(store)).keys()]).toEqual([LAST_SNAPSHOT_KEY, snapshotKey(0), walKey(0)]);
    }
    const store = new MemoryStore();
    let lost = 0;
    const faults = new FaultyStore(store, {
      onCall: ({ operation, key }) =>
        operation === "put" && key === walKey(0) && lost++ < 2 ? { kind: "fail_after" } : undefined,
    });
    await fork({ ...historyParts(), settings: { ...historyParts().settings, retryBaseMs: 1 } }, state, faults, {
      id: "fork",
    });
    expect(lost).toBeGreaterThan(1);
    expect((await stateAt(store)).rows.clusterId).toBe("fork");
  });

  it("tells how far it is, and can be given up before anything is written", async () => {
    const { led } = await secretState(5000);
    const { pinCount } = led.image;
    const seen: number[] = [];
    let total = 0;
    const onProgress = (progress: { bytes: number; bytesTotal: number }) => {
      seen.push(progress.bytes);
      total = progress.bytesTotal;
    };
    const events: string[] = [];
    const parts = { ...historyParts(), log: ({ event }: { event: string }) => events.push(event) };
    await fork(parts, led.replica.state, new MemoryStore(), { id: "fork", onProgress });
    expect(events, "nothing had to be made anew").toEqual(["initialized"]);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.length).toBeGreaterThan(8);
    expect(seen.at(-1)).toBe(total);
    const target = new MemoryStore();
    const giveUp = new AbortController();
    const abort = ({ bytes }: { bytes: number }) => {
      if (bytes > 0.3 * total) giveUp.abort(new Error("given up"));
    };
    const options = { id: "fork", onProgress: abort, signal: giveUp.signal };
    await expect(fork(historyParts(), led.replica.state, target, options)).rejects.toThrow("given up");
    expect((await target.list("")).objects).toEqual([]);
    expect(led.image.pinCount, "nothing is held any longer").toBe(pinCount);
  });
});

describe("a fork is refused", () => {
  it("under the original's id", async () => {
    const { led } = await secretState();
    const target = new MemoryStore();
    const error = await failureOf(fork(historyParts(), led.replica.state, target, { id: "test" }));
    expect(error).toMatchObject({ kind: "invalid", code: "same_cluster_id", details: { id: "test" } });
    expect((await target.list("")).objects).toEqual([]);
  });

  it.each(stores)("where there is a cluster, the original or another, on the %s store", async (_, make) => {
    const { store, epoch } = await original(make());
    const other = await newStore(make(), "other");
    const taken = await originalOf("third");
    for (const place of [store, other, taken.store]) {
      const before = await digests(place);
      const error = await failureOf(fork(historyParts(store), await stateAt(store, epoch), place, { id: "fork" }));
      expect(error).toMatchObject({ kind: "invalid", code: "already_initialized", details: { store: place.url } });
      expect(await digests(place)).toEqual(before);
    }
  });

  it("where the history of a cluster was trimmed", async () => {
    const { store, epoch } = await original(new MemoryStore());
    const state = await stateAt(store, epoch);
    await store.deleteMany([walKey(0), snapshotKey(0), LAST_SNAPSHOT_KEY]);
    const before = await digests(store);
    expect(await codeOf(fork(historyParts(), state, store, { id: "fork" }))).toBe("invalid/already_initialized");
    expect(await digests(store)).toEqual(before);
  });

  it.each(stores)("to all but one of those that race for a place on the %s store", async (_, make) => {
    const { led } = await secretState();
    const target = make();
    const ids = ["a", "b", "c", "d"];
    const calls = ids.map((id) => fork(historyParts(), led.replica.state, target, { id }));
    const answers = await Promise.allSettled(calls);
    const won = answers.flatMap(({ status }, index) => (status === "fulfilled" ? [ids[index]] : []));
    expect(won).toHaveLength(1);
    for (const answer of answers) {
      if (answer.status === "rejected") expect(answer.reason).toMatchObject({ code: "already_initialized" });
    }
    expect((await stateAt(target)).rows.clusterId).toBe(won[0]);
    expect(await walEpochs(target)).toEqual([0]);
    expect([...(await allObjects(target)).keys()]).toEqual([LAST_SNAPSHOT_KEY, snapshotKey(0), walKey(0)]);
  });

  it("by a store that is not atomic, and leaves nothing there", async () => {
    const { led } = await secretState();
    const target = new MemoryStore();
    const { put } = target;
    target.put = (key, body, options) => put.call(target, key, body, { ...options, ifAbsent: false });
    expect(await codeOf(fork(historyParts(), led.replica.state, target, { id: "fork" }))).toBe(
      "invalid/store_not_atomic",
    );
    expect((await target.list("")).objects).toEqual([]);
  });

  it("under an id or with a store that no cluster can have", async () => {
    const { led } = await secretState();
    const { state } = led.replica;
    for (const id of ["", "x".repeat(201), 5 as never]) {
      const error = await failureOf(fork(historyParts(), state, new MemoryStore(), { id }));
      expect(error.code).toBe("bad_configuration");
      expect(error.message).toContain("id: ");
    }
    const error = await failureOf(fork(historyParts(), state, { url: "x" } as never, { id: "fork" }));
    expect(error.message).toContain("store: must be an object store");
  });

  it("where a row of the user's holds the original's secret", async () => {
    const { led } = await secretState();
    led.write((tx) => tx.run("INSERT INTO items SELECT 'mine', value FROM _lbc WHERE key = 'secret'"));
    const target = new MemoryStore();
    expect(await codeOf(fork(historyParts(), led.replica.state, target, { id: "fork" }))).toBe(
      "invalid/secret_in_data",
    );
    expect((await target.list("")).objects).toEqual([]);
  });
});
