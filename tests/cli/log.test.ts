import { expect, it } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import type { EpochRecord } from "../../src/history/log.ts";
import { FileSystemStore } from "../../src/mod.ts";
import { createTable, insert, lead, newStore, QUIET } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { lbcHere, lbcJson } from "../support/lbc.ts";

/** A cluster of 6 epochs that its leader, `address`, has left; nothing happens any more. */
async function newHistory(): Promise<{
  readonly store: string;
  readonly files: FileSystemStore;
  readonly address: string;
}> {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  const { node } = await lead(files, { settings: QUIET });
  await createTable(node);
  await insert(node, "one");
  await insert(node, "two", new Uint8Array(20_000));
  await node.shutdown();
  return { store, files, address: node.address };
}

const epochsOf = (records: readonly EpochRecord[]) => records.map(({ epoch }) => epoch);

it("the newest epoch comes first, with who led and how much changed", async () => {
  const { store, address } = await newHistory();
  const records = await lbcJson<EpochRecord[]>(["log"], { store });
  expect(epochsOf(records)).toEqual([5, 4, 3, 2, 1, 0]);
  expect(records[1]).toMatchObject({ leader: { address }, rollback: null, problem: null });
  expect(records[0]?.leader).toBeNull();
  expect(records[1]?.pages).toBeGreaterThan(5);
  expect(records[1]?.bytes).toBeGreaterThan(20_000);
  const { stdout } = await lbcHere(["log", "--csv"], { store });
  const lines = stdout.trimEnd().split("\n");
  expect(lines[0]).toBe("epoch,time,leader,az,pages,bytes,what");
  expect(lines[2]).toBe(`4,${records[1]?.time},${address},AZ0,${records[1]?.pages},${records[1]?.bytes},`);
});

it("--from, --to and --limit choose", async () => {
  const { store } = await newHistory();
  const epochs = async (...args: string[]) => epochsOf(await lbcJson<EpochRecord[]>(["log", ...args], { store }));
  expect(await epochs("--limit", "2")).toEqual([5, 4]);
  expect(await epochs("--limit", "all", "--from", "3")).toEqual([5, 4, 3]);
  expect(await epochs("--to", "2")).toEqual([2, 1, 0]);
  expect(await epochs("--from", "1", "--to", "2")).toEqual([2, 1]);
  expect(await epochs("--from", "earliest", "--to", "newest")).toHaveLength(6);
  expect(await epochs("--from", "1h ago")).toHaveLength(6);
  expect((await lbcHere(["log", "--from", "4", "--to", "2"], { store })).code).toBe(2);
});

it("an epoch that is damaged is listed with what is wrong", async () => {
  const { store, files } = await newHistory();
  await files.put(walKey(3), new Uint8Array(100));
  const { code, stdout } = await lbcHere(["log"], { store });
  expect(code).toBe(0);
  expect(stdout.split("\n")[3]).toContain(walKey(3));
  expect(await lbcJson<EpochRecord[]>(["log", "--limit", "3"], { store })).toHaveLength(3);
});
