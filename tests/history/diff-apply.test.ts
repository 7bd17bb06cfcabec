import fc from "fast-check";
import { expect, test } from "vitest";
import type { RowChange, RowKey } from "../../src/history/diff.ts";
import type { Row } from "../../src/sqlite/statement.ts";
import type { SqlValue } from "../../src/sqlite/values.ts";
import type { Transaction } from "../../src/sqlite/writer.ts";
import { changes, copyOf, Subject } from "../support/diff-subject.ts";

const SCHEMA = `
  CREATE TABLE a(id INTEGER PRIMARY KEY, v, r REAL);
  CREATE TABLE b(v);
  CREATE TABLE c(k TEXT PRIMARY KEY COLLATE NOCASE, v);
  CREATE TABLE d(x, y TEXT COLLATE RTRIM, v, PRIMARY KEY(x DESC, y)) WITHOUT ROWID;
  CREATE TABLE e(x, y, PRIMARY KEY(x, y));
`;
const value = fc.oneof(
  fc.constantFrom<SqlValue>(
    null,
    0,
    1,
    -1,
    2n ** 62n,
    -(2n ** 63n),
    1.5,
    -0,
    "",
    "a",
    "A",
    "b",
    "b ",
    "ä",
    "1",
    "\0",
    "\ufffd",
  ),
  fc.integer({ min: -300, max: 300 }),
  fc.uint8Array({ maxLength: 3 }),
  fc.constantFrom("long".repeat(2000), "gnol".repeat(2000)),
);
const key = fc.oneof(value, fc.constantFrom<SqlValue>(...["a", "A", "b", "B", "b ", "B  ", "_"], 1, 2, 3));
const command = fc.record({
  sql: fc.constantFrom(
    "INSERT OR IGNORE INTO a(v, r) VALUES (?1, ?2 + 0.5)",
    "INSERT OR REPLACE INTO a(id, v) VALUES (abs(random() % 40), ?1)",
    "UPDATE a SET v = ?1 WHERE id % 7 = 1",
    "DELETE FROM a WHERE id % 5 = 2",
    "INSERT INTO b VALUES (?1)",
    "UPDATE b SET v = ?2 WHERE rowid % 3 = 0",
    "DELETE FROM b WHERE rowid % 4 = 0",
    "INSERT OR REPLACE INTO c VALUES (?1, ?2)",
    "DELETE FROM c WHERE k < ?1",
    "INSERT OR REPLACE INTO d SELECT ?1, ?2, 1 WHERE ?1 IS NOT NULL AND ?2 IS NOT NULL",
    // Not of blobs: a text that is not UTF-8 cannot be bound again.
    "UPDATE OR IGNORE d SET y = upper(y) WHERE x > ?1 AND typeof(y) = 'text'",
    "DELETE FROM d WHERE x = ?1",
    "INSERT OR IGNORE INTO e VALUES (?1, ?2)",
    "UPDATE OR REPLACE e SET y = ?1 WHERE rowid % 3 = 0",
    "DELETE FROM e WHERE rowid % 3 = 1",
    "DROP TABLE IF EXISTS b",
    "CREATE TABLE IF NOT EXISTS b(v)",
    "DROP TABLE IF EXISTS g",
    "CREATE TABLE IF NOT EXISTS g(p PRIMARY KEY, q)",
    "INSERT OR REPLACE INTO g VALUES (?1, ?2)",
  ),
  first: key,
  second: value,
});
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

function run(tx: Transaction, { sql, first, second }: Command): void {
  const parameters = sql.includes("?2") ? [first, second] : sql.includes("?1") ? [first] : [];
  try {
    tx.run(sql, parameters);
  } catch (error) {
    // Another command has dropped it, or not yet made it.
    if (!/no such table/.test(String(error))) throw error;
  }
}

/** Everything that the tables hold, typed; rowids only where they are the key. */
function dump(query: (sql: string) => SqlValue[][]): string[] {
  const present = query(
    "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name IN ('a','b','c','d','e','g') ORDER BY name",
  );
  return present.flatMap(([name, sql]) => {
    const columns = query(`SELECT name FROM pragma_table_info('${name}')`).map(
      ([column]) => `quote("${column}"), typeof("${column}")`,
    );
    if (name === "b") columns.push("rowid");
    const rows = query(`SELECT ${columns.join(", ")} FROM ${name}`).map((row) => `${name}: ${row.join(" ")}`);
    return [String(sql), ...rows.sort()];
  });
}

function apply(tx: Transaction, found: readonly RowChange[]): void {
  const schema = found.filter(({ table }) => table === "sqlite_schema");
  const rows = found.filter(({ table }) => table !== "sqlite_schema");
  const dropped = new Set(schema.map(({ before }) => before?.["name"]));
  // First what goes, then what comes: an intermediate state must not break a key.
  for (const change of rows) {
    if (change.kind !== "inserted" && !dropped.has(change.table)) remove(tx, change.table, change.key);
  }
  for (const { before } of schema) if (before !== undefined) tx.exec(`DROP TABLE ${before["name"]}`);
  for (const { after } of schema) if (after !== undefined) tx.exec(String(after["sql"]));
  for (const { table, key: rowKey, after } of rows) if (after !== undefined) add(tx, table, rowKey, after);
}

function remove(tx: Transaction, table: string, rowKey: RowKey): void {
  const parts = typeof rowKey === "object" ? rowKey : { rowid: rowKey };
  const where = Object.keys(parts).map((name) => `${name} IS ?`);
  const params = Object.values(parts);
  if (table === "d") tx.run(`DELETE FROM d WHERE ${where.join(" AND ")}`, params);
  // Of rows with NULL in the key any is as good: they are the same in all that is compared.
  else tx.run(`DELETE FROM ${table} WHERE rowid = (SELECT rowid FROM ${table} WHERE ${where.join(" AND ")})`, params);
}

function add(tx: Transaction, table: string, rowKey: RowKey, after: Row): void {
  const row = table === "b" ? { rowid: rowKey as number, ...after } : after;
  const names = Object.keys(row);
  tx.run(`INSERT INTO ${table}(${names}) VALUES (${names.map(() => "?")})`, Object.values(row));
}

test("applied to the state before, the changes give the state after (property)", async () => {
  const subject = await Subject.create(SCHEMA);
  const copy = await Subject.create(SCHEMA);
  const { context } = await subject.keep();
  const counts = { inserted: 0, deleted: 0, updated: 0 };
  const batch = fc.array(command, { minLength: 1, maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(batch, async (commands) => {
      const before = { context, image: copyOf(subject.led.image) };
      subject.led.write((tx) => {
        for (const one of commands) run(tx, one);
      });
      const found = await changes(before, subject.side);
      for (const { kind } of found) counts[kind]++;
      copy.led.write((tx) => apply(tx, found));
      expect(dump((sql) => copy.led.replica.db.values(sql))).toEqual(dump((sql) => subject.led.replica.db.values(sql)));
      expect(await changes(subject.side, subject.side)).toEqual([]);
    }),
    { numRuns: 150, endOnFailure: true },
  );
  // It did compare something.
  expect(Math.min(counts.inserted, counts.deleted, counts.updated)).toBeGreaterThan(50);
});
