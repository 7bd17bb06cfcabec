import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Led } from "../support/cluster-database.ts";
import { codeOf } from "../support/errors.ts";

let led: Led;

beforeAll(async () => {
  led = await Led.create(`
    CREATE TABLE t(a UNIQUE);
    CREATE VIEW v AS SELECT key, value FROM _lbc;
    CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO _lbc VALUES (NEW.key, NEW.value); END;
    CREATE TABLE u(a);
    CREATE TRIGGER ti AFTER INSERT ON u WHEN NEW.a = 'evil' BEGIN DELETE FROM _lbc; END;
  `);
});

afterAll(() => led.close());

const attempt = (sql: string) => codeOf(() => led.writer.transact((tx) => tx.run(sql)));

test.each([
  // The transaction is the library's.
  "BEGIN",
  "COMMIT",
  "END",
  "ROLLBACK",
  "begin immediate",
  "/* x */ CoMmIt -- y",
  "ROLLBACK TO _lbc_transaction",
  "RELEASE _LBC_Transaction",
  'SAVEPOINT "_lbc_mine"',
  // One file, whose pages are what is replicated.
  "ATTACH ':memory:' AS x",
  "ATTACH 'file' AS y",
  "DETACH main",
  "PRAGMA journal_mode = DELETE",
  "PRAGMA main.journal_mode(delete)",
  "pragma Page_Size = 8192",
  "PRAGMA auto_vacuum = 1",
  "PRAGMA encoding = 'UTF-16'",
  "PRAGMA locking_mode = NORMAL",
  "PRAGMA wal_checkpoint",
  "PRAGMA wal_autocheckpoint = 1",
  "PRAGMA synchronous = FULL",
  "PRAGMA foreign_keys = OFF",
  "PRAGMA defer_foreign_keys = ON",
  "PRAGMA ignore_check_constraints = ON",
  "PRAGMA writable_schema = ON",
  "PRAGMA schema_version = 9",
  "PRAGMA cache_size = 1",
  "PRAGMA cache_spill = ON",
  "PRAGMA max_page_count = 1",
  "PRAGMA hard_heap_limit = 1",
  "PRAGMA query_only = ON",
  "PRAGMA temp_store = 1",
  "PRAGMA recursive_triggers = ON",
  // The system table.
  "INSERT INTO _lbc VALUES ('x', 1)",
  "REPLACE INTO main._LBC VALUES ('x', 1)",
  "UPDATE _lbc SET value = 1",
  'DELETE FROM "_lbc"',
  "DELETE FROM [_Lbc] WHERE key = 'leader'",
  "INSERT INTO `_lbc` VALUES ('x', 1) ON CONFLICT DO UPDATE SET value = 2",
  "WITH x AS (SELECT 'k' AS k) INSERT INTO _lbc SELECT k, k FROM x",
  "WITH x AS (SELECT 1) DELETE /**/ FROM/**/_lbc",
  "UPDATE _lbc SET value = 1 RETURNING key",
  "EXPLAIN DELETE FROM _lbc",
  "DROP TABLE _lbc",
  "ALTER TABLE _lbc RENAME TO x",
  "ALTER TABLE _lbc ADD COLUMN z",
  "CREATE INDEX i ON _lbc(value)",
  "CREATE TRIGGER tr AFTER UPDATE ON _lbc BEGIN SELECT 1; END",
  "CREATE TRIGGER tr BEFORE UPDATE ON main._LBC BEGIN SELECT RAISE(ABORT, 'no'); END",
  "INSERT INTO v VALUES ('x', 1)",
  "INSERT INTO u VALUES ('harmless')",
  // What would live on one node only.
  "CREATE TEMP TABLE x(a)",
  "CREATE TABLE temp.x(a)",
  "CREATE TABLE temp.t(a)",
  "CREATE TEMP VIEW x AS SELECT 1",
  "CREATE VIEW temp.x AS SELECT 1",
  "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
  "CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN SELECT 1; END",
  "CREATE VIRTUAL TABLE temp.x USING rtree(id, a, b)",
  "CREATE VIRTUAL TABLE temp.x USING dbstat(main)",
  // What would roll back the neighbours.
  "INSERT OR ROLLBACK INTO t VALUES (1)",
  "update or /* x */ rollback t SET a = 1",
  "CREATE TABLE x(a UNIQUE ON CONFLICT ROLLBACK)",
  "CREATE TABLE x(a PRIMARY KEY ON\n\tCONFLICT -- '\n rollback)",
  "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'x'); END",
  "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT raise /**/ ( /**/ rollback, 'x'); END",
])("a transaction may not: %s", (sql) => {
  expect(attempt(sql)).toBe("invalid/forbidden_sql");
  expect(codeOf(() => led.writer.transact((tx) => tx.exec(`SELECT 1; ${sql};`)))).toBe("invalid/forbidden_sql");
});

