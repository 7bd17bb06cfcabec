/** Snapshots by the leader, in the background (DESIGN §5). */
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join as joinPath } from "node:path";
import { describe, expect, it } from "vitest";
import { LAST_SNAPSHOT_KEY, snapshotKey, walKey } from "../../src/format/keys.ts";
import type { ObjectStore, SnapshotOptions } from "../../src/mod.ts";
import {
  bytesOf,
  createTable,
  FAST,
  imageAt,
  insert,
  isWalPut,
  join,
  lead,
  namesIn,
  newStore,
  QUIET,
} from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { until } from "../support/wait.ts";

const often = (snapshot: SnapshotOptions = {}) => ({
  settings: { ...QUIET, snapshot: { epochsMax: 3, intervalMinMs: 0, ...snapshot } },
});

async function marker(store: ObjectStore): Promise<number> {
  return Number(new TextDecoder().decode(await bytesOf(store, LAST_SNAPSHOT_KEY)));
}

describe("a snapshot", () => {
  it("is taken by policy, marked only when the next epoch is durable, and used by the next join", async () => {
    const store = await newStore();
    const { node } = await lead(store, often());
    await createTable(node);
    const { epoch } = await insert(node, "a");
    expect(epoch, "the third epoch after the first snapshot").toBe(3);
    await until("the snapshot", () => store.head(snapshotKey(3)));
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(await marker(store), "nothing proves it yet").toBe(0);
    await insert(node, "b");
    await until("the marker", async () => (await marker(store)) === 3);
    await until("the status", () => node.status().replica.snapshot_epoch === 3);
    expect(await bytesOf(store, snapshotKey(3)), "identical bytes whoever makes them").toEqual(await imageAt(store, 3));

    await store.deleteMany([0, 1, 2, 3].map(walKey));
    await store.delete(snapshotKey(0));
    const follower = await join("follower", store, { settings: QUIET });
    expect(namesIn(follower.node)).toEqual(["a", "b"]);
    expect(follower.node.status().replica.snapshot_epoch).toBe(3);
  });

  it("opens in any SQLite, alone and with the next WAL beside it (P8)", async ({ skip }) => {
    if (!existsSync("/usr/bin/sqlite3")) skip("there is no sqlite3 program");
    const store = await newStore();
    const { node } = await lead(store, often());
    await createTable(node);
    await insert(node, "a");
    await until("the snapshot", () => store.head(snapshotKey(3)));
    await insert(node, "b");
    const ask = (path: string, sql: string) => execFileSync("sqlite3", [path, sql], { encoding: "utf8" }).trim();
    const path = joinPath(testDirectory(), "x.db");
    writeFileSync(path, await bytesOf(store, snapshotKey(3)));
    expect(ask(path, "PRAGMA integrity_check; SELECT name FROM items;")).toBe("ok\na");
    writeFileSync(path, await bytesOf(store, snapshotKey(3)));
    writeFileSync(`${path}-wal`, await bytesOf(store, walKey(4)));
    expect(ask(path, "PRAGMA integrity_check; SELECT name FROM items;")).toBe("ok\na\nb");
  });

  it("does not hold up writes, and shows the epoch at which it began whatever is written meanwhile", async () => {
    const store = await newStore();
    const { node, faults } = await lead(store, often());
    await createTable(node);
    let isHeld = true;
    const { put } = faults;
    faults.put = async (key, body, options) => {
      if (key === snapshotKey(3)) await until("the writes meanwhile", () => !isHeld);
      return await put.call(faults, key, body, options);
    };
    await insert(node, "a");
    const image = await imageAt(store, 3);
    for (let count = 0; count < 20; count++) await insert(node, `m${count}`, new Uint8Array(5000));
    await node.transaction((tx) => tx.exec("DELETE FROM items")).durable;
    expect(node.status().db.pins).toBeGreaterThan(0);
    isHeld = false;
    await until("the snapshot", () => store.head(snapshotKey(3)));
    expect(await bytesOf(store, snapshotKey(3))).toEqual(image);
    await insert(node, "z");
    await until("no pin is left", () => node.status().db.pins <= 1);
  });

  it("that fails hurts no write, leaks no pin, and is tried again", async () => {
    const store = await newStore();
    const { node, faults, events } = await lead(store, often());
    let failures = 0;
    faults.onCall = ({ operation, key }) =>
      operation === "put" && key.endsWith(".db") && failures++ < 3 ? { kind: "fail_before" } : undefined;
    await createTable(node);
    for (let count = 0; count < 10; count++) await insert(node, `${count}`);
    await until("a snapshot that worked", async () => {
      await insert(node, `${Math.random()}`);
      return (await marker(store)) > 0;
    });
    expect(events.filter(({ event }) => event === "snapshot_failed").length).toBeGreaterThan(0);
    await until("no pin is left", () => node.status().db.pins <= 1);
  });

  it("is not taken more often than allowed", async () => {
    const store = await newStore();
    const { node } = await lead(store, often({ epochsMax: 1, intervalMinMs: 600_000 }));
    await createTable(node);
    for (let count = 0; count < 10; count++) await insert(node, `${count}`);
    const snapshots = (await store.list(".lbc/")).objects.filter(({ key }) => key.endsWith(".db"));
    expect(snapshots.length, "that of epoch 0 and one").toBeLessThanOrEqual(2);
  });

  it("under way at a step-down is given up without a trace, and the next leader goes on", async () => {
    const store = await newStore();
    const first = await lead(store, often());
    await createTable(first.node);
    let isUnderWay = false;
    first.faults.onCall = ({ operation, key }) => {
      if (operation !== "put" || !key.endsWith(".db")) return undefined;
      isUnderWay = true;
      return { kind: "delay", delayMs: 60_000 };
    };
    await insert(first.node, "a");
    await until("the snapshot", () => isUnderWay);
    const pinsDuring = first.node.status().db.pins;
    const second = await join("leader", store, often());
    await first.node.stepDown();
    await second.node.waitForLeadership({ timeoutMs: 10_000 });
    for (const name of ["b", "c", "d", "e"]) await insert(second.node, name);
    await until("the snapshot of the next leader", async () => (await marker(store)) > 0);
    await until("its pin is let go", () => first.node.status().db.pins < pinsDuring);
    expect(await store.head(snapshotKey(3))).toBeUndefined();
  });

  it("is never taken by who does not lead", async () => {
    const store = await newStore();
    const { node } = await lead(store, { settings: FAST });
    await createTable(node);
    const follower = await join("follower", store, often({ epochsMax: 1 }));
    let puts = 0;
    follower.faults.onCall = (call) => {
      if (call.operation === "put" || isWalPut(call)) puts++;
      return undefined;
    };
    const { epoch } = await insert(node, "a");
    await follower.node.sync({ atLeast: epoch });
    expect(puts).toBe(0);
  });
});
