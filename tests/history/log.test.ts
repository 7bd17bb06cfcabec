import { describe, expect, test } from "vitest";
import { isClusterError } from "../../src/errors.ts";
import { packKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { findSystemPages } from "../../src/format/system-page.ts";
import { encodeChain } from "../../src/format/system-rows.ts";
import { parseWal } from "../../src/format/wal.ts";
import { readEpochFacts } from "../../src/history/epoch-facts.ts";
import { type EpochRecord, type HistoryOptions, history } from "../../src/history/log.ts";
import type { ObjectStore } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { bytesOf, createTable, flip, insert, lead, newStore, QUIET } from "../support/cluster.ts";
import { importedEpoch } from "../support/imported-epoch.ts";
import { minuteMs, minuteText, partsAt, WrittenHistory } from "../support/written-history.ts";

const LEADER = { uuid: "u", az: "AZ0", address: "127.0.0.1:1" };

async function recordsOf(
  store: ObjectStore,
  newest: number,
  options: HistoryOptions = {},
  earliest = 0,
): Promise<EpochRecord[]> {
  const records: EpochRecord[] = [];
  for await (const record of history(partsAt(store, minuteMs(9999)), { earliest, newest }, options))
    records.push(record);
  return records;
}

async function codeOfRejection(action: Promise<unknown>): Promise<string> {
  return await action.then(
    () => "none",
    (error: unknown) => (isClusterError(error) ? `${error.kind}/${error.code}` : Promise.reject(error)),
  );
}

test("of a real cluster: time, leader, bytes and pages of every epoch", async () => {
  const store = await newStore();
  const { node } = await lead(store, { settings: QUIET });
  await createTable(node);
  await insert(node, "large", new Uint8Array(300_000).fill(7));
  const { epoch: newest } = await insert(node, "small");
  const records = await recordsOf(store, newest);
  expect(records.map(({ epoch }) => epoch)).toEqual(Array.from({ length: newest + 1 }, (_, epoch) => epoch));
  for (const { epoch, time, leader, bytes, pages, rollback, problem } of records) {
    const wal = await bytesOf(store, walKey(epoch));
    expect(new Date(time ?? "").toISOString()).toBe(time);
    expect(leader?.uuid).toBe(epoch === 0 ? undefined : node.leader.current?.uuid);
    expect([bytes, pages, rollback, problem]).toEqual([wal.length, (wal.length - 32) / 4120, undefined, undefined]);
  }
  expect(Math.max(...records.map(({ pages }) => pages))).toBeGreaterThan(300_000 / 4096);
});

test("a rollback is marked in its own epoch only, though its row stays", async () => {
  const { store } = await WrittenHistory.create([
    { time: minuteText(0) },
    { time: minuteText(1), leader: LEADER },
    { time: minuteText(2), rollback: { from: 1, to: 0 } },
    { time: minuteText(3), leader: null },
  ]);
  const records = await recordsOf(store, 3);
  expect(records.map(({ rollback }) => rollback)).toEqual([undefined, undefined, { from: 1, to: 0 }, undefined]);
  expect(records.map(({ leader }) => leader)).toEqual([undefined, LEADER, LEADER, undefined]);
});

describe("between two points, both included", () => {
  test("upwards and downwards, by epoch and by time", async () => {
    const { store } = await WrittenHistory.minutes(20);
    const epochs = async (options: HistoryOptions) =>
      (await recordsOf(store, 19, options, 2)).map(({ epoch }) => epoch);
    expect(await epochs({ from: 5, to: "8" })).toEqual([5, 6, 7, 8]);
    expect(await epochs({ from: minuteText(5, 500), to: minuteText(8), order: "descending" })).toEqual([8, 7, 6, 5]);
    expect(await epochs({ from: 18 })).toEqual([18, 19]);
    expect(await epochs({ to: 3, order: "descending" })).toEqual([3, 2]);
    expect(await epochs({ from: "9 days ago", to: minuteText(3) })).toEqual([2, 3]);
    expect(await epochs({ from: 0, to: 999 })).toHaveLength(18);
    expect(await epochs({ from: 7, to: 7 })).toEqual([7]);
  });

  test("and what leaves nothing is refused", async () => {
    const { store } = await WrittenHistory.minutes(9);
    const code = (options: HistoryOptions) => codeOfRejection(recordsOf(store, 8, options, 2));
    expect(await code({ from: 6, to: 5 })).toBe("invalid/bad_range");
    expect(await code({ from: 9 })).toBe("invalid/point_in_future");
    expect(await code({ to: 1 })).toBe("invalid/point_before_history");
    expect(await code({ from: "yesterday" })).toBe("invalid/bad_point");
  });
});

test("a missing, damaged, exchanged or foreign WAL is told as a problem of its epoch, and the others go on", async () => {
  const { store } = await WrittenHistory.minutes(12);
  await store.delete(walKey(2));
  await flip(store, walKey(3), 3000);
  await store.put(walKey(4), (await bytesOf(store, walKey(4))).subarray(0, 4151));
  await store.put(walKey(5), await bytesOf(store, walKey(7)));
  await store.put(walKey(6), new Uint8Array(0));
  await store.put(walKey(8), new Uint8Array(5000).fill(1));
  for (const order of ["ascending", "descending"] as const) {
    const records = (await recordsOf(store, 11, { order })).sort((a, b) => a.epoch - b.epoch);
    expect(records.map(({ epoch }) => epoch)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(records.filter(({ problem }) => problem !== undefined).map(({ epoch }) => epoch)).toEqual([
      2, 3, 4, 5, 6, 8,
    ]);
    expect(records[2]).toMatchObject({ bytes: 0, pages: 0, time: undefined, problem: `${walKey(2)} is missing` });
    expect(records[3]?.problem).toContain("checksum");
    expect(records[4]).toMatchObject({ bytes: 4151, problem: expect.stringContaining("file size") });
    expect(records[5]?.problem).toContain("epoch before it");
    expect(records[9]).toMatchObject({ time: minuteText(9), problem: undefined });
  }
});

test("an epoch that the retention takes between the listing and its reading is missing", async () => {
  const { store } = await WrittenHistory.minutes(6);
  const faulty = new FaultyStore(store, {
    onCall: ({ operation, key }) => {
      if (operation === "get" && key === walKey(1)) void store.delete(key);
      return undefined;
    },
  });
  expect((await recordsOf(faulty, 5)).map(({ problem }) => problem !== undefined)).toEqual([
    false,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("a store that fails is no problem of an epoch: its error is passed on", async () => {
  const { store } = await WrittenHistory.minutes(6);
  const faulty = new FaultyStore(store, {
    onCall: ({ operation, key }) => (operation === "get" && key === walKey(3) ? { kind: "fail_before" } : undefined),
  });
  expect(await codeOfRejection(recordsOf(faulty, 5))).toBe("unavailable/store_timeout");
});

test("a long history is read in windows, so much at a time, and a signal ends it", async () => {
  const count = 2500;
  const { store } = await WrittenHistory.minutes(count);
  for (const epoch of [100, 1000, 2000]) await store.put(snapshotKey(epoch), new Uint8Array(1));
  for (let from = 0; from < 2496; from += 64) await store.put(packKey(from, from + 64), new Uint8Array(1));
  const faulty = new FaultyStore(store);
  let [open, openMost, ahead, aheadMost, lists, given] = [0, 0, 0, 0, 0, 0];
  const get = faulty.get.bind(faulty);
  faulty.get = async (key, options) => {
    openMost = Math.max(openMost, ++open);
    aheadMost = Math.max(aheadMost, ++ahead - given);
    try {
      return await get(key, options);
    } finally {
      open--;
    }
  };
  faulty.onCall = ({ operation }) => {
    if (operation === "list") lists++;
    return undefined;
  };
  for (const order of ["ascending", "descending"] as const) {
    const epochs: number[] = [];
    for await (const { epoch, problem } of history(
      partsAt(faulty, minuteMs(9999)),
      { earliest: 0, newest: count - 1 },
      { order },
    )) {
      expect(problem).toBeUndefined();
      epochs.push(epoch);
      given++;
    }
    if (order === "descending") epochs.reverse();
    expect(epochs).toEqual(Array.from({ length: count }, (_, epoch) => epoch));
  }
  expect(openMost).toBeGreaterThan(4);
  expect(aheadMost).toBeLessThanOrEqual(17);
  expect(lists).toBeLessThanOrEqual(12);

  const abort = new AbortController();
  let read = 0;
  const run = async () => {
    for await (const _ of history(
      partsAt(store, minuteMs(9999)),
      { earliest: 0, newest: count - 1 },
      { signal: abort.signal },
    ))
      if (++read === 10) abort.abort(new Error("enough"));
  };
  await expect(run()).rejects.toThrow("enough");
  expect(read).toBe(10);
});

describe("an epoch's facts", () => {
  test("are read from the beginning of a large WAL", async () => {
    const write = (tx: { exec: (sql: string) => void }) =>
      tx.exec("CREATE TABLE t AS SELECT randomblob(1000000) AS body");
    const { store } = await WrittenHistory.create([
      { time: minuteText(0) },
      { time: minuteText(1), leader: LEADER, write },
    ]);
    const ranges: unknown[] = [];
    const faulty = new FaultyStore(store);
    const get = faulty.get.bind(faulty);
    faulty.get = (key, options) => {
      ranges.push(options?.range);
      return get(key, options);
    };
    const { length } = await bytesOf(store, walKey(1));
    expect(await readEpochFacts(faulty, 1, undefined)).toEqual({
      epoch: 1,
      time: minuteText(1),
      leader: LEADER,
      clusterId: "test",
      rollback: undefined,
      bytes: length,
      pages: (length - 32) / 4120,
    });
    expect(ranges).toEqual([{ offset: 0, length: 32 * 1024 }]);
    expect(await readEpochFacts(store, 7, undefined)).toBeUndefined();
  });

  test("are not those of a user's copy of the system table, wherever that is", async () => {
    const copyTable = "CREATE TABLE copy(key PRIMARY KEY, value); INSERT INTO copy SELECT * FROM _lbc";
    const { store } = await WrittenHistory.create([
      { time: minuteText(0) },
      { time: minuteText(1), write: (tx) => tx.exec(copyTable) },
      { time: minuteText(2), write: (tx) => tx.exec("UPDATE copy SET value = '9999' WHERE key = 'last_update'") },
    ]);
    expect((await recordsOf(store, 2)).map(({ time }) => time)).toEqual([0, 1, 2].map((minute) => minuteText(minute)));
  });

  test("are found in a cluster that began with a file, where page 2 is a user's copy of another's system table", async () => {
    const chain = (epoch: number) => encodeChain({ epoch, wal: "ab".repeat(32), state: "cd".repeat(8) });
    const script = `CREATE TABLE copy(key, value);
      INSERT INTO copy VALUES ('cluster_id', 'other'), ('last_update', '${minuteText(7)}'), ('chain', '${chain(3)}')`;
    for (const pages of [1, 40]) {
      const change = `UPDATE copy SET value = '${minuteText(8)}' WHERE key = 'last_update'; UPDATE filler SET body = randomblob(4000)`;
      const filler = `CREATE TABLE filler(body); INSERT INTO filler SELECT randomblob(4000) FROM json_each('${JSON.stringify(Array.from({ length: pages }))}')`;
      const rows = { last_update: minuteText(5), chain: chain(41) };
      const bytes = await importedEpoch(`${script}; ${filler}`, change, rows);
      const { store } = await WrittenHistory.create([]);
      await store.put(walKey(42), bytes);
      expect(findSystemPages(parseWal(bytes, "epoch")).map(({ pageNumber }) => pageNumber)).toEqual([
        2,
        expect.any(Number),
      ]);
      expect(await readEpochFacts(store, 42, undefined)).toMatchObject({ clusterId: "imported", time: minuteText(5) });
    }
  });
});
