import { beforeEach, describe, expect, test } from "vitest";
import type { Transaction } from "../../src/sqlite/writer.ts";
import { Led } from "../support/cluster-database.ts";
import { clusterErrorOf, codeOf } from "../support/errors.ts";

let led: Led;

beforeEach(async () => {
  led = await Led.create(`
    CREATE TABLE t(a UNIQUE);
    CREATE TABLE parent(id INTEGER PRIMARY KEY);
    CREATE TABLE child(parent REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
  `);
});

const harms: [string, (tx: Transaction) => unknown, string][] = [
  [
    "throws",
    () => {
      throw new Error("mine");
    },
    "mine",
  ],
  [
    "throws no Error",
    () => {
      throw "text";
    },
    "text",
  ],
  ["is async", async (tx) => tx.run("INSERT INTO t VALUES ('async')"), "synchronous"],
  // biome-ignore lint/suspicious/noThenProperty: that is what is tested
  ["gives a thenable", () => ({ then: () => {} }), "synchronous"],
  ["leaves a deferred foreign key broken", (tx) => tx.run("INSERT INTO child VALUES (77)"), "deferred foreign keys"],
  ["breaks a constraint", (tx) => tx.run("INSERT INTO t VALUES ('before')"), "UNIQUE"],
  ["runs forbidden SQL", (tx) => tx.run("COMMIT"), "not allowed"],
  ["runs bad SQL", (tx) => tx.run("SELEC"), "syntax error"],
  [
    "throws inside an iteration",
    (tx) => {
      for (const _ of tx.iterate("SELECT * FROM t")) throw new Error("inside");
    },
    "inside",
  ],
  [
    "throws with a read left open",
    (tx) => {
      tx.iterate("SELECT * FROM t").next();
      throw new Error("open read");
    },
    "open read",
  ],
  [
    "throws with RETURNING left open",
    (tx) => {
      tx.iterate("INSERT INTO t VALUES (1), (2) RETURNING a").next();
      throw new Error("open write");
    },
    "open write",
  ],
  [
    "throws after a schema change with a read open",
    (tx) => {
      tx.iterate("SELECT * FROM t").next();
      tx.run("CREATE TABLE x(a)");
      throw new Error("schema");
    },
    "schema",
  ],
  [
    "throws within savepoints of its own",
    (tx) => {
      tx.run("SAVEPOINT a");
      tx.run("SAVEPOINT b");
      throw new Error("nested");
    },
    "nested",
  ],
];

describe("a neighbour in the batch", () => {
  test.each(harms)("that %s leaves nothing behind and harms no one", (_name, harm, message) => {
    led.writer.transact((tx) => tx.run("INSERT INTO t VALUES ('before')"));
    const attempt = () =>
      led.writer.transact((tx) => {
        tx.run("INSERT INTO t VALUES ('harm')");
        tx.run("DELETE FROM t WHERE a = 'before'");
        if (message === "UNIQUE") tx.run("INSERT INTO t VALUES ('before')");
        return harm(tx);
      });
    if (message === "text") expect(attempt).toThrow();
    else expect(attempt).toThrow(message);
    led.writer.transact((tx) => tx.run("INSERT INTO t VALUES ('after')"));
    led.commit();
    expect(led.replica.db.values("SELECT a FROM t ORDER BY a")).toEqual([["after"], ["before"]]);
    expect(led.replica.db.values("SELECT name FROM sqlite_schema WHERE name = 'x'")).toEqual([]);
    led.close();
  });

  test("that catches its own failing statement keeps the rest of its work", () => {
    led.writer.transact((tx) => {
      tx.run("INSERT INTO t VALUES (1)");
      expect(() => tx.run("INSERT INTO t VALUES (2), (1)")).toThrow("UNIQUE");
      expect(() => tx.run("COMMIT")).toThrow("not allowed");
      tx.run("INSERT INTO t VALUES (3)");
    });
    led.commit();
    expect(led.replica.db.values("SELECT a FROM t")).toEqual([[1], [3]]);
    led.close();
  });

  test("with a foreign key broken and mended before it ends is fine", () => {
    led.writer.transact((tx) => {
      tx.run("INSERT INTO child VALUES (5)");
      tx.run("INSERT INTO parent VALUES (5)");
    });
    const error = clusterErrorOf(() => led.writer.transact((tx) => tx.run("DELETE FROM parent")));
    expect([error.kind, error.code]).toEqual(["invalid", "SQLITE_CONSTRAINT_FOREIGNKEY"]);
    led.commit();
    expect(led.replica.db.values("SELECT parent FROM child")).toEqual([[5]]);
    expect(led.replica.db.values("PRAGMA foreign_key_check")).toEqual([]);
    led.close();
  });

  test("that leaves savepoints and iterations open at its end is committed, and the next is not affected", () => {
    led.writer.transact((tx) => {
      tx.run("SAVEPOINT mine");
      tx.run("INSERT INTO t VALUES (1)");
      tx.iterate("SELECT * FROM t").next();
      tx.iterate("INSERT INTO t VALUES (2) RETURNING a").next();
    });
    led.writer.transact((tx) => expect(codeOf(() => tx.run("RELEASE mine"))).toBe("invalid/SQLITE_ERROR"));
    led.commit();
    expect(led.replica.db.values("SELECT a FROM t")).toEqual([[1], [2]]);
    led.close();
  });
});

test("a tx that outlives its function does nothing any more", () => {
  let kept: Transaction | undefined;
  const open = led.writer.transact((tx) => {
    kept = tx;
    const [started, unstarted] = [tx.iterate("SELECT 1 UNION SELECT 2"), tx.iterate("SELECT 1")];
    started.next();
    return { started, unstarted };
  });
  const tx = kept as Transaction;
  const uses = [
    () => tx.run("INSERT INTO t VALUES (1)"),
    () => tx.exec("INSERT INTO t VALUES (1)"),
    () => tx.query("SELECT 1"),
    () => tx.get("SELECT 1"),
    () => tx.values("SELECT 1"),
    () => tx.iterate("SELECT 1"),
  ];
  for (const use of uses) expect(codeOf(use)).toBe("closed/transaction_ended");
  expect(codeOf(() => open.unstarted.next())).toBe("closed/transaction_ended");
  expect(codeOf(() => open.started.next())).toBe("closed/iteration_ended");
  led.writer.transact(() => {
    for (const use of uses) expect(codeOf(use)).toBe("closed/transaction_ended");
  });
  led.close();
});

test("inside a transaction the durable database can be read, iterated and held", () => {
  const { db } = led.replica;
  led.writer.transact((tx) => {
    tx.run("INSERT INTO t VALUES (?)", ["pending"]);
    for (const row of tx.iterate<{ a: string }>("SELECT a FROM t WHERE a = ?", ["pending"])) {
      expect(db.query("SELECT * FROM t WHERE a <> ?", ["other"])).toEqual([]);
      expect([...db.iterate("SELECT ? AS x", ["held"])]).toEqual([{ x: "held" }]);
      expect(db.snapshot((reads) => reads.get("SELECT count(*) AS n FROM t"))).toEqual({ n: 0 });
      expect(row).toEqual({ a: "pending" });
    }
  });
  led.close();
});
