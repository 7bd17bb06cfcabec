/** Random SQL over a schema with something of everything. What it answers depends on nothing but the SQL. */
import fc from "fast-check";

export type SqlParam = null | number | bigint | string | Uint8Array;

export interface SqlCall {
  readonly sql: string;
  readonly params: readonly SqlParam[];
}

export interface SqlTransaction {
  readonly calls: readonly SqlCall[];
  /** Its author throws at the end. */
  readonly isAborted: boolean;
}

/** The oldest SQLite that opens exported files knows all of it. */
export const SCHEMA = `
  CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, n INT CHECK (n IS NOT 13), r REAL, b BLOB,
    x, upper_name TEXT AS (upper(name)) STORED, twice AS (typeof(n) || n));
  CREATE INDEX items_n ON items(n DESC, r) WHERE n IS NOT NULL;
  CREATE UNIQUE INDEX items_expression ON items(length(b), x) WHERE x > 5;
  CREATE TABLE pairs(a, b NOT NULL DEFAULT 'none', c, PRIMARY KEY (b, a)) WITHOUT ROWID;
  CREATE INDEX pairs_c ON pairs(c COLLATE NOCASE, a);
  CREATE TABLE typed(k INTEGER PRIMARY KEY AUTOINCREMENT, i INT, t TEXT NOT NULL, x ANY, b BLOB) STRICT;
  CREATE TABLE children(id INTEGER PRIMARY KEY, item INT REFERENCES items(id) ON DELETE CASCADE ON UPDATE CASCADE,
    boss INT REFERENCES children(id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);
  CREATE INDEX children_item ON children(item);
  CREATE TABLE log(seq INTEGER PRIMARY KEY, what, of);
  CREATE TRIGGER item_added AFTER INSERT ON items BEGIN INSERT INTO log(what, of) VALUES ('added', new.id); END;
  CREATE TRIGGER item_changed AFTER UPDATE OF n, r ON items WHEN new.n IS NOT old.n BEGIN
    INSERT INTO log(what, of) VALUES ('was ' || quote(old.n), new.id); END;
  CREATE TRIGGER item_gone BEFORE DELETE ON items BEGIN
    SELECT raise(ABORT, 'row 7 stays') WHERE old.id = 7;
    INSERT INTO log(what, of) VALUES ('gone', old.id); END;
  CREATE VIEW families AS SELECT i.id AS item, c.id AS child, i.name FROM items i LEFT JOIN children c ON c.item = i.id;
  CREATE TRIGGER family_added INSTEAD OF INSERT ON families BEGIN
    INSERT OR IGNORE INTO items(id, name) VALUES (new.item, new.name);
    INSERT INTO children(id, item) VALUES (new.child, new.item); END;
  CREATE VIRTUAL TABLE notes USING fts5(body);
  CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
`;

/** Every row that there is, in a total order. */
export const CONTENTS: readonly string[] = [
  "SELECT id, name, n, r, b, x, upper_name, twice FROM items ORDER BY id",
  "SELECT b, a, c FROM pairs ORDER BY b, a",
  "SELECT k, i, t, x, b FROM typed ORDER BY k",
  "SELECT id, item, boss FROM children ORDER BY id",
  "SELECT seq, what, of FROM log ORDER BY seq",
  "SELECT item, child, name FROM families ORDER BY item, child",
  "SELECT rowid, body FROM notes ORDER BY rowid",
  "SELECT id, x0, x1 FROM boxes ORDER BY id",
  "SELECT name, seq FROM sqlite_sequence ORDER BY name",
  "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE '%\\_lbc%' ESCAPE '\\' ORDER BY type, name",
];

const id = fc.integer({ min: 1, max: 12 });
const word = fc.constantFrom(
  "a",
  "A",
  "b",
  "é",
  "É",
  "𝄞",
  "",
  "12",
  "1e3",
  " 7",
  "a\tb",
  "x'y\"z",
  "null",
  '{"k":[1,2.5,"é"]}',
);
const whole = fc.oneof(
  fc.integer({ min: -3, max: 15 }).map(BigInt),
  fc.constantFrom(2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 31n, 255n),
);
const real = fc.constantFrom(0.5, -2.25, 1e300, 5e-324, -0.1, 1e15 + 0.5, Number.POSITIVE_INFINITY);
const blob = fc.oneof(
  fc.uint8Array({ maxLength: 6 }),
  fc.constantFrom(100, 4083, 4096, 20_000).map((length) => new Uint8Array(length).fill(length & 255)),
);
const value: fc.Arbitrary<SqlParam> = fc.oneof(whole, whole, real, word, word, blob, fc.constant(null));

