import { closeSync, existsSync, openSync, readFileSync, statSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FileSystemStore } from "../../src/mod.ts";
import { createTable, insert, lead, newStore, QUIET } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { ended, hasTerminals, LbcTerminal, lbcJson, startLbc } from "../support/lbc.ts";
import { RUNTIMES } from "../support/runtimes.ts";
import { until } from "../support/wait.ts";

const MANY_ROWS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 400000) SELECT x FROM c";
const FOR_EVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c";
/** Starting TypeScript takes its time where others work too. */
const TEST_MAX_MS = 120_000;

/** A cluster with a table and the rows `one` and `two`, which nobody leads; gives the epoch of `one`. */
async function newHistory(): Promise<{ readonly store: string; readonly one: number }> {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  const { node } = await lead(files, { settings: QUIET });
  await createTable(node);
  const { epoch: one } = await insert(node, "one");
  await insert(node, "two");
  await node.shutdown();
  return { store, one };
}

describe.each(RUNTIMES)("on %s", (runtime) => {
  it("a reader that has enough ends the command quietly", { timeout: TEST_MAX_MS }, async () => {
    const { store } = await newHistory();
    const child = startLbc(["sql", MANY_ROWS, "--csv"], { runtime, store });
    const result = ended(child, "lbc sql | head");
    child.stdout?.once("data", () => child.stdout?.destroy());
    expect(await result).toMatchObject({ code: 0, stderr: "" });
  });

  it.skipIf(!existsSync("/dev/full"))("a full disk is a failure", { timeout: TEST_MAX_MS }, async () => {
    const { store } = await newHistory();
    const full = openSync("/dev/full", "w");
    const child = startLbc(["sql", "SELECT 1"], { runtime, store, stdout: full });
    closeSync(full);
    const { code, stderr } = await ended(child, "lbc sql > /dev/full");
    expect(code).toBe(1);
    expect(stderr).toContain("the output could not be written");
  });

  it("Ctrl-C ends a query that never ends", { timeout: TEST_MAX_MS }, async () => {
    const { store } = await newHistory();
    const child = startLbc(["sql", `SELECT 'begun'; ${FOR_EVER}`, "--csv"], { runtime, store });
    const result = ended(child, "lbc sql for ever");
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    const pressing = setInterval(() => child.kill("SIGINT"), 200);
    const { code, signal } = await result.finally(() => clearInterval(pressing));
    expect(signal === "SIGINT" || code === 130).toBe(true);
  });

  it.skipIf(!hasTerminals)("the shell reads, remembers, and moves through time", { timeout: TEST_MAX_MS }, async () => {
    const { store, one } = await newHistory();
    const home = testDirectory();
    const environment = { HOME: home, TERM: "xterm", XDG_STATE_HOME: "" };
    const terminal = new LbcTerminal(["sql"], { runtime, store, environment });
    await terminal.shows("of cluster test");
    await terminal.shows("test@");
    terminal.type(".tables\r");
    await terminal.shows("│ items │ table │");
    terminal.type("SELECT name,\r");
    await terminal.shows("...> ");
    terminal.type("count(*) OVER () AS n FROM items ORDER BY rowid;\r");
    await terminal.shows("│ two  │ 2 │");
    await terminal.shows("2 rows");
    terminal.type(`.at ${one}\r`);
    await terminal.shows(`test@${one}> `);
    terminal.type(".mode csv\rSELECT count(*) AS n FROM items;\r");
    await terminal.shows("n\r\n1\r\n");
    terminal.type("SELECT nope;\r");
    await terminal.shows("no such column: nope");
    terminal.type(".at 99999\r");
    await terminal.shows("does not exist yet");
    terminal.type(".schema items\r");
    await terminal.shows("CREATE TABLE");
    // Ctrl-C drops what was typed, and nothing of it is left.
    terminal.type("SELECT 'dropped\r");
    await terminal.shows("...> ");
    terminal.type("\x03");
    await terminal.shows(`test@${one}> `);
    terminal.type("SELECT 'kept' AS k;\r");
    await terminal.shows("k\r\nkept\r\n");
    terminal.type("\x04");
    expect(await terminal.exited).toMatchObject({ code: 0 });
    const history = `${home}/.lbc_history`;
    expect(readFileSync(history, "utf8").split("\n").slice(0, 3)).toEqual([
      ".tables",
      "SELECT name,",
      "count(*) OVER () AS n FROM items ORDER BY rowid;",
    ]);
    expect(statSync(history).mode & 0o077).toBe(0);

    const next = new LbcTerminal(["sql", "--csv"], { runtime, store, environment });
    await next.shows("test@");
    next.type("\x1b[A");
    await next.shows("SELECT 'kept' AS k;");
    next.type("\r");
    await next.shows("k\r\nkept\r\n");
    next.type(".quit\r");
    expect(await next.exited).toMatchObject({ code: 0 });
  });

  it.skipIf(!hasTerminals)("Ctrl-C in the shell ends a query that never ends", { timeout: TEST_MAX_MS }, async () => {
    const { store } = await newHistory();
    const environment = { HOME: testDirectory(), TERM: "xterm" };
    const terminal = new LbcTerminal(["sql", "--csv"], { runtime, store, environment });
    await terminal.shows("test@");
    terminal.type(`SELECT 'begun' AS b; ${FOR_EVER};\r`);
    await terminal.shows("b\r\nbegun\r\n");
    // While SQLite runs the terminal gives a signal; before that the shell would take the key.
    const typing = setInterval(() => terminal.type("\x03"), 200);
    try {
      expect((await terminal.exited).code).not.toBe(0);
    } finally {
      clearInterval(typing);
    }
  });

  it.skipIf(!hasTerminals)("rollback asks first, and shows how far it is", { timeout: TEST_MAX_MS }, async () => {
    const { store, one } = await newHistory();
    const environment = { TERM: "xterm" };
    const epochs = async () => (await lbcJson<unknown[]>(["log", "--limit", "all"], { store })).length;
    const before = await epochs();
    for (const [typed, code] of [
      ["\r", 0],
      ["n", 0],
      ["\x03", 130],
    ] as const) {
      const terminal = new LbcTerminal(["rollback", String(one)], { runtime, store, environment });
      await terminal.shows(`Roll back to epoch ${one}?`);
      terminal.type(typed);
      expect(await terminal.exited).toMatchObject({ code });
    }
    expect(await epochs()).toBe(before);
    const terminal = new LbcTerminal(["rollback", String(one)], { runtime, store, environment });
    await terminal.shows(`Roll back to epoch ${one}?`);
    terminal.type("y");
    await terminal.shows("100%");
    await terminal.shows("/s");
    await terminal.shows(`has the state of epoch ${one}`);
    expect(await terminal.exited).toMatchObject({ code: 0 });
    expect(await lbcJson(["sql", "SELECT name FROM items"], { store })).toEqual([{ name: "one" }]);
  });
});

it("Ctrl-C while the leader is watched ends with 130", { timeout: TEST_MAX_MS }, async () => {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  const { node } = await lead(files, { settings: QUIET, join: { advertise: "127.0.0.1:1" } });
  await createTable(node);
  const child = startLbc(["rollback", "0", "--yes", "--session-timeout", "10m"], { store });
  let said = "";
  child.stderr?.on("data", (chunk) => {
    said += chunk;
  });
  const result = ended(child, "lbc rollback");
  await until("it waits", () => said.includes("waiting whether it lives"), TEST_MAX_MS);
  child.kill("SIGINT");
  expect(await result).toMatchObject({ code: 130, stdout: "" });
  expect(node.role.current).toBe("leader");
});
