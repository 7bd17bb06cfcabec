import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { type DiffSide, diffStates, type RowChange } from "../../src/history/diff.ts";
import { systemClock } from "../../src/platform/system.ts";
import type { Transaction } from "../../src/sqlite/writer.ts";
import { Subject } from "../support/diff-subject.ts";

/** A change on one line. */
function line(change: RowChange): string {
  const show = (value: unknown) =>
    JSON.stringify(value, (_, part: unknown) => {
      if (part instanceof Uint8Array) return `x'${Buffer.from(part).toString("hex")}'`;
      return typeof part === "bigint" ? `${part}n` : part;
    });
  const { kind, table, key, before, after } = change;
  if (kind === "inserted") return `${table} ${show(key)} + ${show(after)}`;
  if (kind === "deleted") return `${table} ${show(key)} - ${show(before)}`;
  return `${table} ${show(key)} ${show(before)} > ${show(after)} in ${change.columns}`;
}

async function linesOf(script: string, fn: (tx: Transaction) => void): Promise<string[]> {
  return (await (await Subject.create(script)).changesOf(fn)).map(line);
}

describe("rows are inserted, deleted and updated", () => {
  test("in a table with an INTEGER PRIMARY KEY, and in one without a key, told by rowid", async () => {
    const script = `CREATE TABLE a(id INTEGER PRIMARY KEY, v); INSERT INTO a VALUES (1,'x'),(2,'y'),(9007199254740993,'z');
      CREATE TABLE b(v); INSERT INTO b VALUES ('p'),('q')`;
    const found = await linesOf(script, (tx) =>
      tx.exec(`UPDATE a SET v = 'w' WHERE id = 9007199254740993; DELETE FROM a WHERE id = 1; INSERT INTO a VALUES (-7,'n');
        UPDATE b SET v = NULL WHERE v = 'q'`),
    );
    expect(found).toEqual([
      'a -7 + {"id":-7,"v":"n"}',
      'a 1 - {"id":1,"v":"x"}',
      'a "9007199254740993n" {"id":"9007199254740993n","v":"z"} > {"id":"9007199254740993n","v":"w"} in v',
      'b 2 {"v":"q"} > {"v":null} in v',
    ]);
  });

  test("in a table with another primary key, told by its values: a replaced row is an updated one", async () => {
    const script = "CREATE TABLE k(name TEXT PRIMARY KEY, v); INSERT INTO k VALUES ('b',1),('a',2),('c',3)";
    const found = await linesOf(script, (tx) =>
      tx.exec("REPLACE INTO k VALUES ('b',9); REPLACE INTO k VALUES ('a',2); DELETE FROM k WHERE name = 'c'"),
    );
    expect(found).toEqual([
      'k {"name":"b"} {"name":"b","v":1} > {"name":"b","v":9} in v',
      'k {"name":"c"} - {"name":"c","v":3}',
    ]);
  });

  test("with NULL in a primary key, which is not unique there: the rowid tells them apart", async () => {
    const script =
      "CREATE TABLE k(a, b, v, PRIMARY KEY(a, b)); INSERT INTO k VALUES (1,NULL,'x'),(1,NULL,'y'),(NULL,NULL,'z')";
    const found = await linesOf(script, (tx) =>
      tx.exec("UPDATE k SET v = 'w' WHERE v = 'y'; DELETE FROM k WHERE v = 'x'; INSERT INTO k VALUES (NULL,NULL,'n')"),
    );
    expect(found).toEqual([
      'k {"a":null,"b":null} + {"a":null,"b":null,"v":"n"}',
      'k {"a":1,"b":null} - {"a":1,"b":null,"v":"x"}',
      'k {"a":1,"b":null} {"a":1,"b":null,"v":"y"} > {"a":1,"b":null,"v":"w"} in v',
    ]);
  });

  test("in a table WITHOUT ROWID whose key has collations and directions", async () => {
    const script = `CREATE TABLE w(a TEXT COLLATE NOCASE, b, c TEXT COLLATE RTRIM, v, PRIMARY KEY(a, b DESC, c)) WITHOUT ROWID;
      INSERT INTO w VALUES ('B',1,'x',0),('a',2,'x',0),('a',1,'x',0),('C',1.5,'x ',0),('_',x'00','',0)`;
    const found = await linesOf(script, (tx) =>
      tx.exec(`INSERT INTO w VALUES ('A',3,'x',0),('b',0,'x',0),('Z','1','x',0); DELETE FROM w WHERE a = 'a' AND b = 1;
        UPDATE w SET a = 'c', c = 'x' WHERE a = 'C'`),
    );
    expect(found).toEqual([
      'w {"a":"A","b":3,"c":"x"} + {"a":"A","b":3,"c":"x","v":0}',
      'w {"a":"a","b":1,"c":"x"} - {"a":"a","b":1,"c":"x","v":0}',
      'w {"a":"b","b":0,"c":"x"} + {"a":"b","b":0,"c":"x","v":0}',
      'w {"a":"C","b":1.5,"c":"x "} {"a":"C","b":1.5,"c":"x ","v":0} > {"a":"c","b":1.5,"c":"x","v":0} in a,c',
      'w {"a":"Z","b":"1","c":"x"} + {"a":"Z","b":"1","c":"x","v":0}',
    ]);
  });

  test("where the columns have taken every name of the rowid", async () => {
    const script =
      "CREATE TABLE r(rowid, _rowid_, oid); INSERT INTO r VALUES (1,2,3); CREATE TABLE s(rowid PRIMARY KEY, v); INSERT INTO s VALUES ('k',1)";
    const found = await linesOf(script, (tx) => tx.exec("UPDATE r SET oid = 4; UPDATE s SET v = 2"));
    expect(found).toEqual([
      'r {"rowid":1,"_rowid_":2,"oid":3} - {"rowid":1,"_rowid_":2,"oid":3}',
      'r {"rowid":1,"_rowid_":2,"oid":4} + {"rowid":1,"_rowid_":2,"oid":4}',
      's {"rowid":"k"} {"rowid":"k","v":1} > {"rowid":"k","v":2} in v',
    ]);
  });

  test("with names that need quotes, or would be a prototype", async () => {
    const script = `CREATE TABLE "a ""b"" [c]" ("select" PRIMARY KEY, "__proto__", "x'y"); INSERT INTO "a ""b"" [c]" VALUES (1, 2, 3)`;
    const [change] = await (await Subject.create(script)).changesOf((tx) =>
      tx.exec(`UPDATE "a ""b"" [c]" SET "__proto__" = 5`),
    );
    expect(change?.table).toBe('a "b" [c]');
    expect(Object.entries(change?.after ?? {})).toEqual([
      ["select", 1],
      ["__proto__", 5],
      ["x'y", 3],
    ]);
  });
});

