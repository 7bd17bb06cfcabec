import { expect, it } from "vitest";
import { FileSystemStore } from "../../src/mod.ts";
import { createTable, insert, lead, newStore } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { lbcHere, lbcJson } from "../support/lbc.ts";

/** A cluster whose history has a table, then `one`, then `two`; gives the epochs of the two. */
async function newHistory(): Promise<{ readonly store: string; readonly one: number; readonly two: number }> {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  const { node } = await lead(files);
  await createTable(node);
  const { epoch: one } = await insert(node, "one");
  const { epoch: two } = await insert(node, "two", new Uint8Array([0, 255]));
  await node.shutdown();
  return { store, one, two };
}

const NAMES = "SELECT name FROM items ORDER BY rowid";

it("reads the newest epoch, or any other", async () => {
  const { store, one, two } = await newHistory();
  expect(await lbcJson(["sql", NAMES], { store })).toEqual([{ name: "one" }, { name: "two" }]);
  expect(await lbcJson(["sql", NAMES, "--at", "newest"], { store })).toEqual([{ name: "one" }, { name: "two" }]);
  expect(await lbcJson(["sql", NAMES, "--at", String(two)], { store })).toHaveLength(2);
  expect(await lbcJson(["sql", NAMES, "--at", String(one)], { store })).toEqual([{ name: "one" }]);
  expect(
    await lbcJson(["sql", "SELECT count(*) AS tables FROM sqlite_schema WHERE name = 'items'", "--at", "earliest"], {
      store,
    }),
  ).toEqual([{ tables: 0 }]);
});

it("a point that is none, in the future, or before the history", async () => {
  const { store } = await newHistory();
  const at = (point: string) => lbcHere(["sql", NAMES, "--at", point, "--json"], { store });
  for (const [point, code, name] of [
    ["yesterday-ish", 2, "bad_point"],
    ["2026-11-20T12:00:00", 2, "bad_point"],
    ["999999", 4, "point_in_future"],
    ["2001-01-01T00:00:00Z", 4, "point_before_history"],
  ] as const) {
    const result = await at(point);
    expect({ point, code: result.code, error: JSON.parse(result.stderr).code }).toEqual({ point, code, error: name });
  }
});

it("a table, columns with one name included, without lines where no terminal is", async () => {
  const { store } = await newHistory();
  const { stdout } = await lbcHere(
    ["sql", "SELECT 1 AS a, 'x\ty' AS b, NULL AS a, body AS c FROM items LIMIT 1 OFFSET 1"],
    { store },
  );
  expect(stdout).toBe("a  b     a     c\n1  x\\ty  NULL  x'00ff'\n");
  const { stdout: none } = await lbcHere(["sql", "SELECT name FROM items WHERE 0"], { store });
  expect(none).toBe("name\n");
});

it("JSON loses nothing", async () => {
  const { store } = await newHistory();
  const sql = `SELECT 9223372036854775807 AS big, 1e999 AS inf, -1e999 AS minus, x'00ff' AS blob, NULL AS none, 0.1 AS real,
    'ä"\n' AS text, 1 AS a, 2 AS a, 3 AS "2", 4 AS "1"`;
  const { stdout } = await lbcHere(["sql", sql, "--json"], { store });
  expect(stdout).toBe(
    '[\n{"big":9223372036854775807,"inf":1e999,"minus":-1e999,"blob":"AP8=","none":null,"real":0.1,"text":"ä\\"\\n","a":1,"a:1":2,"2":3,"1":4}\n]\n',
  );
  expect(JSON.parse(stdout)).toMatchObject([{ inf: Number.POSITIVE_INFINITY }]);
  expect(await lbcJson(["sql", "SELECT 1 WHERE 0"], { store })).toEqual([]);
});

it("CSV as RFC 4180 has it", async () => {
  const { store } = await newHistory();
  const sql = `SELECT 'a,b' AS "x,y", 'q"z' AS quote, NULL AS none, 'two
lines' AS text, x'00ff' AS blob`;
  const { stdout } = await lbcHere(["sql", sql, "--csv"], { store });
  expect(stdout).toBe(`"x,y",quote,none,text,blob\n"a,b","q""z",,"two\nlines",x'00ff'\n`);
});

it("several statements, from standard input too", async () => {
  const { store } = await newHistory();
  const input = "SELECT 1 AS a; -- one; two\nSELECT 'b;' AS b";
  const { stdout } = await lbcHere(["sql", "--csv"], { store, input });
  expect(stdout).toBe("a\n1\nb\nb;\n");
  const { stdout: given } = await lbcHere(["sql", input, "--csv"], { store });
  expect(given).toBe(stdout);
});

it("what would write is refused, and what comes after a failure does not run", async () => {
  const { store } = await newHistory();
  const before = await lbcJson<unknown[]>(["log", "--limit", "all"], { store });
  for (const sql of ["DELETE FROM items", "DROP TABLE items", "ATTACH ':memory:' AS other", "VACUUM"]) {
    const { code, stdout, stderr } = await lbcHere(["sql", `${sql}; SELECT 1`], { store });
    expect({ sql, code, stdout }).toEqual({ sql, code: 1, stdout: "" });
    expect(stderr).toMatch(/^lbc: /);
  }
  const { code, stdout } = await lbcHere(["sql", "SELECT 1 AS a; SELECT nope; SELECT 2", "--csv"], { store });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "a\n1\n" });
  expect(await lbcJson(["log", "--limit", "all"], { store })).toEqual(before);
});

it("--json and --csv contradict each other", async () => {
  const { store } = await newHistory();
  expect((await lbcHere(["sql", "SELECT 1", "--csv", "--json"], { store })).code).toBe(2);
});

it.each([
  ["sql", "SELECT 1"],
  ["status"],
  ["members"],
  ["log"],
  ["verify"],
  ["vacuum", "--yes"],
  ["rollback", "1", "--yes"],
])("%s refuses another id than the cluster's", async (...args) => {
  const { store } = await newHistory();
  const { code, stdout, stderr } = await lbcHere([...args, "--id", "other"], { store });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("is test, not other");
  expect(stderr).toContain("leave --id out");
  expect((await lbcHere(["sql", "SELECT 1", "--id", "test"], { store })).code).toBe(0);
});
