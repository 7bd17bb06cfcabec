/** Nothing is taken on trust (P7): what is damaged in the bucket is never applied, and named. */
import { describe, expect, it } from "vitest";
import { LAST_SNAPSHOT_KEY, packKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { failureOf } from "../store/failure.ts";
import {
  bytesOf,
  createTable,
  FAST,
  flip,
  insert,
  join,
  lead,
  namesIn,
  newStore,
  putMarker,
  putSnapshot,
  QUIET,
  UNREACHABLE,
  walEpochs,
} from "../support/cluster.ts";
import { settle, until } from "../support/wait.ts";

const quiet = { settings: QUIET };

const joinAnew = (store: ObjectStore) =>
  new LittleBigCluster({ id: "test", store, ...FAST }).joinAsFollower({ address: "127.0.0.1:0" });

/** A cluster at rest: epochs 0 to 7 with the rows `a` to `d`, snapshots of 3 and 5. */
async function history(id = "test"): Promise<ObjectStore> {
  const store = await newStore(new MemoryStore(), id);
  const { node } = await lead(store, { settings: { ...QUIET, id } });
  await createTable(node);
  for (const name of ["a", "b", "c", "d"]) await insert(node, name);
  await node.shutdown();
  for (const epoch of [3, 5]) await putSnapshot(store, epoch);
  return store;
}

async function copyOf(store: ObjectStore): Promise<MemoryStore> {
  const copy = new MemoryStore();
  for (const { key } of (await store.list("")).objects) await copy.put(key, await bytesOf(store, key));
  return copy;
}

describe("a join", () => {
  it("never uses a WAL that is truncated or flipped anywhere, and names it", async () => {
    const whole = await history();
    const { length } = await bytesOf(whole, walKey(6));
    const offsets = Array.from({ length: 24 }, (_, index) => Math.floor((index * (length - 1)) / 23));
    for (const offset of offsets) {
      const flipped = await copyOf(whole);
      await flip(flipped, walKey(6), offset);
      const truncated = await copyOf(whole);
      await truncated.put(walKey(6), (await bytesOf(whole, walKey(6))).subarray(0, offset));
      for (const store of [flipped, truncated]) {
        const error = await failureOf(joinAnew(store));
        expect(error.kind, `byte ${offset}`).toBe("corrupt");
        expect(error.details).toMatchObject({ object: walKey(6) });
        expect(error.message).toContain(walKey(6));
      }
    }
  });

  it("falls back to an older base when the snapshot is truncated or flipped anywhere", async () => {
    const whole = await history();
    const snapshot = await bytesOf(whole, snapshotKey(5));
    const text = new TextDecoder("latin1").decode(snapshot);
    const rows = ["test", "cluster_id", "format", "secret", "chain", '"uuid"'].map((part) => text.lastIndexOf(part));
    const offsets = [
      0,
      17,
      24,
      28,
      100,
      4096,
      8192,
      snapshot.length - 1,
      ...rows,
      (rows[2] as number) + "format".length,
    ];
    for (const offset of offsets) {
      const store = await copyOf(whole);
      await flip(store, snapshotKey(5), offset);
      const { node, events } = await join("follower", store, quiet);
      expect(namesIn(node), `byte ${offset}`).toEqual(["a", "b", "c", "d"]);
      const refused = events.filter(({ event }) => event === "restore_refused").flatMap(({ objects }) => objects);
      expect(refused, `byte ${offset}`).toContain(snapshotKey(5));
      expect(node.status().replica.snapshot_epoch).toBe(3);
      await node.shutdown();
    }
    for (const length of [0, 1, 4095, 4096, snapshot.length - 4096, snapshot.length - 1]) {
      const store = await copyOf(whole);
      await store.put(snapshotKey(5), snapshot.subarray(0, length));
      const { node } = await join("follower", store, quiet);
      expect(namesIn(node), `cut to ${length}`).toEqual(["a", "b", "c", "d"]);
      await node.shutdown();
    }
  });

  it("names the damaged snapshot where there is no other base", async () => {
    const store = await history();
    await store.deleteMany([0, 1, 2, 3, 4].flatMap((epoch) => [walKey(epoch), snapshotKey(epoch)]));
    expect(namesIn((await join("follower", store, quiet)).node)).toEqual(["a", "b", "c", "d"]);
    await flip(store, snapshotKey(5), 5000);
    const error = await failureOf(joinAnew(store));
    expect(error).toMatchObject({ kind: "corrupt", details: { object: snapshotKey(5) } });
    for (const name of ["where", "expected", "found"]) expect(error.details).toHaveProperty(name);
  });

  it("never uses another cluster's WAL, nor another epoch's, nor another cluster's snapshot", async () => {
    const foreign = await history("other");
    const store = await history();
    await store.put(walKey(6), await bytesOf(foreign, walKey(6)));
    const error = await failureOf(joinAnew(store));
    expect(["wrong_cluster", "diverged", "snapshot_corrupt"]).toContain(error.code);

    const swapped = await history();
    await swapped.put(walKey(6), await bytesOf(swapped, walKey(4)));
    expect((await failureOf(joinAnew(swapped))).kind).toBe("corrupt");

    const snapshot = await history();
    await snapshot.put(snapshotKey(5), await bytesOf(foreign, snapshotKey(5)));
    const { node } = await join("follower", snapshot, quiet);
    expect(namesIn(node)).toEqual(["a", "b", "c", "d"]);
    expect(node.status().replica.snapshot_epoch).toBe(3);
  });

  it("ignores garbage keys among ours", async () => {
    const store = await history();
    const garbage = ["", "x", "00000000000000000009", "0000000000000000009.wal", "00000000000000000009.wal.tmp", "zzz"];
    for (const name of [...garbage, "99999999999999999999.wal", "00000000000000000009.WAL", "-1.wal"])
      if (name !== "") await store.put(`.lbc/${name}`, new Uint8Array([1, 2, 3]));
    await store.put("lbc", new Uint8Array(1));
    const { node } = await join("leader", store, quiet);
    expect(namesIn(node)).toEqual(["a", "b", "c", "d"]);
    await node.waitForLeadership({ timeoutMs: 10_000 });
    await insert(node, "e");
  });

  it.each([
    ["missing", undefined],
    ["garbage", "hello"],
    ["empty", ""],
    ["binary", "\0\u0001\ufffd"],
    ["pointing to something gone", "00000000000000000004"],
    ["pointing beyond the end", "00000000000000000700"],
    ["pointing to what is no epoch", "99999999999999999999"],
    ["pointing to an older snapshot", "00000000000000000003"],
  ])("does not need the marker: %s", async (_, text) => {
    const store = await history();
    if (text === undefined) await store.delete(LAST_SNAPSHOT_KEY);
    else await putMarker(store, text);
    const { node } = await join("follower", store, quiet);
    expect(namesIn(node)).toEqual(["a", "b", "c", "d"]);
  });

  it("starts over when objects go away under it, and fails with a reason when there is no way", async () => {
    const store = await history();
    await store.delete(walKey(6));
    expect(await failureOf(joinAnew(store))).toMatchObject({ kind: "corrupt", code: "history_incomplete" });
  });
});

describe("a running follower", () => {
  it("keeps its state when the next epoch is damaged, says so in its status, and goes on when it is repaired", async () => {
    const store = await newStore();
    const { node } = await lead(store, { ...quiet, join: UNREACHABLE });
    await createTable(node);
    const { epoch } = await insert(node, "good");
    const follower = await join("follower", store, quiet);
    const next = walKey(epoch + 1);
    follower.faults.onCall = ({ key }) => (key === next ? { kind: "fail_before" } : undefined);
    await insert(node, "next");
    const bytes = await bytesOf(store, next);
    await flip(store, next, 4000);
    follower.faults.onCall = () => undefined;

    await until("the trouble", () => follower.node.status().replica.trouble?.includes(next));
    await settle(50);
    expect(follower.node.epoch.current).toBe(epoch);
    expect(namesIn(follower.node)).toEqual(["good"]);
    await store.put(next, bytes);
    await follower.node.sync({ atLeast: epoch + 1 });
    expect(namesIn(follower.node)).toEqual(["good", "next"]);
    await until("the end of the trouble", () => follower.node.status().replica.trouble === null);
  });

  it("goes on over a pack when an epoch stays damaged", async () => {
    const store = await newStore();
    const { node } = await lead(store, { ...quiet, join: UNREACHABLE });
    await createTable(node);
    const follower = await join("follower", store, quiet);
    const next = walKey(follower.node.epoch.current + 5);
    follower.faults.onCall = ({ key }) => (key === next ? { kind: "fail_before" } : undefined);
    for (let row = 0; node.epoch.current < 70; row++) await insert(node, `row ${row}`);
    await until("the pack", async () => (await store.head(packKey(0, 64))) !== undefined);
    await flip(store, next, 4000);
    follower.faults.onCall = () => undefined;
    await until("the other way", () => follower.node.epoch.current === node.epoch.current);
    expect(namesIn(follower.node)).toEqual(namesIn(node));
    expect(follower.events.some(({ event }) => event === "bootstrapping_again")).toBe(true);
    await until("the end of the trouble", () => follower.node.status().replica.trouble === null);
  });

  it("does not hammer the store meanwhile", async () => {
    const store = await newStore();
    const follower = await join("follower", store, { settings: { ...QUIET, retryMaxMs: 5000 } });
    let calls = 0;
    follower.faults.onCall = () => {
      calls++;
      return undefined;
    };
    await store.put(walKey(1), new Uint8Array(5000));
    await until("the trouble", () => follower.node.status().replica.trouble !== null);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(calls, "doubling from 5 ms").toBeLessThan(25);
  });

  it("takes nothing of another cluster", async () => {
    const store = await newStore();
    const foreign = await newStore(new MemoryStore(), "other");
    const { node } = await lead(foreign, { settings: { ...QUIET, id: "other" } });
    await createTable(node);
    const follower = await join("follower", store, quiet);
    await store.put(walKey(1), await bytesOf(foreign, walKey(1)));
    await until("the trouble", () => follower.node.status().replica.trouble?.includes("belongs to cluster other"));
    await settle(50);
    expect(follower.node.epoch.current).toBe(0);
    expect(await walEpochs(store)).toEqual([0, 1]);
  });
});
