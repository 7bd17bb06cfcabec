/**
 * SQLite's own limits through a cluster (https://www.sqlite.org/limits.html): what is just below one becomes durable and
 * arrives everywhere; what is beyond gets SQLite's word for it, and neither the node nor the database is the worse for it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { type ClusterNode, LittleBigCluster, MemoryStore, type SqlParams } from "../../src/mod.ts";
import { QUIET } from "../support/cluster.ts";
import { clusterErrorOf, codeOf } from "../support/errors.ts";

const COLUMNS_MAX = 2000;
const PARAMETERS_MAX = 32_766;
const BLOB_BYTES_MAX = 1_000_000_000;
const EXPRESSION_DEPTH_MAX = 1000;
const TRIGGER_DEPTH_MAX = 1000;
const STATEMENTS = 100_000;

const store = new MemoryStore();
const cluster = new LittleBigCluster({ id: "test", store, ...QUIET });
let node: ClusterNode;

beforeAll(async () => {
  await cluster.init();
  node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership({ timeoutMs: 10_000 });
});

afterAll(() => node.shutdown());

beforeEach(async () => {
  await write("CREATE TABLE t(id INTEGER PRIMARY KEY, body)");
});

/** After whatever happened: the node leads, takes the next transaction, and the database is whole. */
afterEach(async () => {
  const { epoch } = await node.transaction((tx) => tx.run("INSERT INTO t(body) VALUES ('the next')")).durable;
  expect(epoch).toBe(node.epoch.current);
  expect(node.db.values("PRAGMA integrity_check")).toEqual([["ok"]]);
  await write("DROP TABLE t");
  await write("DROP TABLE IF EXISTS links");
});

/** One transaction of one statement. After it, `node.db` shows what was left of those before it. */
async function write(sql: string, params?: SqlParams): Promise<unknown[][]> {
  const ack = node.transaction((tx) => tx.values(sql, params));
  await ack.durable;
  return ack.value;
}

/** Rows of which each goes with the one before it, one level of recursion deeper. */
const LINKS = "CREATE TABLE links(id INTEGER PRIMARY KEY, before REFERENCES links(id) ON DELETE CASCADE)";

/** So many of them. */
async function link(count: number): Promise<void> {
  await write(LINKS);
  const steps = "WITH RECURSIVE steps(s) AS (SELECT 1 UNION ALL SELECT s + 1 FROM steps WHERE s < ?)";
  await write(`${steps} INSERT INTO links SELECT s, nullif(s - 1, 0) FROM steps`, [count]);
}

/**
 * Each row that goes makes the next one, which goes with it. With recursive_triggers off, which nobody may change, no
 * trigger fires within itself; the cascade of a foreign key does.
 */
async function linkWithoutEnd(): Promise<void> {
  await write(LINKS);
  await write("CREATE TRIGGER grows BEFORE DELETE ON links BEGIN INSERT INTO links VALUES (old.id + 1, old.id); END");
  await write("INSERT INTO links VALUES (1, NULL)");
}

function linked(): unknown {
  return node.db.values("SELECT count(*) FROM links")[0]?.[0];
}

function repeated(text: string, count: number, between = ""): string {
  return Array.from({ length: count }, () => text).join(between);
}

test("P1: a blob of 100 MB is durable, and the same on a follower and after a restore", async () => {
  const blob = new Uint8Array(100_000_000);
  for (let at = 0; at < blob.length; at += 4096) blob[at] = (at >>> 12) % 251;
  await write("INSERT INTO t VALUES (1, ?)", [blob]);
  const ask = "SELECT body FROM t WHERE id = 1";
  const isSame = (found: { body: Uint8Array } | undefined) =>
    found !== undefined && Buffer.compare(found.body, blob) === 0;
  expect(isSame(node.db.get(ask))).toBe(true);
  const follower = await cluster.joinAsFollower({ address: "127.0.0.1:0" });
  onTestFinished(() => follower.shutdown());
  await follower.sync({ atLeast: node.epoch.current });
  expect(isSame(follower.db.get(ask))).toBe(true);
  expect(follower.status().replica.state_checksum).toBe(node.status().replica.state_checksum);
  const past = await cluster.openAt(node.epoch.current);
  onTestFinished(() => past.close());
  expect(isSame(past.get(ask))).toBe(true);
});

