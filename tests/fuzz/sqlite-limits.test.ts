/**
 * SQLite's own limits through a cluster (https://www.sqlite.org/limits.html): what is just below one becomes durable and
 * arrives everywhere; what is beyond gets SQLite's word for it, and neither the node nor the database is the worse for it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { isClusterError } from "../../src/errors.ts";
import { type ClusterNode, LittleBigCluster, MemoryStore, type SqlParams } from "../../src/mod.ts";
import { QUIET } from "../support/cluster.ts";
import { codeOf } from "../support/errors.ts";

const COLUMNS_MAX = 2000;
const PARAMETERS_MAX = 32_766;
const BLOB_BYTES_MAX = 1_000_000_000;
const EXPRESSION_DEPTH_MAX = 1000;
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
});

/** One transaction of one statement. */
async function write(sql: string, params?: SqlParams): Promise<unknown[][]> {
  const ack = node.transaction((tx) => tx.values(sql, params));
  await ack.durable;
  return ack.value;
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
    const attempt = () => node.transaction((tx) => tx.values(sql)).value;
    expect(codeOf(attempt)).toBe(code);
    expect(attempt).toThrow(message);
    if (sql.startsWith("SELECT")) expect(codeOf(() => node.db.values(sql))).toBe(code);
    expect(node.db.values("SELECT count(*) FROM t")).toEqual([[1]]);
  });

  test("triggers that never end stop at their depth, with nothing of them left", async () => {
    await write("CREATE TRIGGER endless AFTER INSERT ON t BEGIN UPDATE t SET body = new.id; END");
    await write("CREATE TRIGGER more AFTER UPDATE ON t BEGIN INSERT INTO t(body) VALUES (new.id); END");
    // SQLite's default: a trigger does not fire itself, so the ring ends by itself or at the limit.
    const attempt = () => node.transaction((tx) => tx.run("INSERT INTO t(body) VALUES (1)"));
    try {
      await attempt().durable;
    } catch (error) {
      if (!isClusterError(error) || error.code !== "SQLITE_ERROR") throw error;
    }
    await write("DROP TRIGGER endless");
    await write("DROP TRIGGER more");
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
    expect(node.db.values("SELECT id, body FROM t")).toEqual([[1, "kept"]]);
  });
});
