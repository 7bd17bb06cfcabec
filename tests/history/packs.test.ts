/** Packs: many epochs in one object, so that a join reads little whatever the history looks like. */
import { describe, expect, it } from "vitest";
import { packKey, parseKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { PACK_LEVELS, packSalts } from "../../src/format/pack.ts";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import { composePack } from "../../src/history/compose-pack.ts";
import { LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import type { StoreCall } from "../../src/testing/mod.ts";
import {
  bytesOf,
  createTable,
  insert,
  join,
  lead,
  namesIn,
  newStore,
  QUIET,
  type Subject,
} from "../support/cluster.ts";
import { expectError } from "../support/errors.ts";
import { settle, until } from "../support/wait.ts";

/** No snapshot unless a test wants one. */
const packsOnly = { settings: { ...QUIET, snapshot: { walBytesMin: 2 ** 40, objectsMax: 100_000 } } };

/** Writes until the node is at this epoch. */
async function writeUpTo(subject: Subject, epoch: number): Promise<void> {
  while (subject.node.epoch.current < epoch) {
    const name = `row ${subject.node.epoch.current % 50}`;
    await subject.node.transaction((tx) =>
      tx.run("INSERT OR REPLACE INTO items(name, body) VALUES (?, ?)", [name, null]),
    ).durable;
  }
}

async function keys(store: ObjectStore, kind: string): Promise<string[]> {
  const found: string[] = [];
  for (let after: string | undefined; ; ) {
    const { objects, more } = await store.list(".lbc/", { startAfter: after });
    for (const { key } of objects) {
      if (parseKey(key)?.kind === kind) found.push(key);
      after = key;
    }
    if (!more) return found;
  }
}

/** The bytes of a pack that is made from the store, or why there is none. */
async function composed(
  store: ObjectStore,
  from: number,
  to: number,
  bytesMax = 2 ** 30,
): Promise<Uint8Array | string> {
  const body = await composePack(store, "test", { from, to }, { bytesMax, signal: undefined });
  return typeof body === "string" ? body : body.read(0, body.byteLength);
}

/** A leader at an epoch, with all packs written. */
async function leaderAt(store: ObjectStore, epoch: number, options = packsOnly): Promise<Subject> {
  const subject = await lead(store, options);
  await createTable(subject.node);
  await writeUpTo(subject, epoch);
  const newest = Math.floor(epoch / 64) * 64;
  await until("the last pack", async () => (await store.head(packKey(newest - 64, newest))) !== undefined);
  return subject;
}

/** Objects and bytes that a join read. */
async function joinCost(store: ObjectStore): Promise<{ node: Subject["node"]; objects: number; bytes: number }> {
  const calls: string[] = [];
  const { node, faults } = await join("follower", store, {
    ...packsOnly,
    onCall: ({ operation, key }) => {
      if (operation === "get") calls.push(key);
      return undefined;
    },
  });
  faults.onCall = () => undefined;
  const read = new Set(calls.filter((key) => parseKey(key) !== undefined));
  return { node, objects: read.size, bytes: node.status().store.get.bytesIn };
}

describe("the leader's packs", () => {
  it("are written at every level's boundary, and a join reads them instead of the epochs", async () => {
    const store = await newStore();
    const { node } = await leaderAt(store, 1100);
    expect(await keys(store, "pack")).toHaveLength(17 + 1);
    expect(await store.head(packKey(0, 1024))).toBeDefined();

    const { node: follower, objects } = await joinCost(store);
    expect(namesIn(follower)).toEqual(namesIn(node));
    expect(follower.epoch.current).toBe(node.epoch.current);
    // The snapshot, a pack of 1024, one of 64, the last WALs, and the question for the next.
    expect(objects).toBeLessThanOrEqual(1 + 1 + 1 + 12 + 1);
  }, 60_000);

  it("hold exactly the pages that changed, as they were at the end, and open in any SQLite as a -wal (P8)", async () => {
    const store = await newStore();
    await leaderAt(store, 70);
    const pack = parseWal(await bytesOf(store, packKey(0, 64)), "pack");
    const changed = new Map<number, Uint8Array>();
    for (let epoch = 1; epoch <= 64; epoch++) {
      const wal = parseWal(await bytesOf(store, walKey(epoch)), walKey(epoch));
      for (const [frame, page] of wal.pageNumbers.entries())
        changed.set(page, wal.bytes.subarray(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES));
    }
    expect([...pack.pageNumbers]).toEqual([...changed.keys()].sort((a, b) => a - b));
    for (const [frame, page] of pack.pageNumbers.entries()) {
      const start = framePageOffset(frame);
      expect(pack.bytes.subarray(start, start + PAGE_BYTES)).toEqual(changed.get(page));
    }
  });

  it("are the same bytes when they are made from the store", async () => {
    const store = await newStore();
    await leaderAt(store, 1030);
    for (const range of [
      { from: 0, to: 64 },
      { from: 64, to: 128 },
      { from: 960, to: 1024 },
      { from: 0, to: 1024 },
    ]) {
      expect(await composed(store, range.from, range.to)).toEqual(await bytesOf(store, packKey(range.from, range.to)));
    }
    // From the WALs alone, too.
    const before = await bytesOf(store, packKey(0, 1024));
    await store.deleteMany(await keys(store, "pack"));
    expect(await composed(store, 0, 1024)).toEqual(before);
    // P10: no more than a pack may have is held.
    expect(await composed(store, 0, 1024, before.length)).toEqual(before);
    expect(await composed(store, 0, 1024, before.length - 1)).toBe("too_large");
    await store.delete(walKey(500));
    expect(await composed(store, 0, 1024)).toBe("incomplete");
  }, 60_000);

  it("that the last leader could not write are made up for by the next", async () => {
    const store = await newStore();
    const first = await lead(store, {
      ...packsOnly,
      onCall: ({ operation, key }) =>
        operation === "put" && key.endsWith(".pack") ? { kind: "fail_before" } : undefined,
    });
    await createTable(first.node);
    await writeUpTo(first, 140);
    expect(await keys(store, "pack")).toEqual([]);
    await first.node.shutdown();

    const second = await lead(store, packsOnly);
    await writeUpTo(second, 192);
    await until("the packs", async () => (await keys(store, "pack")).length === 3);
    const { node: follower } = await joinCost(store);
    expect(namesIn(follower)).toEqual(namesIn(second.node));
  });

  it("are not made up for where they were not written because they are too large (P10)", async () => {
    const store = await newStore();
    const first = await leaderAt(store, 70);
    await store.deleteMany(await keys(store, "pack"));
    await first.node.shutdown();
    const reads: string[] = [];
    const snapshot = { walBytesMin: 300_000, databaseFraction: 0, objectsMax: 100_000, intervalMinMs: 60_000 };
    const second = await lead(store, {
      settings: { ...QUIET, snapshot },
      onCall: ({ operation, key }) => {
        if (operation === "get") reads.push(key);
        // Else what is so large is in one soon.
        return operation === "put" && key.endsWith(".db") ? { kind: "fail_before" } : undefined;
      },
    });
    await insert(second.node, "large", new Uint8Array(400_000).fill(1));
    await writeUpTo(second, 130);
    reads.length = 0;
    await writeUpTo(second, 192);
    await until("the packs", async () => (await keys(store, "pack")).length === 2);
    await until("the look at what the other is made of", () => reads.includes(walKey(66)));
    await settle(500);
    expect(await keys(store, "pack")).toEqual([packKey(0, 64), packKey(128, 192)]);
    // It is given up where it has become too large.
    expect(reads).not.toContain(walKey(110));
  });

  it("are made up for past a damaged epoch, which is not tried again and again", async () => {
    const store = await newStore();
    const noPacks = {
      ...packsOnly,
      onCall: ({ operation, key }: StoreCall) =>
        operation === "put" && key.endsWith(".pack") ? { kind: "fail_before" as const } : undefined,
    };
    const first = await lead(store, noPacks);
    await createTable(first.node);
    await writeUpTo(first, 200);
    await first.node.shutdown();
    const whole = await bytesOf(store, walKey(10));
    let reads = 0;
    const second = await lead(store, packsOnly);
    await store.put(walKey(10), whole.subarray(0, whole.length - 1));
    second.faults.onCall = ({ operation, key }) => {
      if (operation === "get" && key === walKey(10)) reads++;
      return undefined;
    };
    await writeUpTo(second, 256);
    await until("the packs", async () => (await keys(store, "pack")).length === 3);
    await writeUpTo(second, 384);
    await until("the last pack", async () => (await store.head(packKey(320, 384))) !== undefined);
    expect(await keys(store, "pack")).not.toContain(packKey(0, 64));
    expect(second.events.filter(({ event }) => event === "pack_failed")).toHaveLength(1);
    expect(reads).toBe(1);
  });

  it("of a leader that joined in the middle go on where the last one stopped", async () => {
    const store = await newStore();
    const first = await leaderAt(store, 100);
    await first.node.shutdown();
    const second = await lead(store, packsOnly);
    await writeUpTo(second, 130);
    await until("the pack", async () => (await store.head(packKey(64, 128))) !== undefined);
    expect(await composed(store, 64, 128)).toEqual(await bytesOf(store, packKey(64, 128)));
  });

  it("are right when the database shrinks and grows again within one", async () => {
    const store = await newStore();
    const { node } = await lead(store, packsOnly);
    await createTable(node);
    const body = new Uint8Array(200_000).fill(7);
    for (let round = 0; node.epoch.current < 70; round++) {
      await insert(node, `large ${round}`, body);
      await node.transaction((tx) => tx.run("DELETE FROM items WHERE name = ?", [`large ${round}`])).durable;
    }
    await until("the pack", async () => (await store.head(packKey(0, 64))) !== undefined);
    const { node: follower, objects } = await joinCost(store);
    expect(objects).toBeLessThan(20);
    expect(follower.status().replica.trouble).toBeNull();
    expect(follower.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
  });
});

describe("a pack that is not what it should be", () => {
  const damages: Record<string, (bytes: Uint8Array, store: ObjectStore) => Promise<Uint8Array> | Uint8Array> = {
    truncated: (bytes) => bytes.subarray(0, bytes.length - 4120),
    "cut to nothing": () => new Uint8Array(),
    flipped: (bytes) => {
      const flipped = bytes.slice();
      flipped[3000] = (flipped[3000] ?? 0) ^ 1;
      return flipped;
    },
    "another pack": async (_bytes, store) => await bytesOf(store, packKey(0, 64)),
    "an epoch": async (_bytes, store) => await bytesOf(store, walKey(64)),
    "well made, with wrong content": (bytes) => {
      const wal = parseWal(bytes, "pack");
      const pages = [...wal.pageNumbers].map((pageNumber, frame) => {
        const page = wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES);
        if (frame === wal.frameCount - 1) page[4000] = (page[4000] ?? 0) ^ 1;
        return { pageNumber, bytes: page };
      });
      return encodeWal(pages, wal.pageCount, packSalts("test", { from: 64, to: 128 }));
    },
    "of another cluster": (bytes) => {
      const wal = parseWal(bytes, "pack");
      const pages = [...wal.pageNumbers].map((pageNumber, frame) => ({
        pageNumber,
        bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
      }));
      return encodeWal(pages, wal.pageCount, packSalts("other", { from: 64, to: 128 }));
    },
  };

  it.each(Object.keys(damages))("%s is left aside, and the join still gets there", async (name) => {
    const store = await newStore();
    const { node: leader } = await leaderAt(store, 140);
    const key = packKey(64, 128);
    const damaged = await (damages[name] as (typeof damages)[string])(await bytesOf(store, key), store);
    await store.put(key, damaged);

    const { node, events } = await join("follower", store, packsOnly);
    expect(namesIn(node)).toEqual(namesIn(leader));
    const refused = events.filter(({ event }) => event === "restore_refused");
    expect(refused.flatMap(({ objects }) => objects)).toContain(key);
    expect(node.status().replica.trouble).toBeNull();
  });

  it("a missing one costs its epochs", async () => {
    const store = await newStore();
    const { node: leader } = await leaderAt(store, 140);
    await store.delete(packKey(0, 64));
    const { node, objects } = await joinCost(store);
    expect(namesIn(node)).toEqual(namesIn(leader));
    expect(objects).toBeGreaterThan(64);
  });

  it("a missing epoch that a pack leads over does not keep anyone from joining", async () => {
    const store = await newStore();
    const { node: leader } = await leaderAt(store, 140);
    await store.delete(walKey(30));
    const { node } = await joinCost(store);
    expect(namesIn(node)).toEqual(namesIn(leader));
    const cluster = new LittleBigCluster({ id: "test", store });
    await expectError(() => cluster.openAt(30), "corrupt", "history_incomplete");
    const at = await cluster.openAt(64);
    expect(at.epoch).toBe(64);
    at.close();
  });
});

describe("snapshots", () => {
  it("are taken when a join would read too many objects, whatever the history looks like", async () => {
    const store = await newStore();
    const settings = { ...QUIET, snapshot: { walBytesMin: 2 ** 40, objectsMax: 70, intervalMinMs: 0 } };
    const subject = await lead(store, { settings });
    await createTable(subject.node);
    let most = 0;
    while (subject.node.epoch.current < 1400) {
      await writeUpTo(subject, subject.node.epoch.current + 97);
      const { objects, node } = await joinCost(store);
      most = Math.max(most, objects);
      await node.shutdown();
    }
    expect(most).toBeLessThanOrEqual(100);
    expect((await keys(store, "snapshot")).length).toBeGreaterThan(1);
  }, 60_000);

  it("are not taken while packs are cheap to read", async () => {
    const store = await newStore();
    await leaderAt(store, 700, { settings: { ...QUIET, snapshot: { walBytesMin: 2 ** 40, objectsMax: 96 } } });
    expect(await keys(store, "snapshot")).toEqual([snapshotKey(0)]);
  });
});

describe("a past epoch", () => {
  it("is restored by snapshot, packs and WALs, every one of them", async () => {
    const store = await newStore();
    const settings = { ...QUIET, snapshot: { walBytesMin: 2 ** 40, epochsMax: 100, intervalMinMs: 0 } };
    const subject = await lead(store, { settings });
    await createTable(subject.node);
    const rows = new Map<number, number>();
    while (subject.node.epoch.current < 300) {
      const { epoch } = await insert(subject.node, `row ${subject.node.epoch.current}`);
      rows.set(epoch, subject.node.db.query("SELECT 1 FROM items").length);
    }
    const cluster = new LittleBigCluster({ id: "test", store });
    for (const epoch of [5, 63, 64, 65, 99, 127, 128, 129, 191, 192, 200, 255, 256, 257, 299, 300]) {
      const past = await cluster.openAt(epoch);
      expect(past.epoch).toBe(epoch);
      expect(past.query("SELECT 1 FROM items").length, `epoch ${epoch}`).toBe(rows.get(epoch));
      past.close();
    }
    expect(await cluster.extent()).toEqual({ earliest: 0, newest: subject.node.epoch.current });
  }, 60_000);

  it("levels divide one another, so that longer packs are made of shorter ones", () => {
    for (const [index, length] of PACK_LEVELS.entries()) {
      expect((PACK_LEVELS[index + 1] ?? length) % length).toBe(0);
    }
  });

  it("a memory store gives what it was given", async () => {
    const store = new MemoryStore();
    await newStore(store);
    await expectError(() => new LittleBigCluster({ id: "other", store }).openAt(0), "invalid", "wrong_cluster");
  });
});
