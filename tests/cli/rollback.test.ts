import { cpSync } from "node:fs";
import { expect, it } from "vitest";
import type { EpochRecord } from "../../src/history/log.ts";
import { FileSystemStore } from "../../src/mod.ts";
import {
  createTable,
  FAST,
  insert,
  join,
  lead,
  namesIn,
  newStore,
  type Subject,
  UNREACHABLE,
} from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { lbcHere, lbcJson } from "../support/lbc.ts";

interface Cluster {
  readonly store: string;
  readonly leader: Subject;
  /** The epoch with the row `one` alone; `two` came after it. */
  readonly one: number;
}

async function newCluster(options: Parameters<typeof lead>[1] = {}): Promise<Cluster> {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  const leader = await lead(files, options);
  await createTable(leader.node);
  const { epoch: one } = await insert(leader.node, "one");
  await insert(leader.node, "two");
  return { store, leader, one };
}

interface Done {
  readonly from: number;
  readonly to: number;
  readonly epoch: number;
  readonly pages: number;
  readonly leader: { readonly uuid: string } | null;
}

const namesNow = async (store: string) =>
  (await lbcJson<{ name: string }[]>(["sql", "SELECT name FROM items ORDER BY name"], { store })).map(
    ({ name }) => name,
  );

it("goes through the leader if one lives; can be undone; the log shows it", async () => {
  const { store, leader, one } = await newCluster();
  const follower = await join("follower", new FileSystemStore(store));
  const done = await lbcJson<Done>(["rollback", String(one), "--yes"], { store });
  expect(done).toMatchObject({ to: one, leader: { uuid: leader.node.uuid } });
  expect(done.epoch).toBe(done.from + 1);
  expect(namesIn(leader.node)).toEqual(["one"]);
  await follower.node.sync({ atLeast: done.epoch });
  expect(namesIn(follower.node)).toEqual(["one"]);
  const records = await lbcJson<EpochRecord[]>(["log", "--limit", "all"], { store });
  expect(records.find(({ epoch }) => epoch === done.epoch)?.rollback).toEqual({ from: done.from, to: one });
  const undone = await lbcHere(["rollback", String(done.from), "--yes"], { store });
  expect(undone.code).toBe(0);
  expect(undone.stdout).toBe("");
  expect(undone.stderr).toContain(`by the leader at ${leader.node.address}`);
  expect(namesIn(leader.node)).toEqual(["one", "two"]);
  expect(leader.node.role.current).toBe("leader");
});

it("takes the leadership for one epoch where nobody leads, and gives it up again", async () => {
  const { store, leader, one } = await newCluster();
  await leader.node.shutdown();
  const done = await lbcJson<Done>(["rollback", String(one), "--yes"], { store });
  expect(done).toMatchObject({ to: one, leader: null });
  expect(await namesNow(store)).toEqual(["one"]);
  const status = await lbcJson<{ leader: unknown; newestEpoch: number }>(["status"], { store });
  expect(status.leader).toBeNull();
  const again = await lead(new FileSystemStore(store));
  expect(namesIn(again.node)).toEqual(["one"]);
});

it("takes the place of a leader that is gone, after its session time-out", async () => {
  const { store, one } = await newCluster({ join: UNREACHABLE });
  const copy = testDirectory();
  // What a machine leaves behind that lost its power: the newest epoch names a leader that nobody hears of again.
  cpSync(store, copy, { recursive: true });
  const done = await lbcJson<Done>(["rollback", String(one), "--yes", "--session-timeout", "1s"], { store: copy });
  expect(done).toMatchObject({ to: one, leader: null });
  expect(await namesNow(copy)).toEqual(["one"]);
});

it("does not take the place of a leader that lives and is not reached from here", async () => {
  const { store, leader, one } = await newCluster({ join: UNREACHABLE, settings: { ...FAST, fastFailover: false } });
  const { code, stdout, stderr } = await lbcHere(["rollback", String(one), "--yes", "--json"], { store });
  expect({ code, stdout }).toEqual({ code: 5, stdout: "" });
  expect(stderr).toContain('"code":"leader_unreachable"');
  expect(leader.node.role.current).toBe("leader");
  expect(namesIn(leader.node)).toEqual(["one", "two"]);
});

it("does nothing without --yes where nobody can be asked, nor with --dry-run", async () => {
  const { store, leader, one } = await newCluster();
  const { code, stdout, stderr } = await lbcHere(["rollback", String(one)], { store });
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain("give --yes");
  expect(stderr).toContain(`to    epoch ${one} `);
  const plan = await lbcJson<Record<string, unknown>>(["rollback", String(one), "--dry-run"], { store });
  expect(plan).toMatchObject({ cluster: "test", to: one, leader: { uuid: leader.node.uuid } });
  expect((await lbcHere(["rollback", String(one), "--dry-run"], { store })).code).toBe(0);
  expect(namesIn(leader.node)).toEqual(["one", "two"]);
});

it("a point that is not in the history is refused before anybody is asked", async () => {
  const { store } = await newCluster();
  for (const [point, code] of [
    ["999999", 4],
    ["2001-01-01T00:00:00Z", 4],
    ["whenever", 2],
  ] as const) {
    const result = await lbcHere(["rollback", point], { store });
    expect({ point, code: result.code }).toEqual({ point, code });
    expect(result.stderr).not.toContain("give --yes");
  }
});