describe("values are compared exactly", () => {
  const values: readonly string[] = [
    "NULL",
    "0",
    "0.0",
    "'0'",
    "x'30'",
    "1",
    "1.0",
    "'1'",
    "x'31'",
    "x''",
    "''",
    "9223372036854775807",
    "9223372036854775806",
    "9.2233720368547758e18",
    "9007199254740992",
    "9007199254740992.0",
    "1e999",
    "-1e999",
    "'a'",
    "'a' || char(0)",
    "'ä'",
    "CAST(x'ff' AS TEXT)",
    "CAST(x'fe' AS TEXT)",
    "char(65533)",
    "zeroblob(3)",
    "x'000000'",
    "x'000001'",
  ];
  const isSame = (a: number, b: number) =>
    a === b || [a, b].every((index) => /zeroblob|x'000000'/.test(values[index] ?? ""));

  test("each of these differs from every other, and from nothing else", async () => {
    const subject = await Subject.create("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const pairs = values.flatMap((_, a) => values.map((_, b) => [a, b] as const));
    subject.led.write((tx) => {
      for (const [id, [a]] of pairs.entries()) tx.exec(`INSERT INTO t VALUES (${id}, ${values[a]})`);
    });
    const found = await subject.changesOf((tx) => {
      for (const [id, [, b]] of pairs.entries()) tx.exec(`UPDATE t SET v = ${values[b]} WHERE id = ${id}`);
    });
    expect(found.map(({ key }) => key)).toEqual(
      [...pairs.keys()].filter((id) => !isSame(...(pairs[id] as [number, number]))),
    );
  });

  test("0.0 is not -0.0", async () => {
    const subject = await Subject.create("CREATE TABLE t(v)");
    subject.led.write((tx) => tx.run("INSERT INTO t VALUES (0.0), (?)", [-0]));
    expect((await subject.changesOf((tx) => tx.run("UPDATE t SET v = ?", [-0]))).map(({ key }) => key)).toEqual([1]);
  });

  test("in keys too: 1 and 1.0 are one key, two texts that are not UTF-8 are two", async () => {
    const script = `CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO w VALUES (1,'a'),(CAST(x'fe' AS TEXT),'b')`;
    const found = await (await Subject.create(script)).changesOf((tx) =>
      tx.exec(
        "UPDATE w SET k = 1.0 WHERE v = 'a'; INSERT INTO w VALUES (CAST(x'ff' AS TEXT),'c'); DELETE FROM w WHERE v = 'b'",
      ),
    );
    expect(found.map(({ kind, before, after }) => [kind, before?.["v"], after?.["v"]])).toEqual([
      ["updated", "a", "a"],
      ["deleted", "b", undefined],
      ["inserted", undefined, "c"],
    ]);
  });
});

describe("the schema", () => {
  test("tables that are on one side only are all their rows, and the schema comes first", async () => {
    const found = await linesOf("CREATE TABLE old(v); INSERT INTO old VALUES (1)", (tx) =>
      tx.exec(
        "DROP TABLE old; CREATE TABLE new(id INTEGER PRIMARY KEY); INSERT INTO new VALUES (5); CREATE INDEX i ON new(id)",
      ),
    );
    expect(found).toEqual([
      'sqlite_schema {"type":"table","name":"old"} - {"type":"table","name":"old","tbl_name":"old","sql":"CREATE TABLE old(v)"}',
      'sqlite_schema {"type":"index","name":"i"} + {"type":"index","name":"i","tbl_name":"new","sql":"CREATE INDEX i ON new(id)"}',
      'sqlite_schema {"type":"table","name":"new"} + {"type":"table","name":"new","tbl_name":"new","sql":"CREATE TABLE new(id INTEGER PRIMARY KEY)"}',
      'new 5 + {"id":5}',
      'old 1 - {"v":1}',
    ]);
  });

  test("an added column counts as NULL before, a dropped one after", async () => {
    const script = "CREATE TABLE t(a, b, c); INSERT INTO t VALUES (1,2,NULL),(1,NULL,NULL)";
    const found = await linesOf(script, (tx) =>
      tx.exec(
        "ALTER TABLE t DROP COLUMN b; ALTER TABLE t DROP COLUMN c; ALTER TABLE t ADD COLUMN d; UPDATE t SET d = 7 WHERE rowid = 2",
      ),
    );
    expect(found.slice(1)).toEqual([
      't 1 {"a":1,"b":2,"c":null} > {"a":1,"d":null} in b',
      't 2 {"a":1,"b":null,"c":null} > {"a":1,"d":7} in d',
    ]);
  });

  test("an added column with a default changes rows whose pages did not change", async () => {
    const script = "CREATE TABLE t(a); INSERT INTO t VALUES (1)";
    const found = await linesOf(script, (tx) => tx.exec("ALTER TABLE t ADD COLUMN b DEFAULT 5"));
    expect(found.slice(1)).toEqual(['t 1 {"a":1} > {"a":1,"b":5} in b']);
  });

  test("a table that got another primary key is deleted and inserted", async () => {
    const script = "CREATE TABLE t(a PRIMARY KEY, b); INSERT INTO t VALUES (1,2)";
    const found = await linesOf(script, (tx) =>
      tx.exec("DROP TABLE t; CREATE TABLE t(a, b, PRIMARY KEY(a, b)); INSERT INTO t VALUES (1,2)"),
    );
    expect(found.slice(1)).toEqual(['t {"a":1} - {"a":1,"b":2}', 't {"a":1,"b":2} + {"a":1,"b":2}']);
  });

  test("a table that was made anew, the same, is the same", async () => {
    const script = "CREATE TABLE t(a PRIMARY KEY, b); CREATE TABLE u(x); INSERT INTO t VALUES (1,2)";
    const found = await linesOf(script, (tx) =>
      tx.exec(
        "DROP TABLE t; CREATE TABLE v(x); CREATE TABLE t(a PRIMARY KEY, b); INSERT INTO t VALUES (1,2); DROP TABLE v",
      ),
    );
    expect(found).toEqual([]);
  });

  test("what SQLite makes for itself is no difference of the schema", async () => {
    const found = await linesOf("CREATE TABLE t(v)", (tx) =>
      tx.exec(
        "CREATE TABLE n(id INTEGER PRIMARY KEY AUTOINCREMENT, u UNIQUE); CREATE VIRTUAL TABLE f USING fts5(body)",
      ),
    );
    expect(found.map((text) => text.split(" + ")[0])).toEqual([
      'sqlite_schema {"type":"table","name":"f"}',
      'sqlite_schema {"type":"table","name":"n"}',
    ]);
  });

  test("generated columns, statistics and the library's own table are left out, AUTOINCREMENT's counters are not", async () => {
    const script = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, v AS (a + 1), s AS (a + 2) STORED)";
    const found = await linesOf(script, (tx) =>
      tx.exec("INSERT INTO t(a) VALUES (1); CREATE INDEX i ON t(a); ANALYZE"),
    );
    expect(found.slice(1)).toEqual(['sqlite_sequence 1 + {"name":"t","seq":1}', 't 1 + {"id":1,"a":1}']);
    expect(found[0]).toContain("CREATE INDEX");
    expect(found.join()).not.toMatch(/_lbc|last_update|sqlite_stat/);
  });

  test("virtual tables are compared by what they show, unless that is another table's", async () => {
    const script = `CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('one'),('two');
      CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 1);
      CREATE TABLE docs(body); INSERT INTO docs VALUES ('one'); CREATE VIRTUAL TABLE e USING fts5(body, content='docs')`;
    const found = await linesOf(script, (tx) =>
      tx.exec(
        "UPDATE f SET body = 'three' WHERE rowid = 2; INSERT INTO r VALUES (0, 2, 3); UPDATE docs SET body = 'x'; INSERT INTO e(e) VALUES ('rebuild')",
      ),
    );
    expect(found).toEqual([
      'docs 1 {"body":"one"} > {"body":"x"} in body',
      'f 2 {"body":"two"} > {"body":"three"} in body',
      'r 0 + {"id":0,"x0":2,"x1":3}',
    ]);
  });
});

