import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../src/format/wal.ts";
import { CHUNK_BYTES, DurableImage } from "../../src/sqlite/image.ts";
import { BatchLostError, Writer } from "../../src/sqlite/writer.ts";
import { bytesOf, Led, newReplica } from "../support/cluster-database.ts";
import { codeOf } from "../support/errors.ts";
import { askSqliteCli, makeWithSqliteCli, sqliteCliVersion } from "../support/sqlite-cli.ts";

const FEATURES = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, name TEXT UNIQUE, size AS (length(name)) STORED);
  CREATE TABLE child(parent REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED, body BLOB, note JSON);
  CREATE TABLE log(what);
  CREATE TRIGGER on_child AFTER INSERT ON child BEGIN INSERT INTO log VALUES ('child of ' || NEW.parent); END;
  CREATE VIEW names AS SELECT name, size FROM parent;
  CREATE VIRTUAL TABLE words USING fts5(text);
  CREATE VIRTUAL TABLE places USING rtree(id, x0, x1, y0, y1);
`;

/** Epochs that use a bit of everything. */
async function eventful(): Promise<Led> {
  const led = await Led.create(FEATURES);
  led.write((tx) => {
    for (let i = 1; i <= 200; i++) tx.run("INSERT INTO parent(id, name) VALUES (?, ?)", [i, `name ${i}`]);
    tx.run("INSERT INTO child VALUES (1, zeroblob(300000), json_object('a', 1))");
    tx.run("INSERT INTO words VALUES ('the quick brown fox'), ('lazy dog')");
    tx.run("INSERT INTO places VALUES (1, 0, 1, 0, 1), (2, 5, 6, 5, 6)");
  });
  led.write((tx) => tx.run("DELETE FROM parent WHERE id > 50"));
  led.write((tx) => tx.exec("CREATE INDEX by_size ON parent(size); DROP TABLE log; DROP TRIGGER on_child"));
  led.write((tx) => tx.run("UPDATE child SET body = randomblob(500000)"));
  return led;
}

test("FTS5, R-tree, triggers, views, generated columns and JSON work, and are read from the durable image", async () => {
  const led = await eventful();
  const { db } = led.replica;
  expect(db.values("SELECT name, size FROM names ORDER BY size DESC, name LIMIT 1")).toEqual([["name 10", 7]]);
  expect(db.values("SELECT rowid FROM words('fox')")).toEqual([[1]]);
  expect(db.values("SELECT id FROM places WHERE x0 > 2")).toEqual([[2]]);
  expect(db.get("SELECT note ->> 'a' AS a, length(body) AS size FROM child")).toEqual({ a: 1, size: 500_000 });
  expect(db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
  led.close();
});

test("P2: replicas fed with the WALs hold byte-identical databases and the same checksum", async () => {
  const led = await eventful();
  for (const seed of [7, 8]) {
    const follower = await newReplica(seed);
    for (const [epoch, wal] of led.wals.entries()) follower.apply(follower.verify(wal, `epoch ${epoch}`));
    expect(Buffer.compare(bytesOf(follower.state.image), bytesOf(led.image))).toBe(0);
    expect(follower.state.image.stateChecksum).toBe(led.image.stateChecksum);
    expect(follower.epoch).toBe(led.replica.epoch);
    // A checksum made from the bytes alone is the same.
    const file = bytesOf(led.image);
    const chunks = Array.from({ length: Math.ceil(file.length / CHUNK_BYTES) }, (_, i) =>
      file.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
    );
    expect(DurableImage.adopt(chunks, file.length / PAGE_BYTES).stateChecksum).toBe(led.image.stateChecksum);
    follower.close();
  }
  led.close();
});

test("what is sealed but not durable can be written on, and settles to the same bytes", async () => {
  const led = await Led.create("CREATE TABLE t(a)");
  led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (1)"));
  const sealed = led.seal();
  led.writer.transact((tx) => tx.run("INSERT INTO t SELECT count(*) + 10 FROM t"));
  expect(led.replica.db.values("SELECT a FROM t")).toEqual([]);
  led.settle(sealed);
  expect(led.replica.db.values("SELECT a FROM t")).toEqual([[1]]);
  led.commit({ chain: null });
  expect(led.replica.db.values("SELECT a FROM t")).toEqual([[1], [11]]);
  led.close();
});

test("what is sealed but not durable is read back by the writer, also when its cache is too small for the database", async () => {
  const led = await Led.create("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  led.write((tx) => {
    for (let i = 1; i <= 6_000; i++) tx.run("INSERT INTO t VALUES (?, ?)", [i, `${i} ${"x".repeat(3_500)}`]);
  });
  led.writer.transact((tx) => tx.run("UPDATE t SET b = 'sealed' WHERE a IN (1, 3000, 6000)"));
  const sealed = led.seal();
  led.writer.rewind();
  const read = "SELECT b FROM t WHERE a IN (1, 3000, 6000)";
  const expected = [["sealed"], ["sealed"], ["sealed"]];
  led.writer.transact((tx) => {
    for (let round = 0; round < 2; round++) tx.get("SELECT sum(length(b)) FROM t");
    expect(tx.values(read)).toEqual(expected);
  });
  led.settle(sealed);
  expect(led.replica.db.values(read)).toEqual(expected);
  led.close();
});

test("P3: dropping the writer drops what is pending and sealed, and the next one starts from what is durable", async () => {
  const led = await Led.create("CREATE TABLE t(a)");
  const before = bytesOf(led.image);
  led.writer.transact((tx) => tx.exec("INSERT INTO t VALUES (1); CREATE TABLE u(b)"));
  led.seal();
  led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (2)"));
  led.dropPending();
  expect(Buffer.compare(bytesOf(led.image), before)).toBe(0);
  led.write((tx) => {
    expect(tx.values("SELECT * FROM t")).toEqual([]);
    tx.exec("CREATE TABLE u(c); INSERT INTO u VALUES (3)");
  });
  expect(led.replica.db.values("SELECT c FROM u")).toEqual([[3]]);
  expect(led.replica.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
  led.close();
});

test("a transaction of megabytes that throws leaves nothing, its neighbours stay", async () => {
  const led = await Led.create("CREATE TABLE t(a, b)");
  led.writer.transact((tx) => {
    for (let i = 0; i < 500; i++) tx.run("INSERT INTO t VALUES (?, randomblob(2000))", [i]);
  });
  expect(() =>
    led.writer.transact((tx) => {
      tx.run("UPDATE t SET b = randomblob(3000)");
      tx.run("SAVEPOINT inner_one");
      tx.run("DELETE FROM t WHERE a % 2");
      tx.run("ROLLBACK TO inner_one");
      expect(tx.get("SELECT count(*) AS n FROM t")).toEqual({ n: 500 });
      tx.run("DELETE FROM t");
      throw new Error("no");
    }),
  ).toThrow("no");
  led.commit();
  expect(led.replica.db.get("SELECT count(*) AS n, sum(length(b)) AS size FROM t")).toEqual({
    n: 500,
    size: 1_000_000,
  });
  expect(led.replica.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
  led.close();
});

test("P10: only what transactions bind counts as pending, not what readers bind meanwhile, nor what was rolled back", async () => {
  const led = await Led.create("CREATE TABLE t(a)");
  led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (?)", ["x".repeat(1_000)]));
  const pending = led.writer.pendingBytes;
  for (let i = 0; i < 100; i++) led.replica.db.get("SELECT ? AS x", ["y".repeat(1_000)]);
  expect(led.writer.pendingBytes).toBe(pending);
  expect(pending).toBe(1_000);
  expect(() =>
    led.writer.transact((tx) => {
      tx.run("INSERT INTO t VALUES (?)", ["z".repeat(5_000)]);
      throw new Error("no");
    }),
  ).toThrow("no");
  expect(led.writer.pendingBytes).toBe(pending);
  led.commit();
  led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (1)"));
  expect(led.writer.pendingBytes).toBe(0);
  led.close();
});

test("a foreign key on the system table cannot keep a row of it from being removed", async () => {
  const led = await Led.create("CREATE TABLE t(a REFERENCES _lbc(key))");
  led.commit({ leader: JSON.stringify({ uuid: "u", az: "a", address: "h:1" }) });
  led.write((tx) => tx.run("INSERT INTO t VALUES ('leader')"));
  led.commit({ leader: null });
  expect(led.replica.db.get("SELECT count(*) AS n FROM _lbc WHERE key = 'leader'")).toEqual({ n: 0 });
  expect(codeOf(() => led.writer.transact((tx) => tx.run("INSERT INTO t VALUES ('nothing')")))).toBe(
    "invalid/SQLITE_CONSTRAINT_FOREIGNKEY",
  );
  led.close();
});

test("P6: when SQLite itself rolls everything back, the loss of the batch is told", async () => {
  const led = await Led.create("CREATE TABLE t(a UNIQUE)");
  led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (1)"));
  // Text that our check of conflict clauses takes for a string.
  const sql = "WITH x AS (SELECT $a(')) INSERT OR ROLLBACK INTO t SELECT coalesce($b('), 1)";
  expect(() => led.writer.transact((tx) => tx.run(sql, { "a(')": 1, "b(')": 1 }))).toThrow(BatchLostError);
  led.dropPending();
  led.write((tx) => tx.run("INSERT INTO t VALUES (2)"));
  expect(led.replica.db.values("SELECT a FROM t")).toEqual([[2]]);
  led.close();
});

describe.skipIf(sqliteCliVersion === undefined)("P8: in stock SQLite", () => {
  test("every epoch's image opens, and with the next WAL beside it is the next epoch", async () => {
    const led = await Led.create(FEATURES);
    for (let i = 1; i <= 4; i++) {
      led.writer.transact((tx) => {
        for (let row = 0; row < 50; row++) tx.run("INSERT INTO parent(name) VALUES (?)", [`${i} ${row}`]);
        tx.run("INSERT INTO words SELECT name FROM parent");
      });
      const before = bytesOf(led.image);
      const wal = led.seal();
      const sql = "SELECT count(*) FROM parent; PRAGMA integrity_check";
      expect(askSqliteCli(before, undefined, sql)).toBe(`${50 * (i - 1)}\nok`);
      expect(askSqliteCli(before, wal, sql)).toBe(`${50 * i}\nok`);
      led.settle(wal);
    }
    led.close();
  });

  test("a database that shrinks: pages are cut off in image, followers and pins alike", async () => {
    const script =
      "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; CREATE TABLE _lbc (key TEXT PRIMARY KEY, value ANY); INSERT INTO _lbc VALUES('cluster_id','test'); CREATE TABLE t(a);";
    const file = makeWithSqliteCli(script, (path) => readFileSync(path));
    // As SQLite leaves a database that was once in WAL mode.
    const wal = Uint8Array.from(file);
    wal.set([2, 2], 18);
    const replica = await newReplica();
    const image = DurableImage.adopt([wal], wal.length / PAGE_BYTES);
    const writer = Writer.open(replica.context, image);
    const epoch = (sql: string): void => {
      writer.transact((tx) => tx.exec(sql));
      writer.seal({ last_update: sql });
      writer.settle();
    };
    epoch(
      "INSERT INTO t SELECT randomblob(3000) FROM generate_series(1, 300)".replace(
        "generate_series(1, 300)",
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT i FROM n)",
      ),
    );
    const large = image.pageCount;
    const pin = image.pin();
    const copy = bytesOf(image);
    epoch("DELETE FROM t; PRAGMA incremental_vacuum;");
    expect(image.pageCount).toBeLessThan(large / 10);
    expect(askSqliteCli(bytesOf(image), undefined, "SELECT count(*) FROM t; PRAGMA integrity_check")).toBe("0\nok");
    epoch("INSERT INTO t VALUES (zeroblob(100000))");
    expect(askSqliteCli(bytesOf(image), undefined, "SELECT sum(length(a)) FROM t; PRAGMA integrity_check")).toBe(
      "100000\nok",
    );
    expect(Buffer.compare(pin.copy(0, pin.byteLength), copy)).toBe(0);
    pin.release();
    writer.close();
    replica.close();
  });
});
