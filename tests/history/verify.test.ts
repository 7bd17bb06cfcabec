/** The restore drill: what is sound is said to be so, and every kind of damage is found, named and judged. */
import { describe, expect, it } from "vitest";
import { equalBytes } from "../../src/base/bytes.ts";
import {
  epochText,
  LAST_SNAPSHOT_KEY,
  LAST_VACUUM_KEY,
  packKey,
  parseKey,
  snapshotKey,
  walKey,
} from "../../src/format/keys.ts";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import { LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { bytesOf, createTable, imageAt, insert, lead, newStore, QUIET } from "../support/cluster.ts";
import { expectError } from "../support/errors.ts";
import { until } from "../support/wait.ts";

const EPOCHS = 160;
let template: Map<string, Uint8Array> | undefined;

/** A history of 160 epochs with snapshots at 0 and near 50, 100, 150 and packs of 64; made once, copied for each test. */
async function history(): Promise<MemoryStore> {
  template ??= await makeHistory();
  const store = new MemoryStore();
  for (const [key, bytes] of template) await store.put(key, bytes);
  return store;
}

async function makeHistory(): Promise<Map<string, Uint8Array>> {
  const store = await newStore();
  const settings = { ...QUIET, snapshot: { walBytesMin: 2 ** 40, epochsMax: 50, intervalMinMs: 0 } };
  const { node } = await lead(store, { settings });
  await createTable(node);
  while (node.epoch.current < EPOCHS) await insert(node, `row ${node.epoch.current}`, new Uint8Array(500));
  await until("the packs and snapshots", async () => {
    const keys = await keysOf(store);
    return (
      keys.filter((key) => key.endsWith(".db")).length >= 4 && keys.filter((key) => key.endsWith(".pack")).length === 2
    );
  });
  await node.shutdown();
  const objects = new Map<string, Uint8Array>();
  for (const key of await keysOf(store)) objects.set(key, (await bytesOf(store, key)).slice());
  return objects;
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  const { objects } = await store.list(".lbc/");
  return objects.map(({ key }) => key);
}

async function epochsOf(store: ObjectStore, kind: string): Promise<number[]> {
  return (await keysOf(store)).flatMap((key) => {
    const parsed = parseKey(key);
    return parsed?.kind === kind ? [parsed.epoch] : [];
  });
}

function clusterOn(store: ObjectStore): LittleBigCluster {
  return new LittleBigCluster({ id: "test", store });
}

function flipped(bytes: Uint8Array, offset: number): Uint8Array {
  const copy = bytes.slice();
  copy[offset] = (copy[offset] ?? 0) ^ 0x10;
  return copy;
}

/** The state of the epochs is what `openAt` gives; what verify calls lost must not open, the rest must. */
async function expectRestorable(store: ObjectStore, lost: readonly { first: number; last: number }[]): Promise<void> {
  const cluster = clusterOn(store);
  for (let epoch = 1; epoch <= EPOCHS; epoch += 13) {
    const isLost = lost.some(({ first, last }) => first <= epoch && epoch <= last);
    const opened = await cluster.openAt(epoch).then(
      (past) => {
        past.close();
        return true;
      },
      () => false,
    );
    expect(opened, `epoch ${epoch}`).toBe(!isLost);
  }
}

describe("a sound history", () => {
  it("is proven from its first epoch to the newest", async () => {
    const store = await history();
    const report = await clusterOn(store).verify();
    expect(report.findings).toEqual([]);
    expect(report).toMatchObject({ from: 0, to: EPOCHS + 1, lost: [], integrity: "ok", isRestorable: true });
    expect(report.objects).toBe((await keysOf(store)).filter((key) => parseKey(key) !== undefined).length);
  });

  it("is proven from a later snapshot on, with the packs that begin before it", async () => {
    const store = await history();
    const [, second = 0] = await epochsOf(store, "snapshot");
    const report = await clusterOn(store).verify({ from: second + 5 });
    expect(report).toMatchObject({ from: second, findings: [], isRestorable: true });
  });

  it("tells how far it has come, and can be aborted", async () => {
    const store = await history();
    const epochs: number[] = [];
    await clusterOn(store).verify({ onProgress: ({ epoch }) => epochs.push(epoch) });
    expect(epochs.at(-1)).toBeGreaterThanOrEqual(EPOCHS);
    const abort = new AbortController();
    const running = clusterOn(store).verify({
      signal: abort.signal,
      onProgress: () => abort.abort(new Error("enough")),
    });
    await expect(running).rejects.toThrow("enough");
  });
});

describe("damage", () => {
  const kinds = ["wal", "snapshot", "pack"] as const;
  /** What each test damages: an object in the middle, and another of the same kind to take bytes from. */
  async function victims(store: ObjectStore, kind: (typeof kinds)[number]): Promise<{ key: string; other: string }> {
    if (kind === "wal") return { key: walKey(30), other: walKey(31) };
    if (kind === "pack") return { key: packKey(0, 64), other: packKey(64, 128) };
    const [, second = 0, third = 0] = await epochsOf(store, "snapshot");
    return { key: snapshotKey(second), other: snapshotKey(third) };
  }
  const damages: [string, (bytes: Uint8Array, other: Uint8Array) => Uint8Array][] = [
    ["truncated", (bytes) => bytes.subarray(0, bytes.length - 100)],
    ["truncated by a page", (bytes) => bytes.subarray(0, bytes.length - 4096)],
    ["emptied", () => new Uint8Array()],
    ["flipped in its first bytes", (bytes) => flipped(bytes, 3)],
    ["flipped in the middle", (bytes) => flipped(bytes, Math.floor(bytes.length / 2))],
    ["flipped in its last byte", (bytes) => flipped(bytes, bytes.length - 1)],
    ["swapped with another's bytes", (_bytes, other) => other],
  ];

  it.each(kinds.flatMap((kind) => damages.map(([name, damage]) => ({ kind, name, damage }))))(
    "a $kind $name is found and named",
    async ({ kind, damage }) => {
      const store = await history();
      const { key, other } = await victims(store, kind);
      await store.put(key, damage(await bytesOf(store, key), await bytesOf(store, other)));
      const report = await clusterOn(store).verify();
      expect(report.findings.map(({ object }) => object)).toEqual([key]);
      const [finding] = report.findings;
      expect(finding?.problem === "damaged" || finding?.problem === "contradicts").toBe(true);
      // A WAL is the history itself; the rest can be made again.
      expect(finding).toMatchObject({
        repair: kind === "wal" ? "impossible" : "repairable",
        isHarmless: kind !== "wal",
      });
      expect(report.isRestorable).toBe(kind !== "wal");
      expect(report.to).toBe(EPOCHS + 1);
      await expectRestorable(store, report.lost);
    },
  );

  it.each(kinds)("a missing %s", async (kind) => {
    const store = await history();
    const { key } = await victims(store, kind);
    await store.delete(key);
    const report = await clusterOn(store).verify();
    if (kind === "wal") {
      expect(report.findings).toMatchObject([
        { object: key, problem: "missing", repair: "impossible", isHarmless: false },
      ]);
      expect(report.lost[0]?.first).toBe(30);
    } else {
      // Which snapshots there have been nobody knows; a pack before the newest snapshot nobody misses.
      expect(report.findings).toEqual([]);
    }
    expect(report.isRestorable).toBe(kind !== "wal");
    await expectRestorable(store, report.lost);
  });

  it("a missing pack that joins would read is found, and made again", async () => {
    const store = await history();
    for (const epoch of (await epochsOf(store, "snapshot")).slice(1)) await store.delete(snapshotKey(epoch));
    await store.put(LAST_SNAPSHOT_KEY, new TextEncoder().encode("0".repeat(20)));
    const key = packKey(64, 128);
    const original = await bytesOf(store, key);
    await store.delete(key);
    const found = await clusterOn(store).verify();
    expect(found.findings).toMatchObject([{ object: key, problem: "missing", repair: "repairable", isHarmless: true }]);
    const repaired = await clusterOn(store).verify({ repair: true });
    expect(repaired.findings).toMatchObject([{ object: key, repair: "repaired" }]);
    expect(await bytesOf(store, key)).toEqual(original);
  });

  it.each(["snapshot", "pack"] as const)("a %s is made again, the same bytes as before", async (kind) => {
    const store = await history();
    const { key } = await victims(store, kind);
    const original = await bytesOf(store, key);
    await store.put(key, flipped(original, 5000));
    const report = await clusterOn(store).verify({ repair: true });
    expect(report.findings).toMatchObject([{ object: key, repair: "repaired" }]);
    expect(await bytesOf(store, key)).toEqual(original);
    expect((await clusterOn(store).verify()).findings).toEqual([]);
  });

  it("a well-made epoch with other content contradicts what comes after it", async () => {
    const store = await history();
    const wal = parseWal(await bytesOf(store, walKey(30)), "epoch");
    const pages = [...wal.pageNumbers].map((pageNumber, frame) => ({
      pageNumber,
      bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
    }));
    const last = pages.at(-1) as (typeof pages)[number];
    last.bytes[4000] = (last.bytes[4000] ?? 0) ^ 1;
    await store.put(walKey(30), encodeWal(pages, wal.pageCount, [1, 2]));
    const report = await clusterOn(store).verify();
    expect(report.isRestorable).toBe(false);
    expect(report.findings.some(({ object, problem }) => object === walKey(31) && problem === "contradicts")).toBe(
      true,
    );
  });

  it("the walk goes on over a pack, and lost epochs are those before its end", async () => {
    const store = await history();
    for (const epoch of (await epochsOf(store, "snapshot")).slice(1)) await store.delete(snapshotKey(epoch));
    await store.delete(walKey(30));
    const report = await clusterOn(store).verify();
    expect(report.lost).toEqual([{ first: 30, last: 63 }]);
    expect(report.integrity).toBe("ok");
    await expectRestorable(store, report.lost);
  });

  it("without a way over, everything after the gap is lost", async () => {
    const store = await history();
    for (const epoch of (await epochsOf(store, "snapshot")).slice(1)) await store.delete(snapshotKey(epoch));
    for (const key of await keysOf(store)) if (key.endsWith(".pack")) await store.delete(key);
    await store.delete(walKey(30));
    const report = await clusterOn(store).verify();
    expect(report.lost).toEqual([{ first: 30, last: EPOCHS + 1 }]);
    expect(report.isRestorable).toBe(false);
  });

  it("the first snapshot contradicted by its next epoch: lost up to the next one", async () => {
    const store = await history();
    const [, second = 0, third = 0] = await epochsOf(store, "snapshot");
    // History begins at the second.
    for (const key of await keysOf(store)) {
      const parsed = parseKey(key);
      if (parsed !== undefined && parsed.epoch < second) await store.delete(key);
    }
    await store.delete(packKey(0, 64));
    const snapshot = await bytesOf(store, snapshotKey(second));
    await store.put(snapshotKey(second), flipped(snapshot, snapshot.length - 1));
    const report = await clusterOn(store).verify();
    expect(report.findings).toMatchObject([
      { object: snapshotKey(second), problem: "contradicts", repair: "impossible" },
    ]);
    expect(report.lost).toEqual([{ first: second, last: third - 1 }]);
  });

  it("what was left over is named, and harmless", async () => {
    const store = await history();
    await store.put(".lbc/.probe-1234", new Uint8Array(3));
    await store.put(".lbc/zzz", new Uint8Array(3));
    const report = await clusterOn(store).verify();
    expect(report.findings).toMatchObject([
      { object: ".lbc/.probe-1234", problem: "orphan", isHarmless: true },
      { object: ".lbc/zzz", problem: "orphan", isHarmless: true },
    ]);
    expect(report.isRestorable).toBe(true);
  });

  it("a marker that names no snapshot is told, and joins do without it", async () => {
    const store = await history();
    await store.put(LAST_SNAPSHOT_KEY, new TextEncoder().encode(String(7).padStart(20, "0")));
    const report = await clusterOn(store).verify();
    expect(report.findings).toMatchObject([{ object: LAST_SNAPSHOT_KEY, isHarmless: true }]);
    expect(report.isRestorable).toBe(true);
  });
});

describe("a repair", () => {
  it("makes nothing from a state that is not proven, and changes nothing that may be right", async () => {
    const store = await history();
    const third = (await epochsOf(store, "snapshot"))[2] as number;
    const right = await imageAt(store, 128);
    await store.put(snapshotKey(128), right);
    // Wrong in a page that the pack over it does not make good; and what would tell so is lost.
    const { pageNumbers } = parseWal(await bytesOf(store, packKey(64, 128)), "pack");
    const snapshot = await bytesOf(store, snapshotKey(third));
    let page = snapshot.length / PAGE_BYTES;
    while (pageNumbers.includes(page)) page--;
    await store.put(snapshotKey(third), flipped(snapshot, page * PAGE_BYTES - 1));
    for (const epoch of [90, third + 1, 129]) await store.delete(walKey(epoch));
    const report = await clusterOn(store).verify({ repair: true });
    expect(equalBytes(await bytesOf(store, snapshotKey(128)), right)).toBe(true);
    expect(report.findings.filter(({ repair }) => repair === "repaired")).toEqual([]);
    expect(report.lost[0]).toMatchObject({ first: 90 });
    await expectRestorable(store, report.lost);
  });

  it("that is not possible is said to be so, and the drill goes on", async () => {
    const store = await history();
    const [, second = 0] = await epochsOf(store, "snapshot");
    await store.put(packKey(0, 64), flipped(await bytesOf(store, packKey(0, 64)), 5000));
    await store.delete(walKey(0));
    const report = await clusterOn(store).verify({ from: second + 1, repair: true });
    expect(report.findings).toMatchObject([{ object: packKey(0, 64), repair: "impossible", isHarmless: true }]);
    expect(report).toMatchObject({ to: EPOCHS + 1, isRestorable: true });
  });

  it("of a pack that begins before the walk is made of what is there, and checked", async () => {
    const store = await history();
    const [, second = 0] = await epochsOf(store, "snapshot");
    const original = await bytesOf(store, packKey(0, 64));
    await store.put(packKey(0, 64), flipped(original, 5000));
    await clusterOn(store).verify({ from: second + 1, repair: true });
    expect(await bytesOf(store, packKey(0, 64))).toEqual(original);
    // An epoch before the walk is not what it was: what is made of it is not right.
    await store.put(packKey(0, 64), flipped(original, 5000));
    await store.put(walKey(second - 1), await bytesOf(store, walKey(second - 20)));
    const report = await clusterOn(store).verify({ from: second + 1, repair: true });
    const finding = report.findings.find(({ object }) => object === packKey(0, 64));
    if (finding?.repair === "repaired") expect(await bytesOf(store, packKey(0, 64))).toEqual(original);
    else expect(finding?.repair).toBe("impossible");
  });

  it("of another cluster's history is refused", async () => {
    const store = await history();
    for (const key of await keysOf(store)) if (key.endsWith(".pack")) await store.delete(key);
    const before = await keysOf(store);
    const other = new LittleBigCluster({ id: "other", store });
    await expectError(() => other.verify({ repair: true }), "invalid", "wrong_cluster");
    expect(await keysOf(store)).toEqual(before);
  });
});

describe("what is no damage", () => {
  it("a pack that was not written because it is dearer than a snapshot", async () => {
    const store = await newStore();
    const snapshot = { walBytesMin: 0, databaseFraction: 0.5, objectsMax: 10_000, intervalMinMs: 60_000 };
    const { node } = await lead(store, { settings: { ...QUIET, snapshot } });
    await createTable(node);
    // One snapshot is taken at once; then everything changes all the time.
    for (let row = 0; row < 20; row++) await insert(node, `row ${row}`, new Uint8Array(4000));
    const body = new Uint8Array(4000);
    while (node.epoch.current < 140) {
      body.fill(node.epoch.current);
      await node.transaction((tx) => tx.run("UPDATE items SET body = ?", [body])).durable;
    }
    await node.shutdown();
    expect((await keysOf(store)).filter((key) => key.endsWith(".pack"))).toEqual([]);
    expect(await clusterOn(store).verify()).toMatchObject({ findings: [], isRestorable: true });
  });

  it("the last pack of somebody who leads, and may be writing it", async () => {
    const store = await newStore();
    const settings = { ...QUIET, snapshot: { walBytesMin: 2 ** 40, objectsMax: 10_000 } };
    const { node, faults } = await lead(store, { settings });
    faults.onCall = ({ operation, key }) =>
      operation === "put" && key.endsWith(".pack") ? { kind: "fail_before" } : undefined;
    await createTable(node);
    while (node.epoch.current < 100) await insert(node, `row ${node.epoch.current}`);
    expect((await clusterOn(store).verify()).findings).toEqual([]);
    while (node.epoch.current < 130) await insert(node, `row ${node.epoch.current}`);
    expect((await clusterOn(store).verify()).findings).toMatchObject([{ object: packKey(0, 64), problem: "missing" }]);
  });
});

describe("the retention", () => {
  it("passes a drill that is under way: nothing is lost, it begins later", async () => {
    const whole = await history();
    const third = (await epochsOf(whole, "snapshot"))[2] as number;
    const store = new FaultyStore(whole);
    store.onCall = ({ operation, key }) => {
      if (operation !== "get" || key !== walKey(40)) return undefined;
      store.onCall = () => undefined;
      void whole.put(LAST_VACUUM_KEY, new TextEncoder().encode(epochText(third)));
      const old = Array.from({ length: third }, (_, epoch) => [walKey(epoch), snapshotKey(epoch)]).flat();
      void whole.deleteMany([...old, packKey(0, 64)]);
      return undefined;
    };
    const report = await clusterOn(store).verify();
    expect(report).toMatchObject({ from: third, to: EPOCHS + 1, findings: [], lost: [], isRestorable: true });
  });

  it("is not believed to have passed everything because its marker says so", async () => {
    const store = await history();
    await store.put(LAST_VACUUM_KEY, new TextEncoder().encode(epochText(Number.MAX_SAFE_INTEGER)));
    const report = await clusterOn(store).verify();
    expect(report.findings).toMatchObject([{ object: LAST_VACUUM_KEY, problem: "contradicts", isHarmless: true }]);
    expect(report).toMatchObject({ from: 0, to: EPOCHS + 1, isRestorable: true });
  });
});

describe("the earliest snapshot", () => {
  it("is lost: so are the epochs after it, though nothing else is missing", async () => {
    const store = await history();
    const [, second = 0, third = 0] = await epochsOf(store, "snapshot");
    for (const key of await keysOf(store)) {
      const parsed = parseKey(key);
      if (parsed !== undefined && parsed.epoch < second) await store.delete(key);
    }
    await store.put(LAST_VACUUM_KEY, new TextEncoder().encode(epochText(second)));
    expect(await clusterOn(store).verify()).toMatchObject({ from: second, findings: [], isRestorable: true });
    await store.delete(snapshotKey(second));
    expect(await clusterOn(store).verify()).toMatchObject({
      from: third,
      findings: [{ object: snapshotKey(second), problem: "missing", isHarmless: false }],
      lost: [{ first: second + 1, last: third - 1 }],
      isRestorable: false,
    });
  });

  it("is the only one, and the newest epoch", async () => {
    const store = await history();
    const last = (await epochsOf(store, "snapshot")).at(-1) as number;
    for (const key of await keysOf(store)) {
      const parsed = parseKey(key);
      if (parsed !== undefined && parsed.epoch !== last) await store.delete(key);
    }
    expect(await clusterOn(store).verify()).toMatchObject({ from: last, to: last, lost: [], isRestorable: true });
    const snapshot = await bytesOf(store, snapshotKey(last));
    const changed = parseWal(await bytesOf(store, walKey(last)), "epoch").pageNumbers[0] as number;
    await store.put(snapshotKey(last), flipped(snapshot, changed * PAGE_BYTES - 1));
    expect(await clusterOn(store).verify()).toMatchObject({ lost: [{ first: last, last }], isRestorable: false });
  });
});

describe("the leader's own drills", () => {
  it("run on a schedule, and status and metrics tell their outcome", async () => {
    const store = await newStore();
    const { node, events } = await lead(store, { settings: { ...QUIET, verifyIntervalMs: 20 } });
    expect(node.status().history.verified).toBeNull();
    await createTable(node);
    for (let row = 0; row < 5; row++) await insert(node, `row ${row}`);
    await until("a drill", () => (node.status().history.verified?.to ?? 0) >= 6);
    expect(node.status().history.verified).toMatchObject({ from: 0, findings: 0, is_restorable: true });

    await store.delete(walKey(3));
    await until("a drill that finds it", () => node.status().history.verified?.is_restorable === false);
    const text = await (await fetch(`http://${node.address}/.lbc/metrics`)).text();
    expect(text).toMatch(/^lbc_history_restorable 0$/m);
    expect(text).toMatch(/^lbc_history_findings 1$/m);
    expect(text).toMatch(/^lbc_history_verified_timestamp_seconds \d+/m);
    expect(events.some(({ event, level }) => event === "history_verified" && level === "error")).toBe(true);
  });
});