describe("cost", () => {
  /** How often others may run, by a clock by which every step takes a whole turn. */
  async function restsOf(before: DiffSide, after: DiffSide): Promise<number> {
    let rests = 0;
    let looks = 0;
    const clock: Clock = {
      ...systemClock,
      monotonicMs: () => ++looks * 1000,
      soon: (fn) => {
        rests++;
        return systemClock.soon(fn);
      },
    };
    for await (const _ of diffStates(before, after, { clock }));
    return rests;
  }

  test("tables whose pages did not change are not read", async () => {
    const rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)";
    const subject = await Subject.create(`CREATE TABLE big(v); ${rows} INSERT INTO big SELECT 'row ' || i FROM n;
      CREATE TABLE small(v); INSERT INTO small VALUES (1)`);
    const before = await subject.keep();
    subject.led.write((tx) => tx.exec("UPDATE small SET v = 2"));
    expect(await restsOf(before, subject.side)).toBeLessThan(1000);
    subject.led.write((tx) => tx.exec("UPDATE big SET v = 'x' WHERE rowid = 10000"));
    expect(await restsOf(before, subject.side)).toBeGreaterThan(20_000);
  });

  test("others run meanwhile, and a signal ends it", async () => {
    const rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)";
    const subject = await Subject.create(`CREATE TABLE t(v); ${rows} INSERT INTO t SELECT i FROM n`);
    const before = await subject.keep();
    subject.led.write((tx) => tx.exec("UPDATE t SET v = -1 WHERE rowid = 200000"));
    const abort = new AbortController();
    let turns = 0;
    const other = setInterval(() => ++turns === 3 && abort.abort(new Error("enough")), 1);
    const found: RowChange[] = [];
    try {
      const run = async () => {
        for await (const change of diffStates(before, subject.side, { clock: systemClock, signal: abort.signal }))
          found.push(change);
      };
      await expect(run()).rejects.toThrow("enough");
    } finally {
      clearInterval(other);
    }
    expect(turns).toBeGreaterThanOrEqual(3);
    expect(found).toEqual([]);
    expect([before.image.pinCount, subject.side.image.pinCount]).toEqual([0, 0]);
  });

  test("what is compared is the version of the beginning, whatever is applied meanwhile", async () => {
    const subject = await Subject.create("CREATE TABLE t(v); INSERT INTO t VALUES (1),(2)");
    const before = await subject.keep();
    subject.led.write((tx) => tx.exec("UPDATE t SET v = v + 10"));
    const found: string[] = [];
    for await (const change of diffStates(before, subject.side, { clock: systemClock })) {
      found.push(line(change));
      subject.led.write((tx) => tx.exec("UPDATE t SET v = 0"));
    }
    expect(found).toEqual(['t 1 {"v":1} > {"v":11} in v', 't 2 {"v":2} > {"v":12} in v']);
    expect([before.image.pinCount, subject.side.image.pinCount]).toEqual([0, 0]);
  });

  test("also if a page is changed back before it is looked at", async () => {
    const subject = await Subject.create("CREATE TABLE filler(v); INSERT INTO filler SELECT zeroblob(2000000)");
    subject.led.write((tx) => tx.exec("CREATE TABLE t(v); INSERT INTO t VALUES (1000)"));
    const before = await subject.keep();
    subject.led.write((tx) => tx.exec("UPDATE t SET v = 2000"));
    let looks = 0;
    const clock: Clock = {
      ...systemClock,
      monotonicMs: () => ++looks * 1000,
      soon: (fn) => {
        if (looks < 10) subject.led.write((tx) => tx.exec("UPDATE t SET v = 1000"));
        return systemClock.soon(fn);
      },
    };
    const found: string[] = [];
    for await (const change of diffStates(before, subject.side, { clock })) found.push(line(change));
    expect(found).toEqual(['t 1 {"v":1000} > {"v":2000} in v']);
  });

  test("who stops early leaves nothing open", async () => {
    const subject = await Subject.create("CREATE TABLE t(v)");
    const before = await subject.keep();
    subject.led.write((tx) => tx.exec("INSERT INTO t VALUES (1),(2)"));
    for await (const _ of diffStates(before, subject.side, { clock: systemClock })) break;
    expect([before.image.pinCount, subject.side.image.pinCount]).toEqual([0, 0]);
  });
});
