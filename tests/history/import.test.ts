/** A cluster that starts from an SQLite file: whatever the file is like, all of its content and nothing else. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { describe, expect, it, onTestFinished } from "vitest";
import { LAST_SNAPSHOT_KEY, snapshotKey, walKey } from "../../src/format/keys.ts";
import { FileSystemStore, LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { systemRandom } from "../../src/platform/system.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import { bytesOf, FAST, join, lead, newStore, QUIET } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { askSqliteCli, sqliteCliVersion } from "../support/sqlite-cli.ts";
import { allObjects, askFile, digests, fileOf, keysWith, newPath, sqliteFile } from "../support/sqlite-file.ts";
import { until } from "../support/wait.ts";

const cluster = (store: ObjectStore) => new LittleBigCluster({ id: "test", store, ...FAST });

/** The lines of a dump, but for the system table's; what is made in which order differs. */
function content(dump: string): string[] {
  return dump
    .split("\n")
    .filter((line) => !line.includes("_lbc"))
    .sort();
}

async function imported(file: string, store: ObjectStore = new MemoryStore()): Promise<ObjectStore> {
  await cluster(store).init({ from: file });
  return store;
}

const ask = async (store: ObjectStore, sql: string) =>
  askSqliteCli(await bytesOf(store, snapshotKey(0)), undefined, sql);

/** The cluster's first snapshot has the file's content, in the shape of every cluster. */
async function expectContentOf(file: string, store: ObjectStore): Promise<void> {
  expect(content(await ask(store, ".dump"))).toEqual(content(askFile(file, ".dump")));
  expect(await ask(store, "PRAGMA integrity_check")).toBe("ok");
  const pragmas = ["page_size", "auto_vacuum", "journal_mode", "freelist_count", "encoding"];
  expect(await ask(store, pragmas.map((name) => `PRAGMA ${name};`).join(""))).toBe("4096\n0\nwal\n0\nUTF-8");
  for (const name of ["user_version", "application_id"])
    expect(await ask(store, `PRAGMA ${name}`)).toBe(askFile(file, `PRAGMA ${name}`));
  expect(await ask(store, "SELECT name, rootpage FROM sqlite_schema WHERE name LIKE '%\\_lbc%' ESCAPE '\\'")).toBe(
    "_lbc|2\nsqlite_autoindex__lbc_1|3",
  );
  expect(await ask(store, "SELECT key FROM _lbc ORDER BY key")).toBe("cluster_id\nformat\nlast_update\nsecret");
  expect(await ask(store, "SELECT value FROM _lbc WHERE key = 'cluster_id'")).toBe("test");
}

const ROWS = `CREATE TABLE items(name TEXT PRIMARY KEY, body BLOB);
  INSERT INTO items SELECT 'row ' || value, randomblob(value * 10) FROM generate_series(1, 300);`;

const RICH = `PRAGMA user_version = 7; PRAGMA application_id = 99;
  CREATE TABLE parents(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, upper_name TEXT AS (upper(name)) STORED,
    half AS (id / 2));
  CREATE TABLE children(parent INTEGER NOT NULL REFERENCES parents(id) ON DELETE CASCADE, note TEXT);
  CREATE TABLE pairs(a, b, c, PRIMARY KEY (b, a)) WITHOUT ROWID;
  CREATE TABLE typed(a INT, b ANY) STRICT;
  CREATE TABLE quoted(kind TEXT DEFAULT "plain", CHECK (kind <> "bad"));
  CREATE TABLE "odd ""name" ("a b" INTEGER, "select" TEXT);
  CREATE INDEX by_note ON children(note COLLATE NOCASE) WHERE note IS NOT NULL;
  CREATE UNIQUE INDEX by_expression ON parents(lower(name) DESC);
  CREATE VIEW names AS SELECT upper_name FROM parents;
  CREATE TABLE log(what);
  CREATE TRIGGER logs AFTER INSERT ON children BEGIN INSERT INTO log VALUES ('child of ' || new.parent); END;
  CREATE VIRTUAL TABLE notes USING fts5(note, content=children);
  CREATE TRIGGER notes_insert AFTER INSERT ON children BEGIN
    INSERT INTO notes(rowid, note) VALUES (new.rowid, new.note); END;
  CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
  INSERT INTO parents(name) VALUES ('one'), ('two'), ('Größe – 漢字 – 😀'); DELETE FROM parents WHERE id = 2;
  INSERT INTO children(rowid, parent, note) VALUES (1000, 1, 'hello world'), (5, 3, NULL), (7, 1, 'other');
  INSERT INTO pairs VALUES (1, 2, x'00ff'), (2, 1, 1.5), ('x', 'y', 9223372036854775807);
  INSERT INTO typed VALUES (1, 'any'); INSERT INTO "odd ""name" VALUES (1, 'it''s');
  INSERT INTO quoted DEFAULT VALUES; INSERT INTO boxes VALUES (1, 0, 10);
  ANALYZE;`;

