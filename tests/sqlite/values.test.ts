import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Connection } from "../../src/sqlite/connection.ts";
import { MemoryFile } from "../../src/sqlite/files.ts";
import { LAYOUT_PROBE, probeLayout, type SqlParam, type SqlParams, ValueCodec } from "../../src/sqlite/values.ts";
import { Led } from "../support/cluster-database.ts";
import { codeOf } from "../support/errors.ts";

let led: Led;
let plain: Connection;
let fast: Connection;

function open(codec: ValueCodec, path: string): Connection {
  const { context } = led.replica;
  const file = new MemoryFile();
  context.vfs.set(path, { exists: () => true, open: () => file });
  context.vfs.set(`${path}-journal`, { exists: () => false, open: () => new MemoryFile() });
  return new Connection({ ...context, codec }, path, "write");
}

beforeAll(async () => {
  led = await Led.create();
  const { sqlite } = led.replica.context;
  plain = open(new ValueCodec(sqlite, undefined), "/plain");
  const probe = plain.prepare(LAYOUT_PROBE);
  sqlite.exports.sqlite3_step(probe.pointer);
  const layout = probeLayout(sqlite, probe.pointer);
  expect(layout, "the fast layout is not recognised: every read is slow").toBeDefined();
  sqlite.exports.sqlite3_reset(probe.pointer);
  fast = open(new ValueCodec(sqlite, layout), "/fast");
});

afterAll(() => {
  plain.close();
  fast.close();
  led.close();
});

/** Blobs as text, which is compared a hundred times faster. */
function same(value: unknown): unknown {
  return value instanceof Uint8Array ? `blob ${Buffer.from(value).toString("hex")}` : value;
}

/** The values by the fast layout, which must be those by SQLite's own functions. */
function read(sql: string, params?: SqlParams): unknown[][] {
  const values = fast.prepare(sql).allValues(params);
  expect(
    plain
      .prepare(sql)
      .allValues(params)
      .map((row) => row.map(same)),
  ).toEqual(values.map((row) => row.map(same)));
  return values;
}

function oneOf(sql: string, params?: SqlParams): unknown {
  return read(sql, params)[0]?.[0];
}

const EDGE = 2n ** 53n;
const VALUES: [string, SqlParam, unknown, string][] = [
  ["null", null, null, "null"],
  ["true", true, 1, "integer"],
  ["false", false, 0, "integer"],
  ["0", 0, 0, "integer"],
  ["-1", -1, -1, "integer"],
  ["2^31", 2 ** 31, 2 ** 31, "integer"],
  ["-2^31 - 1", -(2 ** 31) - 1, -(2 ** 31) - 1, "integer"],
  ["2^53 - 1", Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, "integer"],
  ["-2^53 + 1", Number.MIN_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, "integer"],
  ["2^53 - 1 as bigint", EDGE - 1n, Number.MAX_SAFE_INTEGER, "integer"],
  ["2^53 as bigint", EDGE, EDGE, "integer"],
  ["2^53 + 1 as bigint", EDGE + 1n, EDGE + 1n, "integer"],
  ["-2^53 as bigint", -EDGE, -EDGE, "integer"],
  ["-2^53 - 1 as bigint", -EDGE - 1n, -EDGE - 1n, "integer"],
  ["the largest int64", 2n ** 63n - 1n, 2n ** 63n - 1n, "integer"],
  ["the smallest int64", -(2n ** 63n), -(2n ** 63n), "integer"],
  ["2^53, which as a number is no safe integer", 2 ** 53, 2 ** 53, "real"],
  ["a real", 0.1, 0.1, "real"],
  ["the largest real", Number.MAX_VALUE, Number.MAX_VALUE, "real"],
  ["the smallest real", Number.MIN_VALUE, Number.MIN_VALUE, "real"],
  ["Infinity", Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, "real"],
  ["-Infinity", Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, "real"],
  ["-0", -0, -0, "real"],
  ["an empty text", "", "", "text"],
  ["a text", "abc", "abc", "text"],
  ["a text with NUL", "a\0b\0", "a\0b\0", "text"],
  ["a text that is not ASCII", "é→Ж", "é→Ж", "text"],
  ["an emoji", "😀".repeat(30), "😀".repeat(30), "text"],
  ["a lone surrogate, which UTF-8 cannot hold", "a\ud800b", "a\ufffdb", "text"],
  ["a text with a byte order mark", "\ufeffabc", "\ufeffabc", "text"],
  ["a long text", "x".repeat(300_000), "x".repeat(300_000), "text"],
  ["a long text that is not ASCII", "é".repeat(70_000), "é".repeat(70_000), "text"],
  ["an empty blob", new Uint8Array(0), new Uint8Array(0), "blob"],
  ["a blob", Uint8Array.of(0, 1, 255), Uint8Array.of(0, 1, 255), "blob"],
  ["a large blob", new Uint8Array(400_000).fill(7), new Uint8Array(400_000).fill(7), "blob"],
];

