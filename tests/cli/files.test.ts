import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { snapshotKey, walKey } from "../../src/format/keys.ts";
import type { VerifyReport } from "../../src/history/verify-report.ts";
import { FileSystemStore } from "../../src/mod.ts";
import { createTable, flip, insert, lead, newStore, QUIET, walEpochs } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { lbcHere, lbcJson } from "../support/lbc.ts";
import { sqliteCliVersion } from "../support/sqlite-cli.ts";

interface History {
  readonly store: string;
  readonly files: FileSystemStore;
  /** The epoch with the row `one` alone; `two` came after it. */
  readonly one: number;
}

/** A cluster named `test` that nobody leads. */
async function newHistory(): Promise<History> {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  const { node } = await lead(files, { settings: QUIET });
  await createTable(node);
  const { epoch: one } = await insert(node, "one");
  await insert(node, "two");
  await node.shutdown();
  return { store, files, one };
}

const NAMES = "SELECT name FROM items ORDER BY name";
const sqlite = (file: string, sql: string) => execFileSync("sqlite3", [file, sql], { encoding: "utf8" }).trim();

describe.skipIf(sqliteCliVersion === undefined)("export and import", () => {
  it("an exported point is a plain SQLite database, and a cluster can begin with it", async () => {
    const { store, one } = await newHistory();
    const file = `${testDirectory()}/out.db`;
    const exported = await lbcJson<Record<string, unknown>>(["export", file, "--at", String(one)], { store });
    expect(exported).toMatchObject({ epoch: one, file, bytes: readFileSync(file).length });
    expect(sqlite(file, `PRAGMA integrity_check; ${NAMES}`)).toBe("ok\none");
    const other = `${testDirectory()}/other`;
    expect(await lbcHere(["import", file, "--id", "other"], { store: other })).toMatchObject({ code: 0, stdout: "" });
    expect(await lbcJson(["sql", NAMES], { store: other })).toEqual([{ name: "one" }]);
    expect(await lbcJson(["status"], { store: other })).toMatchObject({ id: "other", newestEpoch: 0 });
    const third = `${testDirectory()}/third`;
    expect(await lbcJson(["init", "--from", file, "--id", "third"], { store: third })).toMatchObject({ from: file });
  });

  it("a file that exists is kept, unless it may be overwritten", async () => {
    const { store } = await newHistory();
    const file = `${testDirectory()}/out.db`;
    writeFileSync(file, "mine");
    const kept = await lbcHere(["export", file], { store });
    expect(kept.code).toBe(2);
    expect(kept.stderr).toContain("--overwrite");
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect((await lbcHere(["export", file, "--overwrite"], { store })).code).toBe(0);
    expect(sqlite(file, NAMES)).toBe("one\ntwo");
  });

  it("what is no database is not imported, and leaves no cluster behind", async () => {
    const directory = testDirectory();
    const text = `${directory}/text.db`;
    writeFileSync(text, "this is no database, however long it may become ".repeat(200));
    const damaged = `${directory}/damaged.db`;
    sqlite(
      damaged,
      "CREATE TABLE t(a); WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 9000) INSERT INTO t SELECT hex(randomblob(20)) FROM c",
    );
    const bytes = readFileSync(damaged);
    bytes.fill(0x55, 40_000, 60_000);
    writeFileSync(damaged, bytes);
    for (const [file, said] of [
      [text, "text.db"],
      [damaged, "damaged.db"],
      [directory, "it is no file"],
    ] as const) {
      const store = `${testDirectory()}/store`;
      const { code, stdout, stderr } = await lbcHere(["import", file, "--id", "x"], { store });
      expect({ file, stdout, isFailure: code === 1 || code === 2 }).toEqual({ file, stdout: "", isFailure: true });
      expect(stderr).toContain(said);
      expect((await lbcHere(["status"], { store })).code).toBe(4);
    }
  });
});

