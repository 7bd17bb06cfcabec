/**
 * The library as it is on the runtime that runs this: the same suite passes on
 * Node, Deno and Bun (package.json says how).
 */
import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { LAST_SNAPSHOT_KEY, walKey } from "../../src/format/keys.ts";
import { FileSystemStore, LittleBigCluster, type NodeEnv } from "../../src/mod.ts";
import { failureOf } from "../store/failure.ts";
import { bytesOf, createTable, insert, isWalPut, join, lead, namesIn, passSilence, QUIET } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { settle, until, within } from "../support/wait.ts";

async function newDirectory(): Promise<FileSystemStore> {
  const store = new FileSystemStore(testDirectory());
  await new LittleBigCluster({ id: "test", store }).init();
  return store;
}

const snapshots = { settings: { ...QUIET, snapshot: { epochsMax: 3, intervalMinMs: 0 } } };
const app = new Hono<NodeEnv>().post("/items/:name", async (c) => {
  const body = new Uint8Array(await c.req.arrayBuffer());
  const { epoch } = await insert(c.var.node, c.req.param("name"), body);
  return c.json({ epoch });
});

describe("the library", () => {
  it("is initialised by one of eight at once", async () => {
    const store = new FileSystemStore(testDirectory());
    const cluster = () => new LittleBigCluster({ id: "test", store });
    const answers = await Promise.all(Array.from({ length: 8 }, () => cluster().initIfNeeded()));
    expect(answers.filter(Boolean).length).toBe(1);
    expect((await failureOf(cluster().init())).code).toBe("already_initialized");
  });

  it("joins, writes through the leader, follows, reads at the epoch, and shuts down", async () => {
    const store = await newDirectory();
    const leader = await lead(store, { settings: QUIET, join: { leaderApp: app } });
    await createTable(leader.node);
    const follower = await join("follower", store, { settings: QUIET });
    const body = new Uint8Array(200_000).map((_, index) => index % 251);
    const response = await follower.node.leaderClient.fetch("/items/a", { method: "POST", body });
    const { epoch } = (await response.json()) as { epoch: number };
    await follower.node.sync({ atLeast: epoch });
    const row = follower.node.db.get<{ body: Uint8Array }>("SELECT body FROM items WHERE name = ?", ["a"]);
    expect(row?.body).toEqual(body);
    await insert(leader.node, "b");
    await follower.node.sync("linearizable");
    expect(namesIn(follower.node)).toEqual(["a", "b"]);
    await until("the members", () => leader.node.members.current.length === 2);
    await within("the end", follower.node.shutdown());
    await until("the goodbye", () => leader.node.members.current.length === 1);
    await within("the end", leader.node.shutdown());
  });

  it("fences a superseded leader, which follows on", async () => {
    const store = await newDirectory();
    const first = await lead(store, { settings: QUIET });
    const epoch = await createTable(first.node);
    const second = await join("leader", store, { settings: QUIET });
    await second.node.sync({ atLeast: epoch });
    first.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    const lost = failureOf(insert(first.node, "lost"));
    await settle();
    passSilence(second);
    await second.node.waitForLeadership({ timeoutMs: 10_000 });
    const written = await insert(second.node, "won");
    first.faults.onCall = () => undefined;
    expect((await within("the fenced ack", lost)).kind).toBe("fenced");
    await first.node.sync({ atLeast: written.epoch });
    expect(namesIn(first.node)).toEqual(["won"]);
    await second.node.shutdown();
    await first.node.waitForLeadership({ timeoutMs: 10_000 });
  });

  it("takes snapshots, and joins from one", async () => {
    const store = await newDirectory();
    const { node } = await lead(store, snapshots);
    await createTable(node);
    for (let count = 0; count < 6; count++) await insert(node, `${count}`, new Uint8Array(50_000));
    const marker = async () => Number(new TextDecoder().decode(await bytesOf(store, LAST_SNAPSHOT_KEY)));
    await until("the marker", async () => (await marker()) > 0);
    await store.delete(walKey(0));
    const follower = await join("follower", store, { settings: QUIET });
    expect(namesIn(follower.node)).toEqual(namesIn(node));
    expect(follower.node.status().replica.snapshot_epoch).toBeGreaterThan(0);
  });

  it("keeps rejected transactions from their neighbours", async () => {
    const { node } = await lead(await newDirectory(), { settings: QUIET });
    await createTable(node);
    const before = insert(node, "before");
    expect((await failureOf(() => node.transaction(async () => {}))).code).toBe("async_transaction");
    expect((await failureOf(() => insert(node, "before"))).code).toBe("SQLITE_CONSTRAINT_PRIMARYKEY");
    await Promise.all([before, insert(node, "after")]);
    expect(namesIn(node)).toEqual(["after", "before"]);
  });
});