const column = fc.constantFrom("id", "name", "n", "r", "b", "x", "twice", "upper_name");
const literal = fc.constantFrom(
  "NULL",
  "0",
  "1",
  "-1",
  "2.5",
  "'a'",
  "'12'",
  "x'00ff'",
  "9223372036854775807",
  "'é'",
  "1e308",
);
/** An expression over a row of `items`. */
const expression: fc.Arbitrary<string> = fc.letrec<{ expression: string }>((tie) => {
  const inner = tie("expression");
  const leaf = { arbitrary: fc.oneof(column, literal), weight: 4 };
  const binary = fc.constantFrom(
    "+",
    "-",
    "*",
    "/",
    "%",
    "||",
    "=",
    "<>",
    "<",
    ">=",
    "IS",
    "IS NOT",
    "AND",
    "OR",
    "&",
    "|",
    "<<",
    ">>",
    "LIKE",
    "GLOB",
  );
  const unary = fc.constantFrom(
    "abs",
    "length",
    "hex",
    "typeof",
    "quote",
    "upper",
    "trim",
    "unicode",
    "-",
    "NOT ",
    "~",
    "json_quote",
    "json_valid",
    "octet_length",
  );
  const binaryFunction = fc.constantFrom(
    "coalesce",
    "nullif",
    "instr",
    "max",
    "min",
    "ltrim",
    "ifnull",
    "round",
    "json_array",
    "concat",
  );
  const type = fc.constantFrom("INT", "TEXT", "REAL", "NUMERIC", "BLOB");
  return {
    expression: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      leaf,
      fc.tuple(inner, binary, inner).map(([a, op, b]) => `(${a} ${op} ${b})`),
      fc.tuple(unary, inner).map(([name, a]) => `${name}(${a})`),
      fc.tuple(binaryFunction, inner, inner).map(([name, a, b]) => `${name}(${a}, ${b})`),
      fc.tuple(inner, type).map(([a, name]) => `CAST(${a} AS ${name})`),
      fc.tuple(inner, inner, inner).map(([a, b, c]) => `CASE WHEN ${a} THEN ${b} ELSE ${c} END`),
      fc.tuple(inner, inner, inner).map(([a, b, c]) => `(${a} BETWEEN ${b} AND ${c})`),
      fc.tuple(inner, inner, inner).map(([a, b, c]) => `(${a} IN (${b}, ${c}))`),
      fc
        .tuple(inner, fc.integer({ min: -3, max: 4 }), fc.nat(5))
        .map(([a, from, count]) => `substr(${a}, ${from}, ${count})`),
      fc.tuple(inner).map(([a]) => `(${a} COLLATE NOCASE)`),
      inner.map((a) => `(SELECT count(*) FROM children WHERE item = ${a})`),
      inner.map((a) => `EXISTS (SELECT 1 FROM pairs WHERE c IS ${a})`),
    ),
  };
}).expression;

function call(sql: string, ...params: fc.Arbitrary<SqlParam>[]): fc.Arbitrary<SqlCall> {
  return fc.tuple(...params).map((values) => ({ sql, params: values }));
}