test(`${STATEMENTS} statements in one transaction are one epoch, all or nothing`, async () => {
  const before = node.epoch.current;
  const insertAll = (fail: boolean) =>
    node.transaction((tx) => {
      for (let id = 1; id <= STATEMENTS; id++) tx.run("INSERT INTO t VALUES (?, ?)", [id, `row ${id}`]);
      if (fail) throw new Error("the author changed his mind");
    });
  expect(() => insertAll(true)).toThrow("the author changed his mind");
  expect(node.db.values("SELECT count(*) FROM t")).toEqual([[0]]);
  expect(await insertAll(false).durable).toEqual({ epoch: before + 1 });
  expect(node.db.values("SELECT count(*), sum(id), max(body) FROM t")).toEqual([
    [STATEMENTS, (STATEMENTS * (STATEMENTS + 1)) / 2, "row 99999"],
  ]);
});

describe("at the limit", () => {
  test(`${COLUMNS_MAX} columns are written and read, by name and by place`, async () => {
    const names = Array.from({ length: COLUMNS_MAX }, (_, index) => `c${index}`);
    await write(`CREATE TABLE wide(${names.join(", ")})`);
    await write(`INSERT INTO wide VALUES (${names.map(() => "?").join(", ")})`, names);
    expect(node.db.values("SELECT * FROM wide")).toEqual([names]);
    expect(node.db.get("SELECT * FROM wide")).toEqual(Object.fromEntries(names.map((name) => [name, name])));
  });

  test(`${PARAMETERS_MAX} parameters are bound`, async () => {
    const values = Array.from({ length: PARAMETERS_MAX }, (_, index) => index);
    const rows = await write(`VALUES ${repeated("(?)", PARAMETERS_MAX, ",")}`, values);
    expect(rows.every(([value], index) => value === index) && rows.length).toBe(PARAMETERS_MAX);
  });

  test("an expression of the greatest depth, and a text of 16 MB in SQL, are evaluated", async () => {
    expect(await write(`SELECT ${repeated("1", EXPRESSION_DEPTH_MAX, "+")}`)).toEqual([[EXPRESSION_DEPTH_MAX]]);
    expect(await write(`SELECT length('${"x".repeat(16_000_000)}')`)).toEqual([[16_000_000]]);
  });

  test(`a cascade of ${TRIGGER_DEPTH_MAX} levels is carried out`, async () => {
    await link(TRIGGER_DEPTH_MAX);
    expect(linked()).toBe(TRIGGER_DEPTH_MAX);
    await write("DELETE FROM links WHERE id = 1");
    expect(linked()).toBe(0);
  });

  test("triggers in a ring end by themselves: none fires within itself", async () => {
    await write("CREATE TRIGGER one AFTER INSERT ON t BEGIN UPDATE t SET body = new.id; END");
    await write("CREATE TRIGGER other AFTER UPDATE ON t BEGIN INSERT INTO t(body) VALUES (new.id); END");
    await write("INSERT INTO t(body) VALUES ('first')");
    const rows = node.db.values("SELECT id, body FROM t");
    await write("DROP TRIGGER one");
    await write("DROP TRIGGER other");
    expect(rows).toEqual([
      [1, 1],
      [2, 1],
    ]);
  });
});