describe.skipIf(sqliteCliVersion === undefined)("a cluster made of an SQLite file", () => {
  it.each([512, 1024, 2048, 4096, 8192, 16384, 32768, 65536])(
    "has its content: pages of %i bytes",
    async (pageBytes) => {
      const file = sqliteFile(`PRAGMA page_size = ${pageBytes}; ${ROWS}`);
      expect(askFile(file, "PRAGMA page_size")).toBe(String(pageBytes));
      await expectContentOf(file, await imported(file));
    },
  );

  it.each([
    ["every kind of table, index, view and trigger", RICH],
    ["WAL mode", `PRAGMA journal_mode = WAL; ${ROWS}`],
    ["auto_vacuum", `PRAGMA auto_vacuum = FULL; ${ROWS} DELETE FROM items WHERE name LIKE '%7%';`],
    ["incremental auto_vacuum", `PRAGMA auto_vacuum = INCREMENTAL; ${ROWS} DELETE FROM items WHERE name LIKE '%7%';`],
    ["free pages", `${ROWS} DELETE FROM items WHERE length(body) > 500;`],
    ["no table at all", "PRAGMA user_version = 3;"],
    ["reserved bytes in its pages", `.filectrl reserve_bytes 16\n${ROWS}`],
    ["an old file format", `PRAGMA legacy_file_format = ON; ${ROWS}`],
    ["an open rollback journal of an earlier time, used up", `PRAGMA journal_mode = PERSIST; ${ROWS}`],
  ])("has its content: %s", async (_, script) => {
    const file = sqliteFile(script);
    await expectContentOf(file, await imported(file));
  });

  it.each([512, 4096, 65536])("has what is committed in the -wal beside it: pages of %i bytes", async (pageBytes) => {
    const file = sqliteFile(`PRAGMA page_size = ${pageBytes}; PRAGMA journal_mode = WAL; CREATE TABLE early(a);
      PRAGMA wal_checkpoint(TRUNCATE);
.dbconfig no_ckpt_on_close on
      PRAGMA wal_autocheckpoint = 0; ${ROWS} BEGIN; UPDATE items SET body = zeroblob(5000); ROLLBACK; INSERT INTO early VALUES ('committed');`);
    expect(statSync(`${file}-wal`).size).toBeGreaterThan(100_000);
    const copy = newPath();
    for (const suffix of ["", "-wal"]) copyFileSync(file + suffix, copy + suffix);
    // A link's -wal lies beside what it points to.
    const link = newPath("link.db");
    symlinkSync(copy, link);
    const store = await imported(link);
    await expectContentOf(file, store);
    expect(await ask(store, "SELECT a FROM early")).toBe("committed");
  });

  it("has nothing of what is not committed in the -wal", async () => {
    const file = sqliteFile(`PRAGMA journal_mode = WAL;
.dbconfig no_ckpt_on_close on
      CREATE TABLE early(a); INSERT INTO early VALUES ('kept');`);
    const committed = statSync(`${file}-wal`).size;
    // A commit that was cut off: its frames are there, the last of them is not whole.
    const copy = newPath();
    for (const suffix of ["", "-wal"]) copyFileSync(file + suffix, copy + suffix);
    appendFileSync(`${copy}-wal`, readFileSync(`${copy}-wal`).subarray(32, committed - 100));
    expect(await ask(await imported(copy), "SELECT a FROM early")).toBe("kept");
  });

  it.each([
    ["memory", () => new MemoryStore()],
    ["file system", () => new FileSystemStore(testDirectory())],
  ])("is one that nodes join, read, write and follow, on the %s store", async (_, make) => {
    const store = await imported(sqliteFile(RICH), make());
    const { node } = await lead(store, { settings: QUIET });
    expect(node.db.query("SELECT upper_name FROM names ORDER BY 1")).toHaveLength(2);
    expect(node.db.values("SELECT rowid FROM notes WHERE notes MATCH 'hello'")).toEqual([[1000]]);
    const orphan = () => node.transaction((tx) => tx.run("INSERT INTO children VALUES (2, 'orphan')"));
    expect(await codeOf(orphan)).toBe("invalid/SQLITE_CONSTRAINT_FOREIGNKEY");
    const { epoch } = await node.transaction((tx) => {
      tx.run("INSERT INTO parents(name) VALUES ('next')");
      tx.run("INSERT INTO children VALUES (4, 'fresh words')");
    }).durable;
    const follower = await join("follower", store, { settings: QUIET });
    await follower.node.sync({ atLeast: epoch });
    const { db } = follower.node;
    expect(db.values("SELECT id FROM parents WHERE name = 'next'"), "AUTOINCREMENT goes on").toEqual([[4]]);
    expect(db.values("SELECT what FROM log WHERE what = 'child of 4'")).toHaveLength(1);
    expect(db.values("SELECT note FROM notes WHERE notes MATCH 'fresh'")).toEqual([["fresh words"]]);
    expect(db.values("PRAGMA integrity_check")).toEqual([["ok"]]);
    expect(db.values("PRAGMA foreign_key_check")).toEqual([]);
    expect((await failureOf(cluster(store).init())).code).toBe("already_initialized");
  });

  it("has nothing of what was deleted in the file, nor the secret of the cluster that it came from", async () => {
    const origin = await newStore(new MemoryStore(), "origin");
    const file = fileOf(await bytesOf(origin, snapshotKey(0)));
    const secret = askFile(file, "SELECT value FROM _lbc WHERE key = 'secret'");
    askFile(
      file,
      `PRAGMA secure_delete = OFF; ${ROWS} CREATE TABLE old(a); INSERT INTO old VALUES ('deleted long ago'); DROP TABLE old;`,
    );
    expect(readFileSync(file).includes("deleted long ago"), "the test would show it").toBe(true);
    const store = await imported(file);
    await expectContentOf(file, store);
    for (const text of [secret, secret.slice(5, 20), "origin", "deleted long ago"])
      expect(await keysWith(store, text), text).toEqual([]);
    expect(await ask(store, "SELECT value FROM _lbc WHERE key = 'secret'")).toMatch(/^[\w-]{43}$/);
  });

  it("tells how far it is, and can be given up before anything is written", async () => {
    const file = sqliteFile(
      `CREATE TABLE big(a); INSERT INTO big SELECT randomblob(1000) FROM generate_series(1, 6000);`,
    );
    const seen: number[] = [];
    let total = 0;
    const onProgress = (progress: { bytes: number; bytesTotal: number }) => {
      seen.push(progress.bytes);
      total = progress.bytesTotal;
      expect(progress.bytes).toBeLessThanOrEqual(progress.bytesTotal);
    };
    await cluster(new MemoryStore()).init({ from: file, onProgress });
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.length).toBeGreaterThan(15);
    expect(seen.at(-1)).toBe(total);
    // While the file is read, checked and converted.
    for (const fraction of [0.1, 0.3, 0.5]) {
      const store = new MemoryStore();
      const giveUp = new AbortController();
      const abort = ({ bytes }: { bytes: number }) => {
        expect(giveUp.signal.aborted, "nothing more is done").toBe(false);
        if (bytes > fraction * total) giveUp.abort(new Error(`given up at ${fraction}`));
      };
      const call = cluster(store).init({ from: file, onProgress: abort, signal: giveUp.signal });
      await expect(call).rejects.toThrow(`given up at ${fraction}`);
      expect((await store.list("")).objects).toEqual([]);
    }
  });

  it("of two at once is made by exactly one, of one file", async () => {
    const files = ["one", "two"].map((name) =>
      sqliteFile(`CREATE TABLE which(name); INSERT INTO which VALUES ('${name}');`),
    );
    const store = new FileSystemStore(testDirectory());
    const answers = await Promise.allSettled(files.map((file) => imported(file, store)));
    const won = answers.findIndex(({ status }) => status === "fulfilled");
    expect(answers.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(answers[1 - won]).toMatchObject({ reason: { code: "already_initialized" } });
    await expectContentOf(files[won] as string, store);
    expect([...(await allObjects(store)).keys()]).toEqual([LAST_SNAPSHOT_KEY, snapshotKey(0), walKey(0)]);
  });

  it("is complete after it was cut off once its epoch was there, and nothing before", async () => {
    const file = sqliteFile(ROWS);
    for (const [key, isMade] of [
      [walKey(0), false],
      [snapshotKey(0), true],
      [LAST_SNAPSHOT_KEY, true],
    ] as const) {
      const store = new MemoryStore();
      const cut = { kind: "fail_before", error: new Error("power cut") } as const;
      const faults = new FaultyStore(store, {
        onCall: (call) => (call.operation === "put" && call.key === key ? cut : undefined),
      });
      await expect(imported(file, faults)).rejects.toThrow("power cut");
      expect(await cluster(store).isInitialized()).toBe(isMade);
      if (!isMade) continue;
      const { node } = await lead(store, { settings: QUIET });
      expect(node.db.get("SELECT count(*) AS n FROM items")).toEqual({ n: 300 });
      await expectContentOf(file, store);
    }
  });
});