test.each(VALUES)("%s goes in and comes out, bound and stored", (_name, value, expected, type) => {
  for (const connection of [fast, plain]) {
    connection.exec("CREATE TABLE IF NOT EXISTS v(x); DELETE FROM v;");
    connection.prepare("INSERT INTO v VALUES (?)").run([value]);
  }
  expect(same(oneOf("SELECT ?", [value]))).toEqual(same(expected));
  expect(oneOf("SELECT typeof(?)", [value])).toBe(type);
  expect(same(oneOf("SELECT x FROM v"))).toEqual(same(expected));
  expect(same(fast.prepare("SELECT ? AS x").first([value])?.["x"])).toEqual(same(expected));
});

test("any values round-trip together, by position and by name, by both ways of reading (property)", () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.double({ noNaN: true }),
    fc.string({ unit: "binary", maxLength: 80 }),
    fc.string({ maxLength: 200 }),
    fc.uint8Array({ maxLength: 100 }),
  );
  const expected = (v: SqlParam) =>
    typeof v === "bigint" && v < EDGE && v > -EDGE
      ? Number(v)
      : typeof v === "string"
        ? Buffer.from(v, "utf8").toString("utf8")
        : v;
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 12 }), (values) => {
      const names = values.map((_, index) => `p${index}`);
      const positional = `SELECT ${values.map(() => "?").join(", ")}`;
      const named = `SELECT ${names.map((name) => `:${name}`).join(", ")}`;
      expect(read(positional, values)).toEqual([values.map(expected)]);
      expect(read(named, Object.fromEntries(names.map((name, i) => [name, values[i] as SqlParam])))).toEqual([
        values.map(expected),
      ]);
    }),
    { seed: 1, numRuns: 150 },
  );
});

test.each([
  "SELECT sum(n), avg(n), total(n), group_concat(n), count(*), max(n) || '', min(n) FROM (SELECT 1 AS n UNION ALL SELECT 2.5 UNION SELECT 9007199254740993)",
  "SELECT CAST('12' AS INTEGER), CAST(3 AS TEXT), CAST(1.0 AS INTEGER), CAST('x' AS BLOB), CAST(x'61' AS TEXT), 1.0, 1e300 * 1e300",
  "SELECT '10' + 0, '1.5' + 0, 7 / 2, 7 / 2.0, 5 % 3, NULL + 1, 1 = 1, x'00' || 'a', upper('é'), hex(zeroblob(3))",
  "SELECT zeroblob(0), zeroblob(5), substr(zeroblob(9), 2), quote(zeroblob(2)), length(zeroblob(100000))",
  'SELECT value, type, atom, fullkey FROM json_each(\'[1, 2.5, "a", null, true, {"b": []}]\')',
  "SELECT * FROM pragma_table_xinfo('sqlite_schema')",
  "SELECT 1 UNION SELECT 'a' UNION SELECT NULL UNION SELECT x'01' ORDER BY 1",
  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i * -3037000500 FROM n WHERE abs(i) < 9000000000) SELECT i, i * 1.0, i || '' FROM n",
  "SELECT row_number() OVER (ORDER BY 1), lag('x') OVER (), first_value(2.0) OVER ()",
  "VALUES (1, 'a'), (NULL, x''), (2.0, '')",
  "EXPLAIN QUERY PLAN SELECT * FROM sqlite_schema",
])("both ways of reading agree: %s", (sql) => {
  expect(read(sql).length).toBeGreaterThan(0);
});

test("columns of every affinity: both ways agree for every kind of value stored", () => {
  for (const connection of [fast, plain]) {
    connection.exec(
      "CREATE TABLE aff(i INTEGER, r REAL, t TEXT, n NUMERIC, b BLOB, a ANY, g AS (r * 2), u AS (t || 'x') STORED)",
    );
    for (const [, value] of VALUES) {
      connection.prepare("INSERT INTO aff VALUES (?1, ?1, ?1, ?1, ?1, ?1)").run([value]);
    }
  }
  read("SELECT * FROM aff");
  read("SELECT typeof(i), typeof(r), typeof(t), typeof(n), typeof(b), typeof(a), typeof(g) FROM aff");
  read("SELECT r, CAST(r AS TEXT), r, max(r), i FROM aff GROUP BY t ORDER BY r");
  expect(oneOf("SELECT r FROM aff WHERE typeof(i) = 'integer' AND i = -1")).toBe(-1);
});

