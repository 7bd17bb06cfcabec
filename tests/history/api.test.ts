/** Points in time as a user asks for them: of a cluster, and of a node that goes on meanwhile. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { LittleBigCluster, MemoryStore, type RowChange } from "../../src/mod.ts";
import { createTable, insert, join, lead, namesIn, newStore, QUIET } from "../support/cluster.ts";
import { codeOf, expectError } from "../support/errors.ts";

async function world() {
  const store = await newStore();
  const leader = await lead(store, { settings: QUIET });
  await createTable(leader.node);
  const { epoch: first } = await insert(leader.node, "a");
  const { epoch: second } = await insert(leader.node, "b");
  const { epoch: third } = await leader.node.transaction((tx) => tx.run("DELETE FROM items WHERE name = 'a'")).durable;
  return { store, leader, cluster: new LittleBigCluster({ id: "test", store }), first, second, third };
}

describe("a database as of a point", () => {
  it("is read with the same queries, on a leader and a follower, while they go on", async () => {
    const { store, leader, first, second } = await world();
    const { node: follower } = await join("follower", store, { settings: QUIET });
    for (const node of [leader.node, follower]) {
      const past = await node.db.at(first);
      expect(past.query("SELECT name FROM items")).toEqual([{ name: "a" }]);
      expect(past.get("SELECT name FROM items")).toEqual({ name: "a" });
      expect(past.values("SELECT name, 1 FROM items")).toEqual([["a", 1]]);
      expect([...past.iterate("SELECT name FROM items")]).toEqual([{ name: "a" }]);
      expect(past.columns("SELECT name, 1 AS one FROM items")).toEqual(["name", "one"]);
      expect(past.snapshot((reads) => reads.get("SELECT count(*) AS n FROM items"))).toEqual({ n: 1 });
      expect(past.epoch).toBe(first);
      expect(past.lastUpdate).toMatch(/^\d{4}-/);
      expect(codeOf(() => past.query("DELETE FROM items"))).toBe("invalid/read_only");
      await insert(leader.node, `c ${node.uuid}`);
      expect(past.query("SELECT name FROM items")).toEqual([{ name: "a" }]);
      past.close();
      past.close();
      expect(codeOf(() => past.query("SELECT 1"))).toBe("closed/node_closed");
    }
    expect(namesIn(leader.node)).toContain("b");
    const later = await leader.node.db.at(second);
    expect(later.query("SELECT count(*) AS n FROM items")).toEqual([{ n: 2 }]);
    // It outlives the node that it was asked of; a node that has ended opens no other.
    await leader.node.shutdown();
    expect(later.query("SELECT count(*) AS n FROM items")).toEqual([{ n: 2 }]);
    later.close();
    await expectError(() => leader.node.db.at(second), "closed", "node_closed");
    await expectError(() => leader.node.rollback(second), "closed", "node_closed");
  });

  it("by a time is that of the newest epoch not later than it", async () => {
    const { cluster, leader, second } = await world();
    const records = new Map<number, string>();
    for await (const { epoch, time } of cluster.history()) records.set(epoch, time ?? "");
    const time = records.get(second) as string;
    const newestThen = Math.max(...[...records].filter(([, at]) => at <= time).map(([epoch]) => epoch));
    const past = await cluster.openAt(time);
    expect(past.epoch).toBe(newestThen);
    past.close();
    const now = await cluster.openAt("now");
    expect(now.epoch).toBe(leader.node.epoch.current);
    now.close();
    expect(records.size).toBe(leader.node.epoch.current + 1);
  });

  it.each([
    ["in the future", 1_000_000, "point_in_future"],
    ["a time in the future", "2999-01-01T00:00:00Z", "point_in_future"],
    ["a time before the first epoch", "2001-01-01T00:00:00Z", "point_before_history"],
    ["no point at all", "last tuesday", "bad_point"],
    ["not a number", Number.NaN, "bad_point"],
    ["below zero", -1, "bad_point"],
    ["a fraction", 1.5, "bad_point"],
    ["a time without a zone", "2026-11-20T12:00:00", "bad_point"],
    ["an invalid date", new Date(Number.NaN), "bad_point"],
  ])("%s is refused with what would work", async (_name, point, code) => {
    const { cluster, leader } = await world();
    for (const call of [
      () => cluster.openAt(point),
      () => leader.node.db.at(point),
      () => leader.node.rollback(point),
      () => cluster.export(point, "/nonexistent/never.db"),
      () => cluster.fork(point, new MemoryStore(), { id: "other" }),
    ]) {
      const error = await expectError(call, "invalid", code);
      expect(error.message.length).toBeGreaterThan(30);
    }
    expect(namesIn(leader.node)).toEqual(["b"]);
  });

  it("where there is no cluster", async () => {
    const cluster = new LittleBigCluster({ id: "test", store: new MemoryStore() });
    await expectError(() => cluster.openAt(0), "invalid", "not_initialized");
    await expectError(() => cluster.extent(), "invalid", "not_initialized");
    await expectError(() => cluster.verify(), "invalid", "not_initialized");
  });
});

describe("with nothing but the store", () => {
  it("rows that differ between two points are told", async () => {
    const { cluster, leader, first, third } = await world();
    for (const source of [cluster, leader.node]) {
      const changes: RowChange[] = [];
      for await (const change of source.diff(first, third)) changes.push(change);
      expect(changes.map(({ table, kind, before, after }) => [table, kind, before?.["name"], after?.["name"]])).toEqual(
        [
          ["items", "deleted", "a", undefined],
          ["items", "inserted", undefined, "b"],
        ],
      );
    }
  });

  it("a point is exported, imported elsewhere, and forked", async () => {
    const { cluster, leader, second } = await world();
    const directory = await mkdtemp(joinPath(tmpdir(), "lbc-"));
    onTestFinished(() => rm(directory, { recursive: true }));
    const file = joinPath(directory, "then.db");
    expect(await cluster.export(second, file)).toMatchObject({ epoch: second });

    const importedStore = new MemoryStore();
    await new LittleBigCluster({ id: "test", store: importedStore }).init({ from: file });
    const { node: imported } = await lead(importedStore, { settings: QUIET });
    expect(namesIn(imported)).toEqual(["a", "b"]);

    const forkStore = new MemoryStore();
    expect(await cluster.fork(second, forkStore, { id: "fork" })).toMatchObject({ epoch: second });
    const past = await new LittleBigCluster({ id: "fork", store: forkStore }).openAt(0);
    expect(past.query("SELECT count(*) AS n FROM items")).toEqual([{ n: 2 }]);
    past.close();
    expect(namesIn(leader.node)).toEqual(["b"]);
  });
});
