import { describe, expect, test } from "vitest";
import { Connection } from "../../src/sqlite/connection.ts";
import { MemoryFile } from "../../src/sqlite/files.ts";
import type { Reads } from "../../src/sqlite/reader.ts";
import { OPEN_READERS_MAX } from "../../src/sqlite/reader.ts";
import { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { Led, newReplica } from "../support/cluster-database.ts";
import { clusterErrorOf, codeOf } from "../support/errors.ts";

const COUNT = "SELECT count(*) AS n FROM t";

async function counting(rows = 0): Promise<Led> {
  const led = await Led.create("CREATE TABLE t(a)");
  for (let i = 0; i < rows; i++) led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (?)", [i]));
  led.commit();
  return led;
}

const insert = (led: Led): void => {
  led.write((tx) => tx.run("INSERT INTO t VALUES (0)"));
};

test("P4: nobody but the transaction itself sees what is not durable", async () => {
  const led = await counting();
  const { db } = led.replica;
  led.writer.transact((tx) => {
    tx.run("INSERT INTO t VALUES (1)");
    expect(tx.get(COUNT)).toEqual({ n: 1 });
    expect(db.get(COUNT)).toEqual({ n: 0 });
  });
  led.writer.transact((tx) => expect(tx.get(COUNT)).toEqual({ n: 1 }));
  expect(db.get(COUNT)).toEqual({ n: 0 });
  led.commit();
  expect(db.get(COUNT)).toEqual({ n: 1 });
  led.close();
});

test("db.snapshot holds its image while epochs are applied, sync and async", async () => {
  const led = await counting();
  const { db } = led.replica;
  db.snapshot((reads) => {
    insert(led);
    expect([reads.get(COUNT), db.get(COUNT)]).toEqual([{ n: 0 }, { n: 1 }]);
  });
  const value = await db.snapshot(async (reads) => {
    await Promise.resolve();
    insert(led);
    await Promise.resolve();
    expect([reads.get(COUNT), db.get(COUNT)]).toEqual([{ n: 1 }, { n: 2 }]);
    return "value";
  });
  expect(value).toBe("value");
  expect(() =>
    db.snapshot(() => {
      throw new Error("mine");
    }),
  ).toThrow("mine");
  await expect(db.snapshot(async () => Promise.reject(new Error("mine")))).rejects.toThrow("mine");
  insert(led);
  expect(led.image.pinCount).toBe(0);
  led.close();
});

test("an iteration holds its image; ending it early or late lets go", async () => {
  const led = await counting(5);
  const { db } = led.replica;
  let seen = 0;
  for (const _row of db.iterate("SELECT * FROM t")) {
    insert(led);
    seen++;
  }
  expect(seen).toBe(5);
  for (const _row of db.iterate("SELECT * FROM t")) break;
  insert(led);
  expect([db.get(COUNT), led.image.pinCount]).toEqual([{ n: 11 }, 1]);
  insert(led);
  expect(led.image.pinCount).toBe(0);
  led.close();
});

describe("a snapshot's reads after its end", () => {
  test("are refused, and hold no image", async () => {
    const led = await counting();
    const kept: Reads[] = [];
    led.replica.db.snapshot((reads) => kept.push(reads));
    const reads = kept[0] as Reads;
    for (const use of [
      () => reads.get(COUNT),
      () => reads.query(COUNT),
      () => reads.values(COUNT),
      () => [...reads.iterate(COUNT)],
    ]) {
      expect(codeOf(use)).toBe("closed/snapshot_ended");
    }
    insert(led);
    expect(led.image.pinCount).toBe(0);
    led.close();
  });

  test("an iteration left open ends with it: the next snapshot on that reader is not stale", async () => {
    const led = await counting(3);
    const { db } = led.replica;
    const open = db.snapshot((reads) => {
      const rows = reads.iterate("SELECT * FROM t");
      rows.next();
      return rows;
    });
    const unstarted = db.snapshot((reads) => reads.iterate("SELECT * FROM t"));
    insert(led);
    expect(led.image.pinCount).toBe(0);
    expect(db.snapshot((reads) => reads.get(COUNT))).toEqual({ n: 4 });
    expect(codeOf(() => open.next())).toBe("closed/iteration_ended");
    expect(codeOf(() => unstarted.next())).toBe("closed/snapshot_ended");
    led.close();
  });
});

/** Runs `action` while SQLite has no memory for more. */
function withoutMemory(led: Led, action: () => void): void {
  const { context } = led.replica;
  context.vfs.set("/limit", { exists: () => true, open: () => new MemoryFile() });
  const connection = new Connection(context, "/limit", "read");
  connection.exec("PRAGMA hard_heap_limit = 16000000");
  action();
  connection.close();
}

test("a reader that ran out of memory serves the next query and does not stop the next epoch", async () => {
  const led = await counting();
  const { db } = led.replica;
  db.get(COUNT);
  withoutMemory(led, () => {
    const error = clusterErrorOf(() => db.get("SELECT length(randomblob(60000000) || count(*)) FROM t"));
    expect([error.kind, error.code]).toEqual(["overloaded", "SQLITE_NOMEM"]);
  });
  expect(db.get(COUNT)).toEqual({ n: 0 });
  insert(led);
  expect(db.get(COUNT)).toEqual({ n: 1 });
  led.close();
});

test("a snapshot that SQLite gave up is told, never continued on another image", async () => {
  const led = await counting();
  led.replica.db.snapshot((reads) => {
    withoutMemory(led, () =>
      expect(() => reads.get("SELECT length(randomblob(60000000) || count(*)) FROM t")).toThrow(),
    );
    insert(led);
    expect(codeOf(() => reads.get(COUNT))).toBe("unavailable/snapshot_lost");
  });
  led.close();
});

test("another history with the same schema counter: no reader mistakes its tables", async () => {
  const ours = await Led.create(
    "CREATE TABLE a(x); CREATE TABLE b(x); INSERT INTO a VALUES ('a'); INSERT INTO b VALUES ('b')",
  );
  const theirs = await Led.create(
    "CREATE TABLE b(x); CREATE TABLE a(x); INSERT INTO a VALUES ('a'); INSERT INTO b VALUES ('b')",
    2,
  );
  const replica = await newReplica();
  const load = (led: Led): ReplicaState => {
    const state = ReplicaState.empty(replica.system);
    state.apply(state.verify(led.wals[0] as Uint8Array, "epoch 0"));
    return state;
  };
  replica.replace(load(ours));
  const { db } = replica;
  expect(db.values("SELECT x FROM a")).toEqual([["a"]]);
  db.snapshot((reads) => expect(reads.values("SELECT x FROM a")).toEqual([["a"]]));
  db.snapshot((held) => {
    expect(held.values("SELECT x FROM a")).toEqual([["a"]]);
    replica.replace(load(theirs));
    expect(held.values("SELECT x FROM a UNION ALL SELECT x FROM b")).toEqual([["a"], ["b"]]);
    expect(db.values("SELECT x FROM a")).toEqual([["a"]]);
  });
  db.snapshot((reads) => expect(reads.values("SELECT x FROM a")).toEqual([["a"]]));
  for (const each of [ours, theirs, replica]) each.close();
});

test("P10: readers that stay open are bounded, and come back", async () => {
  const led = await counting(2);
  const { db } = led.replica;
  const open = Array.from({ length: OPEN_READERS_MAX }, () => db.iterate("SELECT * FROM t"));
  for (const rows of open) rows.next();
  expect(codeOf(() => db.iterate("SELECT 1").next())).toBe("overloaded/too_many_readers");
  expect(db.get(COUNT)).toEqual({ n: 2 });
  for (const rows of open) rows.return?.();
  insert(led);
  expect(led.image.pinCount).toBe(0);
  expect([...db.iterate("SELECT 1 AS one")]).toEqual([{ one: 1 }]);
  led.close();
});

test("a closed database refuses; what is being read may end", async () => {
  const led = await counting(2);
  const { db } = led.replica;
  const rows = db.iterate("SELECT * FROM t");
  rows.next();
  led.close();
  led.replica.close();
  expect(codeOf(() => db.get(COUNT))).toBe("closed/node_closed");
  expect(codeOf(() => db.snapshot(() => 1))).toBe("closed/node_closed");
  expect(rows.next().done).toBe(false);
  expect(rows.next().done).toBe(true);
  expect(led.image.pinCount).toBe(0);
});

test("a schema change is seen by statements that were prepared before, also SELECT *", async () => {
  const led = await Led.create("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
  const { db } = led.replica;
  const select = "SELECT * FROM t";
  expect([db.query(select), db.values(select), db.get(select)]).toEqual([[{ a: 1 }], [[1]], { a: 1 }]);
  led.write((tx) => {
    expect(tx.query(select)).toEqual([{ a: 1 }]);
    tx.exec("ALTER TABLE t ADD COLUMN b DEFAULT 'two'; ALTER TABLE t RENAME COLUMN a TO c");
    expect(tx.query(select)).toEqual([{ c: 1, b: "two" }]);
  });
  expect([db.query(select), db.values(select), db.get(select)]).toEqual([
    [{ c: 1, b: "two" }],
    [[1, "two"]],
    { c: 1, b: "two" },
  ]);
  expect(() =>
    led.writer.transact((tx) => {
      tx.run("ALTER TABLE t DROP COLUMN b");
      expect(tx.query(select)).toEqual([{ c: 1 }]);
      throw new Error("no");
    }),
  ).toThrow("no");
  led.writer.transact((tx) => expect(tx.query(select)).toEqual([{ c: 1, b: "two" }]));
  led.close();
});