/** Turns bytes of a file over. */
function damaged(file: string, offset: number, length: number): string {
  const bytes = readFileSync(file);
  for (let at = offset; at < offset + length; at++) bytes[at] = (bytes[at] as number) ^ 0xff;
  return fileOf(bytes);
}

/** The file and its WAL, with pages in the WAL only. */
const UTF16_IN_WAL = `PRAGMA encoding = 'UTF-16le'; PRAGMA journal_mode = WAL;
.dbconfig no_ckpt_on_close on
  CREATE TABLE t(a); INSERT INTO t VALUES ('text');`;

describe.skipIf(sqliteCliVersion === undefined)("an import is refused, with nothing written,", () => {
  it.each<[string, () => string, string, RegExp]>([
    ["of no file", () => newPath(), "invalid/file_unreadable", /there is no such file/],
    ["of a directory", () => testDirectory(), "invalid/file_unreadable", /is a directory/],
    ["of a device", () => "/dev/null", "invalid/file_unreadable", /is no file/],
    ["of an empty file", () => fileOf(""), "invalid/not_a_database", /is empty/],
    [
      "of an SQL script",
      () => fileOf(`-- a script\n${ROWS}`),
      "invalid/not_a_database",
      /is a text.*sqlite3 new\.db </s,
    ],
    ["of random bytes", () => fileOf(systemRandom.bytes(8192)), "invalid/not_a_database", /or an encrypted one/],
    [
      "of an SQLite header and random bytes",
      () => {
        const bytes = systemRandom.bytes(8192);
        bytes.set(readFileSync(sqliteFile(ROWS)).subarray(0, 100));
        return fileOf(bytes);
      },
      "corrupt/database_corrupt",
      /damaged or encrypted|cut off|integrity_check/,
    ],
    [
      "of a file cut at a page",
      () => fileOf(readFileSync(sqliteFile(ROWS)).subarray(0, 40 * 4096)),
      "corrupt/database_corrupt",
      /cut off: its header tells of \d+ bytes, there are 163840/,
    ],
    [
      "of a file cut inside a page",
      () => fileOf(readFileSync(sqliteFile(ROWS)).subarray(0, -1)),
      "corrupt/database_corrupt",
      /cut off/,
    ],
    [
      "of a file cut inside its header",
      () => fileOf(readFileSync(sqliteFile(ROWS)).subarray(0, 60)),
      "invalid/not_a_database",
      /not an SQLite database/,
    ],
    [
      "of a damaged table",
      () => damaged(sqliteFile(ROWS), 5 * 4096, 60),
      "corrupt/database_corrupt",
      /integrity_check reports: .+/,
    ],
    ["of a damaged schema", () => damaged(sqliteFile(ROWS), 100, 12), "corrupt/database_corrupt", /./],
    [
      "of an index that lacks a row",
      () => {
        const file = sqliteFile("CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES (1), (2);");
        askFile(
          file,
          "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'i'; PRAGMA writable_schema = RESET; INSERT INTO t VALUES (3); PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('index', 'i', 't', 3, 'CREATE INDEX i ON t(a)');",
        );
        return file;
      },
      "corrupt/database_corrupt",
      /row 3 missing from index i|wrong # of entries/,
    ],
    [
      "of UTF-16 texts",
      () => sqliteFile(`PRAGMA encoding = 'UTF-16le'; ${ROWS}`),
      "invalid/database_unsupported",
      /UTF-16le.*\.dump/,
    ],
    [
      "of big-endian UTF-16 texts",
      () => sqliteFile(`PRAGMA encoding = 'UTF-16be'; ${ROWS}`),
      "invalid/database_unsupported",
      /UTF-16be/,
    ],
    [
      "of UTF-16 texts of which only the -wal tells",
      () => sqliteFile(UTF16_IN_WAL),
      "invalid/database_unsupported",
      /UTF-16le/,
    ],
    [
      "of a virtual table of an unknown module",
      () => sqliteFile("CREATE VIRTUAL TABLE texts USING fts4(t);"),
      "invalid/database_unsupported",
      /virtual table "texts" .*no such module: fts4/,
    ],
    [
      "of an unknown collation",
      () => sqliteFile("CREATE TABLE t(a COLLATE uint UNIQUE); INSERT INTO t VALUES (1), (2);"),
      "invalid/database_unsupported",
      /no such collation sequence: uint/,
    ],
    [
      "of an unknown function",
      () => sqliteFile("CREATE TABLE t(a, b AS (sha3(a))); CREATE INDEX i ON t(b);"),
      "invalid/database_unsupported",
      /sha3/,
    ],
    [
      "of another's table _lbc",
      () => sqliteFile("CREATE TABLE _lbc(mine); INSERT INTO _lbc VALUES (1);"),
      "invalid/foreign_system_table",
      /_lbc/,
    ],
    [
      "of another's table _LBC",
      () => sqliteFile("CREATE TABLE _LBC (key TEXT PRIMARY KEY, value ANY);"),
      "invalid/foreign_system_table",
      /_lbc/,
    ],
    [
      "of a view _lbc",
      () => sqliteFile("CREATE VIEW _lbc AS SELECT 1 AS key, 2 AS value;"),
      "invalid/foreign_system_table",
      /_lbc/,
    ],
    [
      "of a trigger on _lbc",
      () =>
        sqliteFile(
          "CREATE TABLE _lbc (key TEXT PRIMARY KEY, value ANY); CREATE TRIGGER t AFTER INSERT ON _lbc BEGIN SELECT 1; END;",
        ),
      "invalid/foreign_system_table",
      /_lbc/,
    ],
    [
      "of a cluster's database of a later format",
      () => sqliteFile("CREATE TABLE _lbc (key TEXT PRIMARY KEY, value ANY); INSERT INTO _lbc VALUES ('format', 2);"),
      "invalid/unknown_format",
      /format 2/,
    ],
    [
      "of a file of a later SQLite format",
      () => {
        const bytes = readFileSync(sqliteFile(ROWS));
        bytes.fill(3, 18, 20);
        return fileOf(bytes);
      },
      "corrupt/database_corrupt",
      /damaged or encrypted/,
    ],
  ])("%s", async (_, make, code, text) => {
    const file = make();
    const store = new MemoryStore();
    const error = await failureOf(cluster(store).init({ from: file }));
    expect(`${error.kind}/${error.code}: ${error.message}`).toMatch(text);
    expect(`${error.kind}/${error.code}`).toBe(code);
    expect(error.details["file"]).toBe(file);
    expect(error.message).toContain(file);
    expect((await store.list("")).objects).toEqual([]);
  });

  it.each<[string, (file: string) => void]>([
    ["grows", (file) => appendFileSync(file, "more")],
    ["shrinks", (file) => writeFileSync(file, readFileSync(file).subarray(0, 8192))],
    ["is written to", (file) => utimesSync(file, new Date(), new Date(Date.now() + 5))],
    [
      "is replaced",
      (file) => {
        // Another file of the same size and time.
        execFileSync("cp", ["-p", file, `${file}.other`]);
        renameSync(`${file}.other`, file);
      },
    ],
    ["goes away", (file) => rmSync(file)],
    ["gets a -wal", (file) => writeFileSync(`${file}-wal`, "begun")],
    ["gets a -journal", (file) => writeFileSync(`${file}-journal`, "begun")],
  ])("of a file that %s while it is read", async (_, change) => {
    const file = sqliteFile(ROWS);
    const store = new MemoryStore();
    let calls = 0;
    const onProgress = () => {
      if (calls++ === 0) change(file);
    };
    const error = await failureOf(cluster(store).init({ from: file, onProgress }));
    expect(calls).toBeGreaterThan(0);
    expect(error).toMatchObject({ kind: "unavailable", code: "file_in_use", details: { file } });
    expect(error.message).toContain(`sqlite3 ${file} "VACUUM INTO 'copy.db'"`);
    expect((await store.list("")).objects).toEqual([]);
  });

  it("of a file with a -wal that changes while it is read", async () => {
    const file = sqliteFile(`PRAGMA journal_mode = WAL;\n.dbconfig no_ckpt_on_close on\n${ROWS}`);
    let calls = 0;
    const onProgress = () => {
      if (calls++ === 0) appendFileSync(`${file}-wal`, "more");
    };
    expect(await codeOf(cluster(new MemoryStore()).init({ from: file, onProgress }))).toBe("unavailable/file_in_use");
  });

  it("of a file in which another program has begun to write", async () => {
    const file = sqliteFile(ROWS);
    const program = spawn("sqlite3", [file], { stdio: ["pipe", "ignore", "inherit"] });
    onTestFinished(async () => {
      if (program.exitCode !== null) return;
      program.kill("SIGKILL");
      await once(program, "exit");
    });
    program.stdin.write("PRAGMA cache_size = 5; BEGIN; UPDATE items SET body = randomblob(3000);\n");
    await until("the journal", () => existsSync(`${file}-journal`) && statSync(`${file}-journal`).size > 4096);
    const store = new MemoryStore();
    const error = await failureOf(cluster(store).init({ from: file }));
    expect(error).toMatchObject({ kind: "unavailable", code: "file_in_use" });
    expect(error.message).toContain("-journal");
    expect((await store.list("")).objects).toEqual([]);
    program.stdin.end("ROLLBACK;\n");
    await once(program, "exit");
    await expectContentOf(file, await imported(file, store));
  });

  it("where there is a cluster, or the store is not atomic", async () => {
    const file = sqliteFile(ROWS);
    const taken = await newStore();
    const before = await digests(taken);
    expect(await codeOf(cluster(taken).init({ from: file }))).toBe("invalid/already_initialized");
    expect(await digests(taken)).toEqual(before);
    const store = new MemoryStore();
    const { put } = store;
    store.put = (key, body, options) => put.call(store, key, body, { ...options, ifAbsent: false });
    expect(await codeOf(cluster(store).init({ from: file }))).toBe("invalid/store_not_atomic");
    expect((await store.list("")).objects).toEqual([]);
  });
});
