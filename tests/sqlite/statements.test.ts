import { afterAll, beforeAll, expect, test } from "vitest";
import { CACHED_STATEMENTS_MAX, Connection } from "../../src/sqlite/connection.ts";
import { MemoryFile } from "../../src/sqlite/files.ts";
import { Statement } from "../../src/sqlite/statement.ts";
import { Led } from "../support/cluster-database.ts";
import { clusterErrorOf, codeOf } from "../support/errors.ts";

let led: Led;

beforeAll(async () => {
  led = await Led.create("CREATE TABLE t(a INTEGER PRIMARY KEY, b UNIQUE NOT NULL CHECK (b <> 'bad'))");
});

afterAll(() => led.close());

function openConnection(): Connection {
  const { context } = led.replica;
  context.vfs.set("/statements", { exists: () => true, open: () => new MemoryFile() });
  return new Connection(context, "/statements", "read");
}

test("columns with one name are all there in arrays; of objects the last counts", () => {
  const { db } = led.replica;
  expect(db.values("SELECT 1 AS a, 2 AS a, 3 AS b")).toEqual([[1, 2, 3]]);
  expect(db.query("SELECT 1 AS a, 2 AS a, 3 AS b")).toEqual([{ a: 2, b: 3 }]);
});

test("a column named __proto__ is a column and changes nothing else", () => {
  const row = led.replica.db.get('SELECT 1 AS "__proto__", 2 AS b') as object;
  expect(Object.getOwnPropertyDescriptor(row, "__proto__")?.value).toBe(1);
  expect(Object.keys(row)).toEqual(["__proto__", "b"]);
  expect(({} as Record<string, unknown>)["b"]).toBeUndefined();
});

test("RETURNING gives rows, and get of one writes them all", () => {
  led.writer.transact((tx) => {
    expect(tx.query("INSERT INTO t(b) VALUES ('x'), ('y') RETURNING b")).toEqual([{ b: "x" }, { b: "y" }]);
    expect(tx.get("INSERT INTO t(b) VALUES ('p'), ('q') RETURNING b")).toEqual({ b: "p" });
    expect(tx.get("SELECT count(*) AS n FROM t")).toEqual({ n: 4 });
    const rows = tx.iterate("DELETE FROM t RETURNING b");
    rows.next();
  });
  led.writer.transact((tx) => expect(tx.get("SELECT count(*) AS n FROM t")).toEqual({ n: 0 }));
});

test("run tells the changes of its own statement, none for others, and the rowid", () => {
  led.writer.transact((tx) => {
    expect(tx.run("INSERT INTO t VALUES (7, 'x'), (8, 'y')")).toEqual({ changes: 2, lastInsertRowid: 8 });
    expect(tx.run("CREATE TABLE other(a)").changes).toBe(0);
    expect(tx.run("SELECT 1").changes).toBe(0);
    expect(tx.run("UPDATE t SET a = a WHERE a > 100").changes).toBe(0);
    expect(tx.run("DELETE FROM t WHERE a = 7").changes).toBe(1);
    expect(tx.run("INSERT INTO t VALUES (9223372036854775807, 'z')").lastInsertRowid).toBe(9223372036854775807n);
    tx.run("DELETE FROM t");
    tx.run("DROP TABLE other");
  });
});

test("errors carry SQLite's primary and extended codes and the SQL, never the row", () => {
  const errorOf = (sql: string, params: readonly string[] = []) =>
    clusterErrorOf(() => led.writer.transact((tx) => tx.run(sql, params)));
  led.writer.transact((tx) => tx.run("INSERT INTO t VALUES (1, 'secret')"));
  const unique = errorOf("INSERT INTO t(b) VALUES (?)", ["secret"]);
  expect([unique.kind, unique.code]).toEqual(["invalid", "SQLITE_CONSTRAINT_UNIQUE"]);
  expect(unique.details).toEqual({
    primary: "SQLITE_CONSTRAINT",
    extended: "SQLITE_CONSTRAINT_UNIQUE",
    code: 2067,
    sql: "INSERT INTO t(b) VALUES (?)",
  });
  expect(JSON.stringify(unique)).not.toContain("secret");
  expect(errorOf("INSERT INTO t(b) VALUES (NULL)").code).toBe("SQLITE_CONSTRAINT_NOTNULL");
  expect(errorOf("INSERT INTO t(b) VALUES ('bad')").code).toBe("SQLITE_CONSTRAINT_CHECK");
  expect(errorOf("SELEC 1").message).toContain('near "SELEC": syntax error');
  expect(errorOf("SELECT * FROM nowhere").code).toBe("SQLITE_ERROR");
  led.writer.transact((tx) => tx.run("DELETE FROM t"));
});

test("one statement at a time, but comments and semicolons may follow", () => {
  const { db } = led.replica;
  expect(db.get("SELECT 1 AS a; -- done\n /* really */ ;")).toEqual({ a: 1 });
  expect(db.get("SELECT 2 AS a /* open")).toEqual({ a: 2 });
  expect(codeOf(() => db.get("SELECT 1; SELECT 2"))).toBe("invalid/several_statements");
  for (const empty of ["", " ; ", "-- nothing", "/* nothing */"]) {
    expect(codeOf(() => db.get(empty))).toBe("invalid/empty_sql");
  }
});