test.each([
  "VACUUM",
  "VACUUM INTO '/x'",
  "UPDATE sqlite_dbpage SET data = zeroblob(4096)",
  "UPDATE sqlite_schema SET sql = ''",
])("SQLite itself refuses: %s", (sql) => {
  expect(attempt(sql)).toBe("invalid/SQLITE_ERROR");
});

test.each([
  "SAVEPOINT mine",
  "SELECT value FROM _lbc",
  "SELECT 'OR ROLLBACK', \"a\" FROM t -- OR ROLLBACK",
  "INSERT INTO t VALUES ('INSERT OR ROLLBACK') ON CONFLICT DO NOTHING",
  "INSERT OR IGNORE INTO t VALUES ('x')",
  "CREATE TABLE rollback_log(a)",
  "CREATE VIRTUAL TABLE r USING rtree(id, a, b)",
  "CREATE VIRTUAL TABLE f USING fts5(a)",
  "ALTER TABLE t RENAME TO w",
  "ALTER TABLE t ADD COLUMN b",
  "PRAGMA user_version = 7",
  "PRAGMA page_size",
  "PRAGMA journal_mode",
  "PRAGMA foreign_keys",
  "PRAGMA table_info(_lbc)",
  "PRAGMA integrity_check",
  "PRAGMA optimize",
  "ANALYZE",
  "REINDEX",
])("a transaction may: %s", (sql) => {
  expect(() =>
    led.writer.transact((tx) => {
      tx.query(sql);
      throw new Error("allowed");
    }),
  ).toThrow("allowed");
});

test("the rules hold when a schema change has the statement compiled again", () => {
  led.writer.transact((tx) => {
    tx.query("SELECT * FROM t");
    tx.exec("CREATE TABLE bystander(a)");
    tx.query("SELECT * FROM t");
    expect(codeOf(() => tx.run("DELETE FROM _lbc"))).toBe("invalid/forbidden_sql");
  });
  expect(attempt("DELETE FROM _lbc")).toBe("invalid/forbidden_sql");
});

describe("a reader", () => {
  test.each([
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "ATTACH ':memory:' AS x",
    "PRAGMA query_only = 1",
    "PRAGMA journal_mode = WAL",
    "PRAGMA user_version = 3",
    "PRAGMA hard_heap_limit = 5",
  ])("may not: %s", (sql) => {
    expect(codeOf(() => led.replica.db.query(sql))).toBe("invalid/forbidden_sql");
    expect(codeOf(() => led.replica.db.snapshot((reads) => reads.query(sql)))).toBe("invalid/forbidden_sql");
  });

  test.each([
    "INSERT INTO t VALUES (1)",
    "DELETE FROM _lbc",
    "CREATE TABLE x(a)",
    "CREATE TEMP TABLE x(a)",
    "CREATE TABLE temp.x(a)",
    "DROP TABLE t",
    "INSERT INTO t VALUES (1) RETURNING a",
  ])("only reads, also by iterate and snapshot: %s", (sql) => {
    const { db } = led.replica;
    for (const use of [() => db.query(sql), () => [...db.iterate(sql)], () => db.snapshot((reads) => reads.get(sql))]) {
      expect(codeOf(use)).toBe("invalid/read_only");
    }
  });

  test("may read pragmas and the schema", () => {
    const { db } = led.replica;
    expect(db.get("PRAGMA user_version")).toEqual({ user_version: 0 });
    expect(db.get("PRAGMA page_size")).toEqual({ page_size: 4096 });
    expect(db.values("SELECT name FROM pragma_table_info('_lbc')")).toEqual([["key"], ["value"]]);
  });
});