describe("beyond the limit", () => {
  const cases: [string, string, string, RegExp][] = [
    [
      "columns",
      `CREATE TABLE wider(${Array.from({ length: COLUMNS_MAX + 1 }, (_, index) => `c${index}`).join(",")})`,
      "invalid/SQLITE_ERROR",
      /too many columns on wider/,
    ],
    [
      "parameters",
      `VALUES ${repeated("(?)", PARAMETERS_MAX + 1, ",")}`,
      "invalid/SQLITE_ERROR",
      /too many SQL variables/,
    ],
    ["a blob", `INSERT INTO t(body) VALUES (zeroblob(${BLOB_BYTES_MAX + 1}))`, "invalid/SQLITE_TOOBIG", /too big/],
    ["a row", `INSERT INTO t(body) VALUES (zeroblob(${BLOB_BYTES_MAX}))`, "invalid/SQLITE_TOOBIG", /too big/],
    [
      "an expression's depth",
      `SELECT ${repeated("1", 2 * EXPRESSION_DEPTH_MAX, "+")}`,
      "invalid/SQLITE_ERROR",
      /too large/,
    ],
    ["brackets", `SELECT ${"(".repeat(100_000)}1${")".repeat(100_000)}`, "invalid/SQLITE_ERROR", /Recursion limit/],
    ["operators", `SELECT ${"NOT ".repeat(500_000)}1`, "invalid/SQLITE_ERROR", /Recursion limit/],
    ["subqueries", `SELECT ${"(SELECT ".repeat(5000)}1${")".repeat(5000)}`, "invalid/SQLITE_ERROR", /Recursion limit/],
    ["a compound SELECT", repeated("SELECT 1", 501, " UNION ALL "), "invalid/SQLITE_ERROR", /too many terms/],
    ["a pattern", `SELECT 'a' LIKE '${"%a".repeat(30_000)}'`, "invalid/SQLITE_ERROR", /too complex/],
    ["nested JSON", `SELECT json('${"[".repeat(5000)}${"]".repeat(5000)}')`, "invalid/SQLITE_ERROR", /malformed JSON/],
  ];
  test.each(cases)("%s: an error that says so, in a transaction and in a read", async (_what, sql, code, message) => {
    await write("INSERT INTO t(body) VALUES ('before')");
    const attempt = () =>
      node.transaction((tx) => {
        tx.run("INSERT INTO t(body) VALUES ('undone')");
        return tx.values(sql);
      }).value;
    expect(codeOf(attempt)).toBe(code);
    expect(attempt).toThrow(message);
    if (sql.startsWith("SELECT")) expect(codeOf(() => node.db.values(sql))).toBe(code);
    await write("INSERT INTO t(body) VALUES ('after')");
    expect(node.db.values("SELECT body FROM t")).toEqual([["before"], ["after"]]);
  });

  const TOO_DEEP = { kind: "invalid", code: "SQLITE_ERROR", message: /nested too deep/ };

  test(`a cascade of ${TRIGGER_DEPTH_MAX + 1} levels is refused, and every row is still there`, async () => {
    await link(TRIGGER_DEPTH_MAX + 1);
    const attempt = () => node.transaction((tx) => tx.run("DELETE FROM links WHERE id = 1"));
    expect(clusterErrorOf(attempt)).toMatchObject(TOO_DEEP);
    await write("INSERT INTO t VALUES (1, 'after')");
    expect(linked()).toBe(TRIGGER_DEPTH_MAX + 1);
    // Nor could the table be dropped, which deletes its rows first.
    await write("DELETE FROM links WHERE id = 2");
    expect(linked()).toBe(1);
  });

  test("a recursion without end stops at its depth: nothing of its transaction is left, all of its neighbour is", async () => {
    await linkWithoutEnd();
    const before = node.epoch.current;
    const neighbour = node.transaction((tx) => tx.run("INSERT INTO t VALUES (1, 'neighbour')"));
    const attempt = () =>
      node.transaction((tx) => {
        tx.run("INSERT INTO t VALUES (2, 'before it')");
        tx.run("DELETE FROM links WHERE id = 1");
      });
    expect(clusterErrorOf(attempt)).toMatchObject(TOO_DEEP);
    expect(await neighbour.durable).toEqual({ epoch: before + 1 });
    expect(node.db.values("SELECT id, body FROM t")).toEqual([[1, "neighbour"]]);
    expect(node.db.values("SELECT id, before FROM links")).toEqual([[1, null]]);
  });

  // SQLite can undo a statement by itself only where it foresees that it may fail. Of one that inserts into a table with
  // foreign keys it does; of nothing but deletions it does not, and what a cascade too deep has deleted stays deleted for
  // a transaction that goes on (3.40 and 3.54, natively too).
  test("a transaction that goes on after a recursion of insertions has nothing of it, and keeps the rest", async () => {
    await linkWithoutEnd();
    const ack = node.transaction((tx) => {
      tx.run("INSERT INTO t VALUES (1, 'before it')");
      expect(clusterErrorOf(() => tx.run("DELETE FROM links WHERE id = 1"))).toMatchObject(TOO_DEEP);
      tx.run("INSERT INTO t VALUES (2, 'after it')");
      return tx.values("SELECT id, before FROM links");
    });
    await ack.durable;
    expect(ack.value).toEqual([[1, null]]);
    expect(node.db.values("SELECT id, body FROM t")).toEqual([
      [1, "before it"],
      [2, "after it"],
    ]);
    expect(node.db.values("SELECT id, before FROM links")).toEqual([[1, null]]);
  });

  // About 2 GiB, which is what SQLite's memory can grow to.
  test("P1, P10: a transaction that SQLite has no memory for is refused with its neighbours, and nothing of them is left", async () => {
    await write("INSERT INTO t VALUES (1, 'kept')");
    const neighbour = node.transaction((tx) => tx.run("INSERT INTO t VALUES (2, 'neighbour')"));
    const refused = neighbour.durable.catch((error: unknown) => error);
    const fill = () =>
      node.transaction((tx) => {
        for (let id = 10; id < 40; id++) tx.run("INSERT INTO t VALUES (?, zeroblob(100000000))", [id]);
      });
    expect(codeOf(fill)).toBe("overloaded/SQLITE_NOMEM");
    expect(await refused).toMatchObject({
      kind: "unavailable",
      code: "batch_lost",
      message: /out of memory.*nothing of it was written/,
    });
    await write("INSERT INTO t VALUES (3, 'after')");
    expect(node.db.values("SELECT id, body FROM t")).toEqual([
      [1, "kept"],
      [3, "after"],
    ]);
  });
});
