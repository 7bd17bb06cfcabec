/** Finding out what is in the store costs few requests, however long the history after the last snapshot is. */
import { describe, expect, it } from "vitest";
import { packKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { packsEndingAt } from "../../src/format/pack.ts";
import { Discovery, discoverAll, discoverFrom } from "../../src/history/discover.ts";
import { findSnapshotUpTo } from "../../src/history/listing.ts";
import { MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { planRestore } from "../../src/protocol/restore-plan.ts";
import { FaultyStore } from "../../src/testing/mod.ts";

const BODY = new Uint8Array(8);

/** Epochs from `first` to `last`, with every pack that is complete, and snapshots. */
async function newHistory(first: number, last: number, snapshots: readonly number[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (let epoch = first; epoch <= last; epoch++) {
    await store.put(walKey(epoch), BODY);
    for (const { from, to } of packsEndingAt(epoch)) if (from >= first) await store.put(packKey(from, to), BODY);
  }
  for (const epoch of snapshots) await store.put(snapshotKey(epoch), BODY);
  return store;
}

function counted(store: ObjectStore): { readonly store: ObjectStore; readonly calls: Record<string, number> } {
  const calls: Record<string, number> = {};
  const onCall = ({ operation }: { operation: string }) => {
    calls[operation] = (calls[operation] ?? 0) + 1;
    return undefined;
  };
  return { store: new FaultyStore(store, { onCall }), calls };
}

const NEWEST = 60_000;
const history = newHistory(0, NEWEST, [0, 100, 20_000, 20_001, 59_000]);

describe("from a snapshot to the newest epoch", () => {
  it.each([0, 100, 20_000, 20_001, 59_000])("from %i: few requests, and a way of few objects", async (base) => {
    const { store, calls } = counted(await history);
    const found = await discoverFrom(store, base, { signal: undefined });
    const choice = planRestore({ ...found, snapshots: [base], wals: found.wals, packs: found.packs });
    if (choice.type !== "plans") throw new Error(choice.type);
    const [plan] = choice.plans;
    expect(plan?.target).toBe(NEWEST);
    expect(plan?.steps.length).toBeLessThan(100);
    expect(calls["list"]).toBeLessThanOrEqual(4);
    expect(calls["head"] ?? 0).toBeLessThanOrEqual(110);
  });

  it("a short history is one listing, and nothing is guessed", async () => {
    const { store, calls } = counted(await newHistory(0, 40, [0]));
    await discoverFrom(store, 0, { signal: undefined });
    expect(calls).toEqual({ list: 1 });
  });

  it("packs that begin before the snapshot are asked for where they spare something", async () => {
    const { store, calls } = counted(await newHistory(0, 600, [10, 590]));
    const found = await discoverFrom(store, 10, { signal: undefined });
    expect(found.packs.map(({ from }) => from)).toContain(0);
    expect(calls["head"]).toBe(3);
    await discoverFrom(store, 590, { signal: undefined });
    expect(calls["head"]).toBe(3);
  });

  it("without any pack everything is listed", async () => {
    const store = new MemoryStore();
    for (let epoch = 0; epoch <= 5000; epoch++) await store.put(walKey(epoch), BODY);
    await store.put(snapshotKey(0), BODY);
    const found = await discoverFrom(store, 0, { signal: undefined });
    expect(found.wals.size).toBe(5001);
  });

  it.each([
    ["a longest one", [packKey(16_384, 32_768)]],
    ["a longest one and one in it", [packKey(16_384, 32_768), packKey(20_480, 21_504)]],
    ["the last of the longest", [packKey(32_768, 49_152)]],
    ["the first", [packKey(0, 16_384), packKey(0, 1024), packKey(0, 64)]],
  ])("%s is missing: the way goes around it", async (_name, missing) => {
    const whole = await history;
    const store = new FaultyStore(whole, {
      onCall: () => undefined,
    });
    const bodies = await Promise.all(missing.map(async (key) => (await whole.get(key))?.bytes ?? BODY));
    await whole.deleteMany(missing);
    try {
      const found = await discoverFrom(store, 0, { signal: undefined });
      const choice = planRestore({ ...found, snapshots: [0], wals: found.wals, packs: found.packs });
      if (choice.type !== "plans") throw new Error(choice.type);
      expect([...choice.plans][0]?.target).toBe(NEWEST);
    } finally {
      for (const [index, key] of missing.entries()) await whole.put(key, bodies[index] as Uint8Array);
    }
  });

  it("up to an earlier epoch asks for nothing beyond it", async () => {
    const keys: string[] = [];
    const store = new FaultyStore(await history, {
      onCall: ({ operation, key }) => {
        if (operation === "head") keys.push(key);
        return undefined;
      },
    });
    const found = await discoverFrom(store, 100, { upTo: 30_000, signal: undefined });
    const choice = planRestore({ ...found, snapshots: [100], wals: found.wals, packs: found.packs }, 30_000);
    if (choice.type !== "plans") throw new Error(choice.type);
    expect([...choice.plans][0]?.target).toBe(30_000);
    expect([...choice.plans][0]?.steps.length).toBeLessThan(100);
    for (const key of keys) expect(key <= packKey(30_000, 30_064), key).toBe(true);
  });

  it.each([1500, 15_000, 16_383, 33_000])(
    "up to %i, in the middle of the longest pack: nothing is listed twice",
    async (upTo) => {
      const { store, calls } = counted(await history);
      const found = await discoverFrom(store, 0, { upTo, signal: undefined });
      const choice = planRestore({ snapshots: [0], wals: found.wals, packs: found.packs }, upTo);
      if (choice.type !== "plans") throw new Error(choice.type);
      const [plan] = choice.plans;
      expect(plan).toMatchObject({ target: upTo, isProven: true });
      expect(plan?.steps.length).toBeLessThan(100);
      expect(calls["list"]).toBeLessThanOrEqual(4);
    },
  );

  it.each([16_384, 17_408, 17_472])(
    "to %i, where packs end: what leads there without them is found",
    async (newest) => {
      const { store, calls } = counted(await newHistory(0, newest, [0]));
      const found = await discoverFrom(store, 0, { signal: undefined });
      const choice = planRestore({ snapshots: [0], wals: found.wals, packs: found.packs });
      if (choice.type !== "plans") throw new Error(choice.type);
      const [plan] = choice.plans;
      expect(plan?.target).toBe(newest);
      expect(plan?.steps.length).toBeLessThan(100);
      expect(calls["list"]).toBeLessThanOrEqual(4);
      expect(calls["head"] ?? 0).toBeLessThanOrEqual(140);
    },
  );

  it("P10: packs by the hundred thousand are taken in without comparing each with each", () => {
    const found = new Discovery();
    const count = 200_000;
    for (let round = 0; round < 2; round++) {
      for (let block = 0; block < count; block++) found.addPack({ from: 64 * block, to: 64 * block + 64, size: 1 });
    }
    expect(found.packs).toHaveLength(count);
    expect(found.reachByPacks(0, Number.POSITIVE_INFINITY)).toBe(64 * count);
    // Each with each is 40 thousand million comparisons: minutes.
  }, 30_000);

  it("up to an epoch finds the one after it, which proves it, on the next page too", async () => {
    const store = new MemoryStore();
    for (let epoch = 0; epoch <= 1200; epoch++) await store.put(walKey(epoch), BODY);
    // The thousandth name.
    await store.put(snapshotKey(999), BODY);
    const found = await discoverFrom(store, 0, { upTo: 998, signal: undefined });
    expect(found.wals.has(999)).toBe(true);
  });

  it("finds the same as listing everything", async () => {
    const store = await newHistory(0, 2500, [0, 700]);
    const all = await discoverAll(store, undefined);
    const found = await discoverFrom(store, 0, { signal: undefined });
    const cost = (objects: typeof all) => {
      const choice = planRestore({ ...objects, snapshots: [0], wals: objects.wals, packs: objects.packs });
      return choice.type === "plans" ? [...choice.plans][0]?.steps.length : undefined;
    };
    expect(cost(found)).toBe(cost(all));
  });
});

describe("the newest snapshot up to an epoch", () => {
  it.each([
    [0, 0],
    [99, 0],
    [100, 100],
    [19_999, 100],
    [20_000, 20_000],
    [20_001, 20_001],
    [58_999, 20_001],
    [60_000, 59_000],
  ])("%i: %i", async (epoch, snapshot) => {
    expect(await findSnapshotUpTo(await history, epoch, 0, undefined)).toBe(snapshot);
  });

  it("is not looked for before the earliest", async () => {
    const { store, calls } = counted(await history);
    expect(await findSnapshotUpTo(store, 50_000, 30_000, undefined)).toBeUndefined();
    expect(calls["list"]).toBeLessThanOrEqual(30);
  });
});