test("a zeroblob that makes the memory grow does not harm the columns after it", () => {
  const sql = "WITH z(n) AS (SELECT 30000000 UNION ALL SELECT 60000000) SELECT zeroblob(n), n, 'after' FROM z";
  const rows = led.replica.db.values<[Uint8Array, number, string]>(sql);
  expect(rows.map(([blob, n, text]) => [blob.length, n, text])).toEqual([
    [30_000_000, 30_000_000, "after"],
    [60_000_000, 60_000_000, "after"],
  ]);
});

test("a blob that was read is a copy: it stays when SQLite goes on", () => {
  const [[blob]] = read("SELECT x'010203'") as [[Uint8Array]];
  read("SELECT randomblob(1000)".replace("randomblob", "zeroblob"));
  expect(blob).toEqual(Uint8Array.of(1, 2, 3));
});

describe("parameters", () => {
  test("by position, by name with any sign, numbered, and the same name twice", () => {
    expect(read("SELECT ?, ?", [1, "b"])).toEqual([[1, "b"]]);
    expect(read("SELECT :a, @b, $c, :a", { a: 1, b: 2, c: 3 })).toEqual([[1, 2, 3, 1]]);
    expect(read("SELECT :a, @a, $a", { a: 5 })).toEqual([[5, 5, 5]]);
    expect(read("SELECT ?2, ?1, ?2", ["x", "y"])).toEqual([["y", "x", "y"]]);
    expect(read("SELECT ?, ?", { 1: "x", 2: "y" })).toEqual([["x", "y"]]);
    expect(read("SELECT 1", [])).toEqual([[1]]);
    expect(read("SELECT 1", {})).toEqual([[1]]);
  });

  test.each<[string, string, unknown]>([
    ["none given", "SELECT ?", undefined],
    ["one missing", "SELECT ?, ?", [1]],
    ["one too many", "SELECT ?", [1, 2]],
    ["a name missing", "SELECT :a, :b", { a: 1 }],
    ["a name too many", "SELECT :a", { a: 1, b: 2 }],
    ["a name with its sign", "SELECT :a", { ":a": 1 }],
    ["a name that is only inherited", "SELECT :toString", {}],
    ["NaN", "SELECT ?", [Number.NaN]],
    ["undefined", "SELECT ?", [undefined]],
    ["a hole", "SELECT ?", new Array(1)],
    ["undefined by name", "SELECT :a", { a: undefined }],
    ["a Date", "SELECT ?", [new Date(0)]],
    ["an array", "SELECT ?", [[1]]],
    ["an object", "SELECT ?", [{}]],
    ["an object without prototype", "SELECT ?", [Object.create(null)]],
    ["a function", "SELECT ?", [() => 1]],
    ["a symbol", "SELECT ?", [Symbol("x")]],
    ["an ArrayBuffer", "SELECT ?", [new ArrayBuffer(1)]],
    ["a bigint beyond 64 bits", "SELECT ?", [2n ** 63n]],
    ["a bigint below them", "SELECT ?", [-(2n ** 63n) - 1n]],
    ["a text in place of the array", "SELECT ?", "ab"],
    ["a number in place of the array", "SELECT ?", 5],
    ["null in place of the array", "SELECT 1", null],
  ])("%s is refused, and the statement works the next time", (_name, sql, params) => {
    for (const connection of [fast, plain]) {
      for (const method of ["all", "run", "first", "allValues"] as const) {
        expect(codeOf(() => connection.prepare(sql)[method](params as SqlParams))).toBe("invalid/bad_parameter");
      }
    }
    expect(oneOf("SELECT ?", ["good"])).toBe("good");
  });

  test("a getter that runs SQL of its own does not change what was bound before it", () => {
    const params = {
      a: "AAAA",
      get b(): string {
        return fast.prepare("SELECT ?").allValues(["zzzzzzzz"])[0]?.[0] as string;
      },
    };
    expect(fast.prepare("SELECT :a AS a, :b AS b").first(params)).toEqual({ a: "AAAA", b: "zzzzzzzz" });
  });

  test("many texts and blobs in one call, more than the kept buffer holds", () => {
    const params = Array.from({ length: 60 }, (_, i) =>
      i % 2 ? "é".repeat(i * 100) : new Uint8Array(i * 100).fill(i),
    );
    const [row = []] = read(`SELECT ${params.map(() => "?").join(",")}`, params);
    expect(row.map(same)).toEqual(params.map(same));
  });
});
