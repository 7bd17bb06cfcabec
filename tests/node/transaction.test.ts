/** A transaction must not be able to hurt its neighbours in the batch (docs/architecture.md §3). */
import process from "node:process";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ClusterNode, Transaction } from "../../src/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import { createTable, insert, lead, namesIn, newStore, QUIET } from "../support/cluster.ts";
import { settle } from "../support/wait.ts";

const quiet = { settings: QUIET };

async function leaderNode(): Promise<ClusterNode> {
  const { node } = await lead(await newStore(), quiet);
  await createTable(node);
  await node.transaction((tx) => {
    tx.exec(`
      CREATE TABLE parents (id INTEGER PRIMARY KEY);
      CREATE TABLE children (parent INTEGER REFERENCES parents(id) DEFERRABLE INITIALLY DEFERRED);
    `);
  }).durable;
  return node;
}

const add = (tx: Transaction, name: string) => tx.run("INSERT INTO items(name) VALUES (?)", [name]);

const TROUBLE: readonly (readonly [string, (tx: Transaction, node: ClusterNode) => unknown, string])[] = [
  ["is async", async (tx) => add(tx, "bad"), "invalid/async_transaction"],
  [
    "is async and goes on later",
    async (tx) => {
      await Promise.resolve();
      add(tx, "bad");
    },
    "invalid/async_transaction",
  ],
  ["breaks a constraint", (tx) => [add(tx, "bad"), add(tx, "bad")], "invalid/SQLITE_CONSTRAINT_PRIMARYKEY"],
  [
    "leaves deferred foreign keys broken",
    (tx) => tx.run("INSERT INTO children VALUES (7)"),
    "invalid/SQLITE_CONSTRAINT_FOREIGNKEY",
  ],
  ["runs COMMIT", (tx) => tx.exec("COMMIT"), "invalid/forbidden_sql"],
  ["runs ROLLBACK", (tx) => tx.exec("ROLLBACK"), "invalid/forbidden_sql"],
  ["runs VACUUM", (tx) => tx.exec("VACUUM"), "invalid/SQLITE_ERROR"],
  ["attaches", (tx) => tx.exec("ATTACH ':memory:' AS other"), "invalid/forbidden_sql"],
  ["changes the journal mode", (tx) => tx.query("PRAGMA journal_mode = DELETE"), "invalid/forbidden_sql"],
  [
    "writes to the system table",
    (tx) => tx.run("UPDATE _lbc SET value = 'x' WHERE key = 'leader'"),
    "invalid/forbidden_sql",
  ],
  [
    "rolls everything back",
    (tx) => tx.run("INSERT OR ROLLBACK INTO items(name) VALUES ('a'), ('a')"),
    "invalid/forbidden_sql",
  ],
  [
    "begins another transaction",
    (_, node) => node.transaction((inner) => add(inner, "bad")),
    "invalid/nested_transaction",
  ],
];

describe("a transaction function that", () => {
  it.each(TROUBLE)("%s leaves its neighbours unharmed", async (_, fn, expected) => {
    const node = await leaderNode();
    const before = insert(node, "before");
    const failed = codeOf(() =>
      node.transaction((tx) => {
        add(tx, "half");
        return fn(tx, node);
      }),
    );
    const after = insert(node, "after");
    expect(await failed).toBe(expected);
    expect((await before).epoch).toBe((await after).epoch);
    expect(namesIn(node)).toEqual(["after", "before"]);
  });

  it("throws gets its own error back, and leaves its neighbours unharmed", async () => {
    const node = await leaderNode();
    const own = new Error("own");
    const before = insert(node, "before");
    expect(() =>
      node.transaction((tx) => {
        add(tx, "half");
        throw own;
      }),
    ).toThrow(own);
    await Promise.all([before, insert(node, "after")]);
    expect(namesIn(node)).toEqual(["after", "before"]);
  });

  it("keeps tx for later finds it dead", async () => {
    const node = await leaderNode();
    let kept: Transaction | undefined;
    await node.transaction((tx) => {
      kept = tx;
    }).durable;
    expect(await codeOf(() => kept?.run("INSERT INTO items(name) VALUES ('late')"))).toBe("closed/transaction_ended");
    expect(await codeOf(() => kept?.exec("DELETE FROM items"))).toBe("closed/transaction_ended");
  });
});

describe("an ack", () => {
  it("gives what the function returned at once, and the epoch when it is durable", async () => {
    const node = await leaderNode();
    const epoch = node.epoch.current;
    const ack = node.transaction((tx) => [add(tx, "a").changes, tx.get("SELECT name FROM items")]);
    expect(ack.value).toEqual([1, { name: "a" }]);
    expect(namesIn(node), "nobody but the transaction sees it yet (P4)").toEqual([]);
    expect(await ack.durable).toEqual({ epoch: epoch + 1 });
    expect(namesIn(node)).toEqual(["a"]);
  });

  it("that nobody looks at raises no unhandled rejection", async () => {
    const seen: unknown[] = [];
    const note = (reason: unknown) => seen.push(reason);
    process.on("unhandledRejection", note);
    onTestFinished(() => void process.off("unhandledRejection", note));
    const store = await newStore();
    const { node, faults } = await lead(store, { settings: { ...QUIET, shutdownTimeoutMs: 50 } });
    await createTable(node);
    faults.onCall = () => ({ kind: "fail_before" });
    insert(node, "sealed");
    await settle();
    insert(node, "open");
    node.barrier();
    void node.transaction(() => {}).durable;
    node.stepDown().catch(() => {});
    await node.shutdown();
    await settle(100);
    expect(seen).toEqual([]);
  });

  it("tells the leader of a refused transaction to who asked the wrong node", async () => {
    const store = await newStore();
    const { node } = await lead(store, quiet);
    const { join } = await import("../support/cluster.ts");
    const follower = await join("follower", store, quiet);
    const error = await failureOf(() => follower.node.transaction(() => {}));
    expect(error).toMatchObject({
      kind: "not_leader",
      details: { leader: { uuid: node.uuid, address: node.address } },
    });
  });
});