const conflict = fc.constantFrom("INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL", "REPLACE");
const writing: fc.Arbitrary<SqlCall> = fc.oneof(
  {
    arbitrary: fc.tuple(conflict, id, word, value, real, blob, value).map(([how, ...params]) => ({
      sql: `${how} INTO items(id, name, n, r, b, x) VALUES (?, ?, ?, ?, ?, ?)`,
      params,
    })),
    weight: 5,
  },
  call(
    "INSERT INTO items(name, n) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET n = excluded.n, x = items.n RETURNING id, n, x",
    word,
    value,
  ),
  fc.tuple(fc.constantFrom("n", "r", "b", "x", "name", "id"), expression, expression).map(([target, to, where]) => ({
    sql: `UPDATE items SET ${target} = ${to} WHERE ${where}`,
    params: [],
  })),
  fc.tuple(expression, id).map(([where, at]) => ({ sql: `DELETE FROM items WHERE ${where} AND id > ?`, params: [at] })),
  call("DELETE FROM items WHERE id = ? RETURNING *", id),
  fc
    .tuple(conflict, value, value, value)
    .map(([how, ...params]) => ({ sql: `${how} INTO pairs VALUES (?, ?, ?)`, params })),
  call("UPDATE pairs SET a = c, c = a WHERE b = ?", value),
  call("INSERT INTO pairs SELECT n, name, x FROM items WHERE name IS NOT NULL AND id < ? ON CONFLICT DO NOTHING", id),
  call("INSERT INTO typed(i, t, x, b) VALUES (?, ?, ?, ?)", value, value, value, value),
  call("DELETE FROM typed WHERE k = (SELECT max(k) FROM typed) AND x IS NOT ?", value),
  call("INSERT INTO children VALUES (?, ?, ?)", id, fc.oneof(id, fc.constant(null)), fc.oneof(id, fc.constant(null))),
  call("UPDATE children SET boss = ? WHERE id = ?", id, id),
  call("DELETE FROM children WHERE item = ?", id),
  call("INSERT INTO families(item, child, name) VALUES (?, ?, ?)", id, id, word),
  call("INSERT INTO notes(rowid, body) VALUES (?, ?)", id, word),
  call("DELETE FROM notes WHERE notes MATCH ?", fc.constantFrom("a", "b OR a", '"12"', "é*")),
  call("INSERT OR REPLACE INTO boxes VALUES (?, ?, ?)", id, id, id),
  call(
    "WITH RECURSIVE steps(s) AS (SELECT 1 UNION ALL SELECT s + 1 FROM steps WHERE s < ?) INSERT INTO log(what, of) SELECT 'step', s FROM steps",
    id,
  ),
  {
    arbitrary: fc
      .constantFrom(
        "CREATE TABLE IF NOT EXISTS extra(a PRIMARY KEY, b DEFAULT (1 + 1))",
        "INSERT INTO extra(a) SELECT x FROM items WHERE x IS NOT NULL",
        "ALTER TABLE extra ADD COLUMN added TEXT DEFAULT 'é'",
        "ALTER TABLE extra RENAME COLUMN b TO renamed",
        "ALTER TABLE extra DROP COLUMN added",
        "DROP TABLE IF EXISTS extra",
        "CREATE INDEX IF NOT EXISTS late ON items(x, n)",
        "DROP INDEX IF EXISTS late",
        "DELETE FROM log",
        "INSERT INTO nowhere VALUES (1)",
        "SELECT wrong syntax here",
      )
      .map((sql) => ({ sql, params: [] })),
    weight: 2,
  },
);

export const query: fc.Arbitrary<SqlCall> = fc
  .oneof(
    {
      arbitrary: fc
        .tuple(expression, expression)
        .map(([shown, where]) => `SELECT id, ${shown} FROM items WHERE ${where} ORDER BY id`),
      weight: 4,
    },
    expression.map(
      (by) =>
        `SELECT count(*), min(id), max(id), json_group_array(id ORDER BY id) FROM items GROUP BY ${by} ORDER BY 2`,
    ),
    expression.map(
      (
        by,
      ) => `SELECT id, row_number() OVER w, lag(id, 2, -1) OVER w, count(n) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW),
    dense_rank() OVER (ORDER BY typeof(n)) FROM items WINDOW w AS (ORDER BY ${by}, id) ORDER BY id`,
    ),
    expression.map(
      (on) =>
        `SELECT items.id, pairs.b, pairs.a FROM items LEFT JOIN pairs ON pairs.c = ${on.replaceAll(/\bb\b/g, "items.b")} ORDER BY 1, 2, 3`,
    ),
    fc.constantFrom(
      "SELECT rowid FROM notes WHERE notes MATCH 'a OR b' ORDER BY rowid",
      "SELECT id FROM boxes WHERE x0 <= 6 AND x1 >= 3 ORDER BY id",
      "WITH RECURSIVE tree(id, depth) AS (SELECT id, 0 FROM children WHERE boss IS NULL UNION SELECT c.id, depth + 1 FROM children c JOIN tree t ON c.boss = t.id WHERE depth < 9) SELECT id, depth FROM tree ORDER BY 1, 2",
      "SELECT id, json_object('n', n, 'name', name) FROM items WHERE typeof(n) <> 'blob' ORDER BY id",
      "SELECT i.id, j.key, j.atom FROM items i, json_each(iif(json_valid(i.name), i.name, '[]')) j ORDER BY 1, 2",
      "SELECT id FROM items EXCEPT SELECT item FROM children ORDER BY 1",
      "SELECT group_concat(quote(x), '|' ORDER BY id) FROM items",
    ),
  )
  .map((sql) => ({ sql, params: [] }));

const transaction: fc.Arbitrary<SqlTransaction> = fc.record({
  calls: fc.array(fc.oneof({ arbitrary: writing, weight: 4 }, { arbitrary: query, weight: 1 }), {
    minLength: 1,
    maxLength: 10,
  }),
  isAborted: fc.nat(7).map((roll) => roll === 0),
});

/** What a cluster's life is made of. */
export const program: fc.Arbitrary<SqlTransaction[]> = fc.array(transaction, { minLength: 1, maxLength: 6 });