describe("fork", () => {
  it("another cluster begins with the point; this one is not touched", async () => {
    const { store, files, one } = await newHistory();
    const before = await walEpochs(files);
    const target = `${testDirectory()}/fork`;
    const forked = await lbcJson<Record<string, unknown>>(["fork", String(one), target, "--id", "copy"], { store });
    expect(forked).toMatchObject({ id: "copy", epoch: one, store: `file://${target}` });
    expect(await lbcJson(["sql", NAMES], { store: target })).toEqual([{ name: "one" }]);
    expect(await lbcJson(["status"], { store: target })).toMatchObject({ id: "copy", newestEpoch: 0 });
    expect(await walEpochs(files)).toEqual(before);
    const secret = "SELECT value FROM _lbc WHERE key = 'secret'";
    expect(await lbcJson(["sql", secret], { store: target })).not.toEqual(await lbcJson(["sql", secret], { store }));
  });

  it("a place that holds a cluster is refused, and so is the same name", async () => {
    const { store, files } = await newHistory();
    const before = await walEpochs(files);
    const onto = await lbcHere(["fork", "newest", store, "--id", "copy"], { store });
    expect(onto.code).toBe(1);
    expect(onto.stderr).toContain("there is a cluster");
    const target = `${testDirectory()}/fork`;
    const same = await lbcHere(["fork", "newest", target, "--id", "test"], { store });
    expect(same.code).toBe(2);
    expect(same.stderr).toContain("needs another id");
    expect(existsSync(target) ? readdirSync(target) : []).toEqual([]);
    expect(await walEpochs(files)).toEqual(before);
  });
});

describe("verify", () => {
  it("a sound history ends with 0", async () => {
    const { store } = await newHistory();
    const { code, stdout, stderr } = await lbcHere(["verify"], { store });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("everything can be restored");
    expect(await lbcJson<VerifyReport>(["verify"], { store })).toMatchObject({ isRestorable: true, findings: [] });
  });

  it("a lost epoch ends with 3, and says which", async () => {
    const { store, files, one } = await newHistory();
    await files.delete(walKey(one));
    const { code, stdout } = await lbcHere(["verify"], { store });
    expect(code).toBe(3);
    expect(stdout).toContain(walKey(one));
    expect(stdout).toContain("not everything can be restored");
    const json = await lbcHere(["verify", "--json"], { store });
    expect(json.code).toBe(3);
    expect(JSON.parse(json.stdout)).toMatchObject({ isRestorable: false });
  });

  it("a damaged snapshot ends with 3 until it is repaired", async () => {
    const { store, files } = await newHistory();
    await flip(files, snapshotKey(0), 9000);
    const found = await lbcHere(["verify"], { store });
    expect(found.code).toBe(3);
    expect(found.stdout).toContain("lbc verify --repair");
    const repaired = await lbcHere(["verify", "--repair"], { store });
    expect(repaired.code).toBe(0);
    expect(repaired.stdout).toContain("repaired");
    expect((await lbcHere(["verify"], { store })).code).toBe(0);
  });
});

describe("vacuum", () => {
  it("asks first, and keeps what the retention needs", async () => {
    const { store, files } = await newHistory();
    const before = await walEpochs(files);
    expect((await lbcHere(["vacuum"], { store })).code).toBe(2);
    const { code, stdout, stderr } = await lbcHere(["vacuum", "--retention", "1h", "--yes"], { store });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain("nothing to delete");
    expect(await walEpochs(files)).toEqual(before);
    expect(await lbcJson(["vacuum", "--yes"], { store })).toEqual({ boundary: 0, deleted: 0, bytes: 0 });
  });

  it("a retention under an hour is refused", async () => {
    const { store } = await newHistory();
    const { code, stderr } = await lbcHere(["vacuum", "--retention", "30m", "--yes"], { store });
    expect(code).toBe(2);
    expect(stderr).toContain("retentionMs");
  });
});

it("a store that is not there is no cluster, and is not made by looking", async () => {
  const store = `${testDirectory()}/nothing`;
  for (const args of [
    ["status"],
    ["members"],
    ["log"],
    ["sql", "SELECT 1"],
    ["verify"],
    ["vacuum", "--yes"],
    ["rollback", "1"],
  ]) {
    const { code, stderr } = await lbcHere(args, { store });
    expect({ args, code }).toEqual({ args, code: 4 });
    expect(stderr).toContain("lbc init --id NAME");
  }
  expect(existsSync(store)).toBe(false);
});
