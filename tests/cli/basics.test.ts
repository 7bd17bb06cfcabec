import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { EXIT } from "../../src/cli/exit-codes.ts";
import { VERSION } from "../../src/version.ts";
import { testDirectory } from "../support/directory.ts";
import { lbc, lbcHere } from "../support/lbc.ts";
import { ROOT, RUNTIMES } from "../support/runtimes.ts";

it.each(RUNTIMES)(
  "on %s a cluster is made, shown, logged and read",
  async (runtime) => {
    const store = `${testDirectory()}/store`;
    const options = { runtime, store };
    expect((await lbc(["--version"], options)).stdout).toBe(`${VERSION}\n`);
    const made = await lbc(["init", "--id", "one"], options);
    expect(made).toMatchObject({
      code: 0,
      stdout: "",
      stderr: `The cluster one is at file://${store}; nodes can join it.\n`,
    });
    const json = async (args: string[]) => JSON.parse((await lbc(args, options)).stdout) as unknown;
    expect(await json(["status", "--json"])).toMatchObject({
      id: "one",
      store: `file://${store}`,
      newestEpoch: 0,
      earliestEpoch: 0,
      leader: null,
      databaseBytes: 12_288,
      lastSnapshot: { epoch: 0, bytes: 12_288 },
      objects: { epochs: { count: 1 }, snapshots: { count: 1 }, packs: { count: 0, bytes: 0 } },
    });
    expect(await json(["log", "--json"])).toMatchObject([{ epoch: 0, pages: 3, leader: null, rollback: null }]);
    expect(await json(["sql", "SELECT value FROM _lbc WHERE key = 'cluster_id'", "--json"])).toEqual([
      { value: "one" },
    ]);
    const again = await lbc(["init", "--id", "two"], options);
    expect(again).toMatchObject({ code: 1, stdout: "" });
    expect(again.stderr).toContain("there is a cluster");
  },
  60_000,
);

it("the store is given by option or by LBC_STORE, before or after the command", async () => {
  const store = `${testDirectory()}/store`;
  expect((await lbcHere(["--store", store, "init", "--id", "one"])).code).toBe(0);
  expect((await lbcHere(["status", "--store", store])).code).toBe(0);
  expect((await lbcHere(["-s", store, "status"], { store: "/nowhere/else" })).code).toBe(0);
  expect((await lbcHere(["status"], { store })).code).toBe(0);
});

it("each wrong command line ends with 2 and says what is wrong", async () => {
  const store = `${testDirectory()}/store`;
  const wrong: [string[], string][] = [
    [["wat"], "unknown command 'wat'"],
    [["statsu"], "Did you mean status?"],
    [["status", "--wat"], "unknown option '--wat'"],
    [["status", "extra"], "too many arguments"],
    [["rollback"], "missing required argument 'point'"],
    [["log", "--limit", "none"], 'It must be a whole number of at least 1, or "all".'],
    [["vacuum", "--retention", "soon"], "It must be a duration"],
    [["init"], "Give --id NAME"],
    [["fork", "3", "./other"], "Give --id NAME"],
    [["sql", "/* nothing */ ;"], "there is no SQL"],
    [["status", "--node", "http:"], "expected HOST:PORT"],
    [["status", "--node", "x:1", "--cert", "a.pem"], "--cert and --key go together"],
    [["status", "--node", "x:1", "--ca", "/nowhere.pem"], "--ca: ENOENT"],
    [["import", "/nowhere.db", "--id", "x"], "there is no such file"],
    [["status", "--store", "wat:x"], "not the URL of a store"],
    [["status", "--store", "s3://bucket"], "AWS_ACCESS_KEY_ID"],
    [["init", "--id", ""], "id: must not be empty"],
  ];
  const results = await Promise.all(wrong.map(([args]) => lbcHere(args, { store })));
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    const [args, said] = wrong[index] as [string[], string];
    expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: "" });
    expect(stderr).toContain(said);
    expect(stderr).not.toMatch(/^\s+at /m);
  }
  const none = await lbcHere(["status"]);
  expect(none.code).toBe(2);
  expect(none.stderr).toContain("--store URL, or set LBC_STORE");
});

it("without a command the help is shown, as a wrong command line; asked for, as data", async () => {
  const none = await lbcHere([]);
  expect(none).toMatchObject({ code: 2, stdout: "" });
  const help = await lbcHere(["help"]);
  expect(help).toMatchObject({ code: 0, stderr: "" });
  expect(none.stderr).toBe(help.stdout);
  const manual = readFileSync(`${ROOT}docs/cli.md`, "utf8");
  for (const code of Object.values(EXIT)) {
    expect(help.stdout).toMatch(new RegExp(`\\b${code} {2}`));
    expect(manual).toMatch(new RegExp(`^\\|.*\\b${code}\\b.*\\|`, "m"));
  }
  const commands = [...help.stdout.matchAll(/^ {2}([a-z]+) .*? {2}/gm)]
    .map(([, name]) => name)
    .filter((name) => name !== "help");
  expect(commands).toHaveLength(12);
  for (const name of commands) expect(manual).toContain(`| \`lbc ${name}`);
  const ofSql = await lbcHere(["help", "sql"]);
  expect(ofSql.stdout).toContain("--at <point>");
});

it("with --json errors are JSON too, on standard error", async () => {
  const store = `${testDirectory()}/store`;
  const { code, stdout, stderr } = await lbcHere(["--json", "status"], { store });
  expect({ code, stdout }).toEqual({ code: 4, stdout: "" });
  expect(JSON.parse(stderr)).toEqual({
    error: `there is no cluster at file://${store}`,
    kind: "invalid",
    code: "not_initialized",
    details: { store: `file://${store}` },
    hint: "make one with: lbc init --id NAME",
  });
  const usage = await lbcHere(["status", "--json", "--wat"], { store });
  expect(usage.code).toBe(2);
  expect(JSON.parse(usage.stderr)).toMatchObject({ kind: "invalid", code: "usage" });
});
