/** A restore gives exactly what was, or says that it cannot: whichever objects are wrong, and whatever proves them. */
import { describe, expect, it } from "vitest";
import { equalBytes } from "../../src/base/bytes.ts";
import type { LogEvent } from "../../src/base/log.ts";
import { LAST_VACUUM_KEY, packKey, parseKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { packSalts } from "../../src/format/pack.ts";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import { restoreReplica } from "../../src/history/past.ts";
import { restore } from "../../src/history/restore.ts";
import { LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { systemClock, systemRandom } from "../../src/platform/system.ts";
import { createSqlite } from "../../src/sqlite/context.ts";
import { SystemReader } from "../../src/sqlite/replica-state.ts";
import { FaultyStore, type StoreCall } from "../../src/testing/mod.ts";
import { bytesOf, createTable, flip, imageAt, insert, lead, newStore, putMarker, QUIET } from "../support/cluster.ts";
import { expectError } from "../support/errors.ts";
import { allObjects, historyParts } from "../support/sqlite-file.ts";
import { TestClock } from "../support/test-clock.ts";
import { until } from "../support/wait.ts";

const NEWEST = 200;
/** Every 45 epochs one, the first at 0. */
const SNAPSHOTS = [0, 45, 90, 135, 180];
let template: Promise<MemoryStore> | undefined;

/** A history of 200 epochs with packs of 64, and snapshots where they are said to be; made once. */
async function history(snapshots: readonly number[] = SNAPSHOTS): Promise<MemoryStore> {
  template ??= makeHistory();
  const store = new MemoryStore();
  for (const [key, bytes] of await allObjects(await template)) {
    const { kind, epoch = 0 } = parseKey(key) ?? {};
    if (kind !== "snapshot" || snapshots.includes(epoch)) await store.put(key, bytes);
  }
  return store;
}

async function makeHistory(): Promise<MemoryStore> {
  const store = new MemoryStore();
  await newStore(store);
  const { node } = await lead(store, { settings: { ...QUIET, snapshot: { walBytesMin: 2 ** 40, objectsMax: 1000 } } });
  await createTable(node);
  // Pages that one pack writes and the next one does not.
  while (node.epoch.current < NEWEST) await insert(node, `row ${node.epoch.current}`, new Uint8Array(900));
  await until("the packs", async () => (await store.head(packKey(128, 192))) !== undefined);
  await node.shutdown();
  for (const epoch of SNAPSHOTS) await store.put(snapshotKey(epoch), await imageAt(store, epoch));
  await putMarker(store, String(180).padStart(20, "0"));
  return store;
}

/** The bytes of the database at an epoch. */
async function stateAt(store: ObjectStore, epoch?: number): Promise<{ epoch: number; bytes: Uint8Array }> {
  const replica = await restoreReplica(historyParts(store), epoch);
  try {
    const pin = replica.state.image.pin();
    return { epoch: replica.epoch, bytes: pin.copy(0, pin.byteLength) };
  } finally {
    replica.close();
  }
}

const images = new Map<number, Promise<Uint8Array>>();

/** The database as it was at an epoch, before anything was damaged. */
async function imageThen(epoch: number): Promise<Uint8Array> {
  template ??= makeHistory();
  const image = images.get(epoch) ?? imageAt(await template, epoch);
  images.set(epoch, image);
  return await image;
}

async function expectRestored(store: ObjectStore, epoch: number): Promise<void> {
  const found = await stateAt(store, epoch);
  expect(found.epoch).toBe(epoch);
  // By themselves: a matcher would print them.
  expect(equalBytes(found.bytes, await imageThen(epoch))).toBe(true);
}

/** Well made, in which one byte of one page is another; of a page that `later` does not write, if that is given. */
async function forge(store: ObjectStore, key: string, salts: readonly [number, number], later?: string): Promise<void> {
  const wal = parseWal(await bytesOf(store, key), key);
  const written = later === undefined ? [] : [...parseWal(await bytesOf(store, later), later).pageNumbers];
  const pages = [...wal.pageNumbers].map((pageNumber, frame) => ({
    pageNumber,
    bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
  }));
  const victim = pages.findLast(({ pageNumber }) => !written.includes(pageNumber)) as (typeof pages)[number];
  victim.bytes[4000] = (victim.bytes[4000] ?? 0) ^ 1;
  await store.put(key, encodeWal(pages, wal.pageCount, salts));
}

async function forgePack(store: ObjectStore, from: number, to: number): Promise<void> {
  const next = packKey(to, to + to - from);
  await forge(store, packKey(from, to), packSalts("test", { from, to }), next);
}

/** Where a snapshot may be wrong so that a pack after it does not make it good. */
async function untouchedOffset(store: ObjectStore, epoch: number, from: number, to: number): Promise<number> {
  const { pageNumbers } = parseWal(await bytesOf(store, packKey(from, to)), "pack");
  const pageCount = (await bytesOf(store, snapshotKey(epoch))).length / PAGE_BYTES;
  for (let page = pageCount; page > 0; page--) if (!pageNumbers.includes(page)) return page * PAGE_BYTES - 1;
  throw new Error("every page is in the pack");
}

/** What was left aside on the way to an epoch. */
async function refusalsOf(
  store: ObjectStore,
  upTo?: number,
): Promise<{ epoch: number; refusals: unknown[]; places: unknown[] }> {
  const refusals: unknown[] = [];
  const places: unknown[] = [];
  const log = ({ event, objects, details }: LogEvent) => {
    if (event !== "restore_refused") return;
    refusals.push(objects);
    places.push((details as { where?: unknown }).where);
  };
  const replica = await restoreReplica({ ...historyParts(store), log }, upTo);
  replica.close();
  return { epoch: replica.epoch, refusals, places };
}

async function copyObject(store: ObjectStore, from: string, to: string): Promise<void> {
  await store.put(to, await bytesOf(store, from));
}

/** Where a page is that the epochs after `epoch` write no more: a wrong byte there stays. */
async function lastByteOf(store: ObjectStore, key: string): Promise<number> {
  return (await bytesOf(store, key)).length - 1;
}

describe("what proves an epoch", () => {
  it("is no object at the wrong place: the epoch before it opens", async () => {
    const store = await history();
    await copyObject(store, walKey(160), walKey(101));
    await expectRestored(store, 100);
    await expectError(() => stateAt(store, 101), "corrupt", "diverged");
    await copyObject(store, walKey(99), walKey(101));
    await expectRestored(store, 100);
    await copyObject(store, walKey(100), walKey(101));
    await expectRestored(store, 100);
  });

  it.each([
    ["missing", async (store: ObjectStore) => await store.delete(walKey(91))],
    ["damaged", async (store: ObjectStore) => await flip(store, walKey(91), 5000)],
    ["at the wrong place", async (store: ObjectStore) => await copyObject(store, walKey(95), walKey(91))],
  ])("is %s: a snapshot that it would prove is left aside for what can be proven", async (_name, damage) => {
    const store = await history();
    await damage(store);
    await flip(store, snapshotKey(90), await lastByteOf(store, snapshotKey(90)));
    await expectRestored(store, 90);
    await store.delete(walKey(50));
    for (const epoch of [0, 45]) await store.delete(snapshotKey(epoch));
    await store.delete(walKey(0));
    const { message } = await expectError(() => stateAt(store, 90), "corrupt", "history_unproven");
    expect(message).toContain(snapshotKey(90));
    expect(message).toContain(walKey(91));
  });

  it("is missing: a pack that it would prove is left aside for the epochs", async () => {
    const store = await history([0]);
    await forgePack(store, 64, 128);
    await store.delete(walKey(129));
    await expectRestored(store, 128);
    await store.delete(walKey(100));
    await expectError(() => stateAt(store, 128), "corrupt", "history_incomplete");
  });

  it("is a snapshot's own system table: that of a later epoch is none of this", async () => {
    const store = await history();
    await copyObject(store, snapshotKey(135), snapshotKey(90));
    await expectRestored(store, 90);
    await store.put(snapshotKey(90), await imageThen(91));
    await expectRestored(store, 90);
    expect((await refusalsOf(store, 90)).places).toEqual(["epoch before it"]);
  });

  it("is gone meanwhile, because the retention passed it", async () => {
    const whole = await history();
    const store = new FaultyStore(whole);
    store.onCall = ({ operation, key }) => {
      if (operation !== "get" || key !== snapshotKey(90)) return undefined;
      store.onCall = () => undefined;
      const old = Array.from({ length: 135 }, (_, epoch) => [walKey(epoch), snapshotKey(epoch)]).flat();
      void whole.put(LAST_VACUUM_KEY, new TextEncoder().encode(String(135).padStart(20, "0")));
      void whole.deleteMany(old.filter((deleted) => deleted !== key));
      return undefined;
    };
    await expectError(() => stateAt(store, 90), "invalid", "point_before_history");
  });

  it("is not the snapshot's own epoch under the name of the next", async () => {
    const store = await history([90]);
    for (const key of [walKey(0), walKey(92)]) await store.delete(key);
    await copyObject(store, walKey(90), walKey(91));
    await expectError(() => stateAt(store, 91), "corrupt", "diverged");
  });
});

describe("that takes too long", () => {
  const MINUTE_MS = 60_000;
  const isNewestWal = ({ operation, key }: StoreCall) => operation === "get" && key === walKey(NEWEST);

  /** Reads the newest state; the machine is suspended for so long at each call that `stops` names. */
  async function readSlowly(retentionMs: number, stops: (call: StoreCall) => boolean, suspendedMs: number) {
    const clock = new TestClock();
    const faulty = new FaultyStore(await history());
    faulty.onCall = (call) => {
      if (stops(call)) clock.setWall(suspendedMs);
    };
    const system = new SystemReader(await createSqlite(systemClock, systemRandom));
    const events: LogEvent[] = [];
    const none = { log: (event: LogEvent) => void events.push(event), signal: undefined, onProgress: undefined };
    const limits = { parallel: 4, bytesMax: 2 ** 26, clock, retentionMs };
    const { state } = await restore({ store: faulty, system, ...limits, ...none });
    return { epoch: state.epoch, events };
  }

  it("starts over: the end of it may have been trimmed, and created again", async () => {
    let count = 0;
    const stopsOnce = (call: StoreCall) => isNewestWal(call) && count++ === 0;
    const reason = "what was read may have been trimmed meanwhile";
    expect(await readSlowly(60 * MINUTE_MS, stopsOnce, 31 * MINUTE_MS)).toEqual({
      epoch: NEWEST + 1,
      events: [{ level: "info", event: "restore_restarted", attempt: 1, reason }],
    });
  });

  it("again and again says what is needed", async () => {
    const reading = () => readSlowly(60 * MINUTE_MS, isNewestWal, 31 * MINUTE_MS);
    await expectError(reading, "unavailable", "restore_too_slow");
  });

  it("has as long as the retention allows", async () => {
    const read = await readSlowly(24 * 60 * MINUTE_MS, isNewestWal, 120 * MINUTE_MS);
    expect(read).toEqual({ epoch: NEWEST + 1, events: [] });
  });
});

describe("what is read", () => {
  const read = async (store: ObjectStore, upTo?: number) => {
    const system = new SystemReader(await createSqlite(systemClock, systemRandom));
    const none = { log: () => {}, signal: undefined, onProgress: undefined };
    const limits = { parallel: 4, bytesMax: 2 ** 26, clock: systemClock, retentionMs: 3_600_000 };
    const { base, steps } = await restore({ store, system, ...limits, upTo, ...none });
    return `${base.kind} ${base.epoch}${steps.map(({ kind, epoch }) => ` ${kind} ${epoch}`).join("")}`;
  };

  it("is the snapshot of the epoch and no more, or the pack that ends there", async () => {
    expect(await read(await history(), 90)).toBe("snapshot 90");
    expect(await read(await history([0]), 64)).toBe("snapshot 0 pack 64");
    expect(await read(await history([0]), 192)).toBe("snapshot 0 pack 64 pack 128 pack 192");
  });

  it("is not a snapshot of the newest epoch, which nothing proves yet", async () => {
    const store = await history();
    const newest = NEWEST + 1;
    const image = (await imageThen(newest)).slice();
    image[image.length - 5000] = (image[image.length - 5000] ?? 0) ^ 1;
    await store.put(snapshotKey(newest), image);
    await putMarker(store, String(newest).padStart(20, "0"));
    expect(equalBytes((await stateAt(store)).bytes, await imageThen(newest))).toBe(true);
    await expectRestored(store, newest);
    expect(await read(store)).toMatch(/^snapshot 180 .* wal 201$/);
  });

  it("is right before anybody sees it: an epoch that the next one contradicts is no result", async () => {
    const store = await history([0]);
    await forge(store, walKey(100), [1, 2]);
    await expectError(() => stateAt(store, 100), "corrupt", "diverged");
  });

  it("P10: is tried in another way only so often", async () => {
    const store = await history([]);
    for (let epoch = 1; epoch <= NEWEST; epoch++) await store.put(snapshotKey(epoch), new Uint8Array(PAGE_BYTES));
    const { refusals } = await refusalsOf(store, 150);
    expect(refusals).toHaveLength(150);
    await expectError(() => stateAt(store, NEWEST), "corrupt", "snapshot_corrupt");
  });
});

describe("one of several is wrong", () => {
  it("the first of two packs: the second still leads over a lost epoch", async () => {
    const store = await history([0]);
    await forgePack(store, 0, 64);
    await store.delete(walKey(100));
    await expectRestored(store, 128);
    await expectRestored(store, 150);
    expect((await stateAt(store)).epoch).toBe(NEWEST + 1);
  });

  it("the snapshot before two packs: these lead there from an older one", async () => {
    const store = await history([0, 90]);
    await flip(store, snapshotKey(90), await untouchedOffset(store, 90, 64, 128));
    await store.delete(walKey(150));
    await expectRestored(store, 192);
    await expectRestored(store, 195);
  });

  it("and is found by one more walk, which asks the epoch after each", async () => {
    const store = await history([0]);
    await forgePack(store, 64, 128);
    expect(await refusalsOf(store)).toMatchObject({
      epoch: NEWEST + 1,
      refusals: [[packKey(0, 64), packKey(64, 128), packKey(128, 192)], [packKey(64, 128)]].map((keys) =>
        expect.arrayContaining(keys),
      ),
    });
    const damaged = await history([0]);
    await flip(damaged, packKey(64, 128), 5000);
    expect((await refusalsOf(damaged)).refusals).toEqual([[packKey(64, 128)]]);
    const other = await history([0, 90]);
    await flip(other, snapshotKey(90), await untouchedOffset(other, 90, 64, 128));
    const { refusals } = await refusalsOf(other, 192);
    expect(refusals).toHaveLength(2);
    expect(refusals[1]).toEqual([snapshotKey(90)]);
  });

  it("and the epochs that would tell which are lost too", async () => {
    const store = await history([0, 90]);
    await flip(store, snapshotKey(90), await untouchedOffset(store, 90, 64, 128));
    for (const epoch of [91, 129, 150]) await store.delete(walKey(epoch));
    await expectRestored(store, 192);
  });

  it("an epoch that the next one contradicts: a pack leads there", async () => {
    const store = await history([0]);
    await forge(store, walKey(128), [1, 2]);
    await expectRestored(store, 128);
    await expectRestored(store, 127);
  });
});

describe("names that mean nothing", () => {
  it("a pack of no epochs that there are, or of another cluster, keeps nobody from joining", async () => {
    const store = await history();
    await copyObject(store, packKey(0, 64), packKey(1024, 2048));
    await copyObject(store, packKey(0, 64), packKey(0, 16_384));
    await copyObject(store, packKey(0, 64), packKey(100, 230));
    expect((await stateAt(store)).epoch).toBe(NEWEST + 1);
    const cluster = new LittleBigCluster({ id: "test", store });
    expect(await cluster.extent()).toEqual({ earliest: 0, newest: NEWEST + 1 });
    expect(await cluster.verify()).toMatchObject({ to: NEWEST + 1, lost: [], isRestorable: true });
  });

  it("a pack alone tells that there were epochs, and nobody goes on from before them", async () => {
    const store = await history([0]);
    for (let epoch = 150; epoch <= NEWEST + 1; epoch++) await store.delete(walKey(epoch));
    expect(await new LittleBigCluster({ id: "test", store }).extent()).toEqual({ earliest: 0, newest: 192 });
    await expectRestored(store, 149);
    expect((await stateAt(store)).epoch).toBe(192);
    await copyObject(store, packKey(0, 64), packKey(1024, 2048));
    expect((await stateAt(store)).epoch).toBe(192);
    expect((await new LittleBigCluster({ id: "test", store }).extent()).newest).toBe(192);
    await flip(store, packKey(128, 192), 5000);
    await expectError(() => stateAt(store), "corrupt", "wal_corrupt");
  });

  it("packs of lengths that there are not are not even read", async () => {
    const store = await history();
    await copyObject(store, packKey(0, 64), packKey(100, 230));
    await copyObject(store, packKey(0, 64), packKey(0, Number.MAX_SAFE_INTEGER));
    await copyObject(store, packKey(0, 64), packKey(1, 65));
    for (const upTo of [undefined, 64, 65, 120]) expect((await refusalsOf(store, upTo)).refusals).toEqual([]);
    expect((await new LittleBigCluster({ id: "test", store }).extent()).newest).toBe(NEWEST + 1);
  });

  it("a snapshot of an epoch that there never was is an error, and no endless search", async () => {
    const store = await history();
    await store.put(snapshotKey(Number.MAX_SAFE_INTEGER - 1), new Uint8Array(PAGE_BYTES));
    await expectError(() => stateAt(store), "corrupt", "snapshot_corrupt");
    await expectRestored(store, 100);
  });

  it.each([
    ["beyond every epoch", String(Number.MAX_SAFE_INTEGER).padStart(20, "0")],
    ["no epoch", "what?"],
    ["an epoch without a snapshot", String(77).padStart(20, "0")],
  ])("markers that name %s hide nothing", async (_name, text) => {
    for (const key of [".lbc/.last_snapshot", ".lbc/.last_vacuum"]) {
      const store = await history();
      await store.put(key, new TextEncoder().encode(text));
      const cluster = new LittleBigCluster({ id: "test", store });
      expect((await cluster.extent()).newest).toBe(NEWEST + 1);
      expect((await stateAt(store)).epoch).toBe(NEWEST + 1);
      await expectRestored(store, 150);
      await store.delete(walKey(199));
      expect(await cluster.verify()).toMatchObject({ isRestorable: false });
    }
  });
});

describe("a store that cuts its answers short", () => {
  it.each([
    [0, "header"],
    [10, "header"],
    [20, "header"],
    [50, "header"],
    [5000, "bytes from 0"],
    [8192, "bytes from 0"],
  ])("of %i bytes of a snapshot: another way is taken", async (length, where) => {
    const store = new FaultyStore(await history(), {
      onCall: ({ operation, key }) =>
        operation === "get" && key === snapshotKey(90) ? { kind: "truncate", length } : undefined,
    });
    await expectRestored(store, 100);
    expect(await refusalsOf(store, 100)).toMatchObject({ refusals: [[snapshotKey(90)]], places: [where] });
  });
});

describe("a newest snapshot that nothing proves", () => {
  /** All that is left is the snapshot of the newest epoch; the reads of it that `isDamaged` says have a bit wrong. */
  async function onlySnapshot(isDamaged: (read: number) => boolean): Promise<FaultyStore> {
    const store = new MemoryStore();
    await store.put(snapshotKey(NEWEST), await imageThen(NEWEST));
    const faulty = new FaultyStore(store);
    let reads = 0;
    faulty.onCall = ({ operation, key }) => {
      if (operation !== "get" || key !== snapshotKey(NEWEST)) return undefined;
      reads++;
      // Not in the header, nor in a page that is needed to read it: in the rows.
      return isDamaged(reads) ? { kind: "flip", offset: 100_000 + 97 * reads } : undefined;
    };
    return faulty;
  }

  it("is read again, and believed when it is the same", async () => {
    await expectRestored(await onlySnapshot(() => false), NEWEST);
    await expectRestored(await onlySnapshot((read) => read === 1), NEWEST);
  });

  it("is not believed while it is another one each time", async () => {
    const store = await onlySnapshot(() => true);
    const { message } = await expectError(() => stateAt(store), "corrupt", "history_unproven");
    expect(message).toContain("differs each time");
  });
});