test("P10: SQL with a NUL is refused, not read up to it and never for ever", () => {
  expect(codeOf(() => led.replica.db.get("SELECT 1\0; DROP TABLE t"))).toBe("invalid/nul_in_sql");
  expect(codeOf(() => led.writer.transact((tx) => tx.exec("SELECT 1;\0")))).toBe("invalid/nul_in_sql");
});

test("P10: text that looks like many comments is read in one pass", () => {
  const comments = "/* a */\n".repeat(5_000);
  expect(codeOf(() => led.replica.db.get(`SELECT 1; ${comments} SELECT 2`))).toBe("invalid/several_statements");
  led.writer.transact((tx) => tx.exec(`${comments}${"SELECT 1; -- é\n".repeat(3_000)}`));
});

test("a script runs to its end, and nothing of it stays if a statement fails", () => {
  const { writer } = led;
  writer.transact((tx) => {
    tx.exec(`CREATE TABLE s(a); ; INSERT INTO s VALUES ('é;'), ('x'); -- c\n CREATE TRIGGER st AFTER INSERT ON s BEGIN
      UPDATE s SET a = 'never' WHERE 0; SELECT 1; END; INSERT INTO s VALUES (${"'long', 'text'".length})`);
    expect(tx.values("SELECT a FROM s")).toEqual([["é;"], ["x"], [14]]);
  });
  expect(() => writer.transact((tx) => tx.exec("INSERT INTO s VALUES (1); INSERT INTO nowhere VALUES (1)"))).toThrow(
    "nowhere",
  );
  expect(codeOf(() => writer.transact((tx) => tx.exec("SELECT ?")))).toBe("invalid/bad_parameter");
  writer.transact((tx) => {
    expect(tx.get("SELECT count(*) AS n FROM s")).toEqual({ n: 3 });
    tx.run("DROP TABLE s");
  });
});

test("P10: more texts than the cache holds: dropped ones work again, those in use are spared", () => {
  const connection = openConnection();
  const hot = connection.prepare("SELECT 'hot'");
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < CACHED_STATEMENTS_MAX; i++) {
      expect(connection.prepare(`SELECT ${i} + ?`).allValues([1])).toEqual([[i + 1]]);
      if (i % 50 === 0) expect(connection.prepare("SELECT 'hot'")).toBe(hot);
    }
  }
  expect(hot.allValues(undefined)).toEqual([["hot"]]);
  connection.close();
});

test("an iteration that is open while its statement's cache overflows goes on", () => {
  led.writer.transact((tx) => {
    const unstarted = tx.iterate("SELECT ? AS x", ["late"]);
    const started = tx.iterate("SELECT 1 AS x UNION ALL SELECT ?", [2]);
    started.next();
    for (let i = 0; i < 2 * CACHED_STATEMENTS_MAX; i++) tx.get(`SELECT ${i}`);
    expect(started.next().value).toEqual({ x: 2 });
    expect(unstarted.next().value).toEqual({ x: "late" });
  });
});

test("more open iterations than the cache holds", () => {
  led.writer.transact((tx) => {
    const open = Array.from({ length: CACHED_STATEMENTS_MAX + 50 }, (_, i) => {
      const rows = tx.iterate<{ x: number }>(`SELECT ? AS x UNION ALL SELECT ${i}`, [-i]);
      expect(rows.next().value.x).toBe(-i);
      return rows;
    });
    for (const [i, rows] of open.entries()) expect(rows.next().value.x).toBe(i);
  });
});

test("one SQL text iterated and run at the same time: each has its own rows and parameters", () => {
  led.writer.transact((tx) => {
    const sql = "SELECT ? AS x UNION ALL SELECT 'end'";
    const [a, b] = [tx.iterate(sql, ["a"]), tx.iterate(sql, ["b"])];
    expect(a.next().value).toEqual({ x: "a" });
    expect(b.next().value).toEqual({ x: "b" });
    expect(tx.query(sql, ["c"])).toEqual([{ x: "c" }, { x: "end" }]);
    expect(a.next().value).toEqual({ x: "end" });
    expect(b.next().value).toEqual({ x: "end" });
    expect([a.next().done, b.next().done]).toEqual([true, true]);
  });
});

test("parameters of an iteration stay while other statements bind theirs", () => {
  led.writer.transact((tx) => {
    const rows = tx.iterate("SELECT ? AS x UNION ALL SELECT ?", ["first", "second"]);
    rows.next();
    tx.get("SELECT ?, ?", ["overwritten", "overwritten"]);
    expect(rows.next().value).toEqual({ x: "second" });
  });
});

test("a closed connection refuses what is prepared, iterated or new; closing twice is safe", () => {
  const connection = openConnection();
  const statement = connection.prepare("SELECT ? AS x");
  const rows = Statement.iterate(() => connection.prepare("SELECT 1 UNION ALL SELECT 2"), undefined);
  rows.next();
  connection.close();
  connection.close();
  expect(codeOf(() => statement.all(["x"]))).toBe("closed/connection_closed");
  expect(codeOf(() => rows.next())).toBe("closed/connection_closed");
  expect(codeOf(() => connection.prepare("SELECT ? AS x"))).toBe("closed/connection_closed");
  expect(codeOf(() => connection.exec("SELECT 1"))).toBe("closed/connection_closed");
});
