/** Retention: what is too old goes, what any retained point or any join needs stays. */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import process from "node:process";
import { describe, expect, it } from "vitest";
import { parseClusterOptions } from "../../src/config.ts";
import { LAST_SNAPSHOT_KEY, LAST_VACUUM_KEY, packKey, parseKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import type { HistoryParts } from "../../src/history/parts.ts";
import { Retention } from "../../src/history/retention.ts";
import { type ListOptions, type ListPage, LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { FaultyStore, type OnStoreCall } from "../../src/testing/mod.ts";
import { createTable, insert, join, lead, namesIn, newStore, QUIET, type Subject } from "../support/cluster.ts";
import { expectError } from "../support/errors.ts";
import { allObjects } from "../support/sqlite-file.ts";
import { TestClock } from "../support/test-clock.ts";
import { until } from "../support/wait.ts";

const HOUR_MS = 3_600_000;
const RETENTION_MS = 2 * HOUR_MS;

interface World {
  readonly store: MemoryStore;
  /** The store's clock: how old things are. */
  readonly clock: TestClock;
  readonly leader: Subject;
  /** Row counts by epoch. */
  readonly rows: Map<number, number>;
}

/** A leader that takes a snapshot every 20 epochs and trims only when a test says so. */
async function newWorld(): Promise<World> {
  const clock = new TestClock();
  const store = new MemoryStore({ clock });
  await newStore(store);
  const settings = {
    ...QUIET,
    snapshot: { epochsMax: 20, intervalMinMs: 0 },
    retentionMs: RETENTION_MS,
    retentionIntervalMs: 24 * HOUR_MS,
  };
  const leader = await lead(store, { settings });
  await createTable(leader.node);
  return { store, clock, leader, rows: new Map() };
}

/** Writes that many epochs, all at this moment of the clock, and lets the snapshots of them be finished. */
async function write({ leader, rows, store }: World, epochs: number): Promise<void> {
  for (let index = 0; index < epochs; index++) {
    const { epoch } = await insert(leader.node, `row ${leader.node.epoch.current}`);
    rows.set(epoch, leader.node.db.query("SELECT 1 FROM items").length);
  }
  const due = Math.floor((leader.node.epoch.current - 1) / 20) * 20;
  await until(
    "the snapshot",
    async () => leader.node.status().replica.snapshot_epoch >= due - 20 || store === undefined,
  );
}

/** Gives few objects at a time. */
class SmallPages extends MemoryStore {
  override list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    return super.list(prefix, { ...options, limit: 30 });
  }
}

function historyParts(store: ObjectStore, retentionMs: number): HistoryParts {
  return { settings: parseClusterOptions({ id: "test", store, retentionMs }), store, log: () => {} };
}

function clusterOn(store: ObjectStore, retentionMs = RETENTION_MS): LittleBigCluster {
  return new LittleBigCluster({ id: "test", store, retentionMs });
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  return [...(await allObjects(store)).keys()].filter((key) => parseKey(key) !== undefined);
}

async function snapshotEpochs(store: ObjectStore): Promise<number[]> {
  return (await keysOf(store)).flatMap((key) => {
    const parsed = parseKey(key);
    return parsed?.kind === "snapshot" ? [parsed.epoch] : [];
  });
}

describe("a run", () => {
  it("deletes what is before the newest snapshot that is as old as the retention, and nothing else", async () => {
    const world = await newWorld();
    const { store, clock, rows } = world;
    await write(world, 100);
    clock.setWall(HOUR_MS);
    await write(world, 100);
    const before = await keysOf(store);
    clock.setWall(HOUR_MS + 1);
    const oldest = (await snapshotEpochs(store)).filter((epoch) => epoch <= 101).at(-1) as number;
    await write(world, 3);

    const report = await clusterOn(store).vacuum();
    expect(report.boundary).toBe(oldest);
    const after = await keysOf(store);
    const gone = before.filter((key) => !after.includes(key));
    expect(report.deleted).toBe(gone.length);
    for (const key of before) {
      const parsed = parseKey(key);
      const isBefore = parsed?.kind === "pack" ? parsed.epoch <= oldest : (parsed?.epoch ?? 0) < oldest;
      expect(after.includes(key), key).toBe(!isBefore);
    }
    expect(after).toContain(walKey(oldest));
    expect(after).toContain(snapshotKey(oldest));
    expect(after).toContain(packKey(64, 128));
    expect(after).not.toContain(packKey(0, 64));
    expect(new TextDecoder().decode((await store.get(LAST_VACUUM_KEY))?.bytes)).toBe(String(oldest).padStart(20, "0"));

    // Every point that is kept is the state of then.
    const cluster = clusterOn(store);
    expect((await cluster.extent()).earliest).toBe(oldest);
    for (const [epoch, count] of rows) {
      if (epoch % 7 !== 0) continue;
      if (epoch < oldest) {
        await expectError(() => cluster.openAt(epoch), "invalid", "point_before_history");
      } else {
        const past = await cluster.openAt(epoch);
        expect(past.query("SELECT 1 FROM items").length, `epoch ${epoch}`).toBe(count);
        past.close();
      }
    }
  }, 60_000);

  it("counts a snapshot's age from the store's answer, not from a question that a pause delayed", async () => {
    const world = await newWorld();
    await write(world, 60);
    world.clock.setWall(RETENTION_MS / 2);
    const before = await keysOf(world.store);
    const [, paused] = await snapshotEpochs(world.store);
    const clock = new TestClock();
    const { head } = world.store;
    world.store.head = (key, options) => {
      if (key === snapshotKey(paused as number)) {
        clock.pass(RETENTION_MS);
        clock.setWall(RETENTION_MS);
      }
      return head.call(world.store, key, options);
    };
    const parts = historyParts(world.store, RETENTION_MS);
    const retention = new Retention({ ...parts, settings: { ...parts.settings, clock } });
    expect(await retention.run(undefined)).toMatchObject({ boundary: 0, deleted: 0 });
    expect(await keysOf(world.store)).toEqual(before);
  });

  it("deletes nothing on the word of a marker: the snapshot that it names has to be old", async () => {
    const world = await newWorld();
    await write(world, 60);
    const before = await keysOf(world.store);
    const newest = (await snapshotEpochs(world.store)).at(-1) as number;
    await world.store.put(LAST_VACUUM_KEY, new TextEncoder().encode(String(newest).padStart(20, "0")));
    const retention = new Retention(historyParts(world.store, RETENTION_MS));
    expect(await retention.run(undefined)).toMatchObject({ boundary: newest, deleted: 0 });
    expect(await keysOf(world.store)).toEqual(before);
    // When it is, what came before it goes.
    world.clock.setWall(RETENTION_MS + 1000);
    const later = new Retention(historyParts(world.store, RETENTION_MS));
    expect((await later.run(undefined)).deleted).toBeGreaterThan(0);
  });

  it("deletes nothing while every snapshot is younger, not even when asked again and again", async () => {
    const world = await newWorld();
    await write(world, 60);
    world.clock.setWall(RETENTION_MS - 1000);
    const before = await keysOf(world.store);
    for (let run = 0; run < 3; run++) {
      expect(await clusterOn(world.store).vacuum()).toMatchObject({ boundary: 0, deleted: 0 });
    }
    expect(await keysOf(world.store)).toEqual(before);
  });

  it("never deletes the newest snapshot, nor what is after it, however old", async () => {
    const world = await newWorld();
    await write(world, 50);
    world.clock.setWall(1000 * HOUR_MS);
    const newest = (await snapshotEpochs(world.store)).at(-1) as number;
    const { boundary } = await clusterOn(world.store).vacuum();
    expect(boundary).toBe(newest);
    const { node } = await join("follower", world.store, { settings: QUIET });
    expect(namesIn(node)).toEqual(namesIn(world.leader.node));
    expect(await keysOf(world.store)).toContain(walKey(node.epoch.current));
  });

  it("counts a snapshot's age from its completion: what a join that is under way reads stays for an hour", async () => {
    const world = await newWorld();
    const { store, clock, leader } = world;
    let isBeingWritten = false;
    leader.faults.onCall = ({ operation, key }) => {
      if (operation !== "put" || !key.endsWith(".db")) return undefined;
      isBeingWritten = true;
      return { kind: "delay", delayMs: 100 };
    };
    for (let row = 0; !isBeingWritten; row++) await insert(leader.node, `row ${row}`);
    // The epoch is old when its snapshot is completed only now.
    clock.setWall(10 * HOUR_MS);
    await insert(leader.node, "later");
    const newest = await until("the snapshot", async () => (await snapshotEpochs(store)).find((epoch) => epoch > 0));
    expect(await clusterOn(store).vacuum()).toMatchObject({ boundary: 0, deleted: 0 });
    clock.setWall(RETENTION_MS);
    expect((await clusterOn(store).vacuum()).boundary).toBe(newest);
  });

  it("finishes what one that died in the middle has left, though the boundary is where it was", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 150);
    clock.setWall(RETENTION_MS);
    const dying = new FaultyStore(store, {
      onCall: ({ operation }) => (operation === "deleteMany" ? { kind: "fail_before" } : undefined),
    });
    await expectError(() => clusterOn(dying).vacuum(), "unavailable", "store_timeout");
    expect(await store.head(LAST_VACUUM_KEY)).toBeDefined();
    expect(await store.head(walKey(1))).toBeDefined();
    expect((await clusterOn(store).verify()).findings.every(({ problem }) => problem === "orphan")).toBe(true);

    const { boundary } = await clusterOn(store).vacuum();
    expect(boundary).toBeGreaterThan(128);
    for (const key of await keysOf(store)) expect(parseKey(key)?.epoch, key).toBeGreaterThanOrEqual(boundary);
    expect(await clusterOn(store).verify()).toMatchObject({ from: boundary, findings: [], isRestorable: true });
  });

  it("deletes nothing when the epoch that proves that snapshot is missing", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 50);
    clock.setWall(RETENTION_MS);
    const boundary = (await snapshotEpochs(store)).at(-1) as number;
    await store.delete(walKey(boundary + 1));
    const before = await keysOf(store);
    const { message } = await expectError(() => clusterOn(store).vacuum(), "corrupt", "history_incomplete");
    expect(message).toContain(walKey(boundary + 1));
    expect(await keysOf(store)).toEqual(before);
    expect(await store.head(LAST_VACUUM_KEY)).toBeUndefined();
  });

  it("goes through all pages of the listing, and no further than it must", async () => {
    const world = await newWorld();
    await write(world, 70);
    world.clock.setWall(RETENTION_MS);
    const store = new SmallPages({ clock: world.clock });
    for (const key of [...(await keysOf(world.store)), LAST_SNAPSHOT_KEY])
      await store.put(key, (await world.store.get(key))?.bytes ?? new Uint8Array());
    world.clock.setWall(2 * RETENTION_MS);
    const { boundary } = await clusterOn(store).vacuum();
    expect(boundary).toBeGreaterThan(40);
    for (const key of await keysOf(store)) expect(parseKey(key)?.epoch, key).toBeGreaterThanOrEqual(boundary);
  });

  it("that failed in the middle is finished by the next, of the same leader too", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 60);
    clock.setWall(RETENTION_MS);
    const dying = new FaultyStore(store);
    const retention = new Retention(historyParts(dying, RETENTION_MS));
    dying.onCall = ({ operation }) => (operation === "deleteMany" ? { kind: "fail_before" } : undefined);
    for (let run = 0; run < 2; run++) await expectError(() => retention.run(undefined), "unavailable", "store_timeout");
    dying.onCall = () => undefined;
    const { boundary, deleted } = await retention.run(undefined);
    expect(deleted).toBeGreaterThan(boundary);
    for (const key of await keysOf(store)) expect(parseKey(key)?.epoch, key).toBeGreaterThanOrEqual(boundary);
    // And then there is nothing to do: nothing is asked.
    const calls: string[] = [];
    dying.onCall = ({ operation }) => void calls.push(operation);
    expect(await retention.run(undefined)).toEqual({ boundary, deleted: 0, bytes: 0 });
    expect(calls.filter((operation) => operation !== "list")).toEqual([]);
  });

  it("asks for the ages again when the machine was suspended", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 60);
    // The leader's own machine, of which only the wall clock goes on.
    const own = new TestClock();
    const parts = historyParts(store, RETENTION_MS);
    const retention = new Retention({ ...parts, settings: { ...parts.settings, clock: own } });
    expect(await retention.run(undefined)).toMatchObject({ boundary: 0 });
    clock.setWall(RETENTION_MS);
    expect(await retention.run(undefined), "nothing told it").toMatchObject({ boundary: 0 });
    own.setWall(RETENTION_MS);
    const newest = (await snapshotEpochs(store)).at(-1) as number;
    expect(await retention.run(undefined)).toMatchObject({ boundary: newest });
  });

  it("is not held up by a snapshot that a leader completed long after the next ones: it was paused", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 100);
    const epochs = await snapshotEpochs(store);
    clock.setWall(RETENTION_MS);
    const [late, newest] = [epochs.at(-3), epochs.at(-1)] as [number, number];
    const { bytes } = (await store.get(snapshotKey(late))) as { bytes: Uint8Array };
    await store.put(snapshotKey(late), bytes);
    expect(await clusterOn(store).vacuum()).toMatchObject({ boundary: newest });
  });

  it("nor does it wait for such a one when it saw the next ones while they were young", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 40);
    const epochs = await snapshotEpochs(store);
    clock.setWall(RETENTION_MS / 2);
    const [late, newest] = [epochs.at(-2), epochs.at(-1)] as [number, number];
    const { bytes } = (await store.get(snapshotKey(late))) as { bytes: Uint8Array };
    await store.put(snapshotKey(late), bytes);
    const own = new TestClock();
    const parts = historyParts(store, RETENTION_MS);
    const retention = new Retention({ ...parts, settings: { ...parts.settings, clock: own } });
    expect(await retention.run(undefined)).toMatchObject({ boundary: 0 });
    for (const one of [clock, own]) one.setWall(RETENTION_MS / 2);
    own.pass(RETENTION_MS / 2);
    expect(await retention.run(undefined)).toMatchObject({ boundary: newest });
  });

  it("looks again at a snapshot whose age it could not learn", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 60);
    clock.setWall(RETENTION_MS);
    const newest = (await snapshotEpochs(store)).at(-1) as number;
    const faulty = new FaultyStore(store);
    const retention = new Retention(historyParts(faulty, RETENTION_MS));
    faulty.onCall = ({ operation, key }) =>
      operation === "head" && key === snapshotKey(newest) ? { kind: "fail_before" } : undefined;
    await expectError(() => retention.run(undefined), "unavailable", "store_timeout");
    faulty.onCall = () => undefined;
    expect(await retention.run(undefined)).toMatchObject({ boundary: newest });
  });

  it.each([
    ["beyond every epoch", String(Number.MAX_SAFE_INTEGER).padStart(20, "0")],
    ["no snapshot", String(33).padStart(20, "0")],
    ["no epoch", "what?"],
  ])("is not led astray by a marker that names %s", async (_name, text) => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 60);
    clock.setWall(RETENTION_MS);
    const boundary = (await snapshotEpochs(store)).at(-1) as number;
    await store.put(LAST_VACUUM_KEY, new TextEncoder().encode(text));
    expect(await clusterOn(store).vacuum()).toMatchObject({ boundary });
    expect(await clusterOn(store).extent()).toMatchObject({ earliest: boundary });
    for (const key of await keysOf(store)) expect(parseKey(key)?.epoch, key).toBeGreaterThanOrEqual(boundary);
  });

  it.each([
    ["missing", async (store: ObjectStore, key: string) => await store.delete(key)],
    ["not a database", async (store: ObjectStore, key: string) => void (await store.put(key, new Uint8Array(8192)))],
    [
      "cut short",
      async (store: ObjectStore, key: string) => {
        const { bytes } = (await store.get(key)) as { bytes: Uint8Array };
        await store.put(key, bytes.subarray(0, bytes.length - 4096));
      },
    ],
  ])("deletes nothing when the snapshot that everything would depend on is %s", async (_name, damage) => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 50);
    clock.setWall(RETENTION_MS);
    const boundary = (await snapshotEpochs(store)).at(-1) as number;
    const faulty = new FaultyStore(store);
    // It goes bad between the question for its age and the deletion.
    let isDone = false;
    const onCall: OnStoreCall = ({ operation, key }) => {
      if (operation === "get" && key === snapshotKey(boundary) && !isDone) {
        isDone = true;
        return { kind: "delay", delayMs: 30 };
      }
      return undefined;
    };
    faulty.onCall = onCall;
    const before = await keysOf(store);
    const running = clusterOn(faulty).vacuum();
    running.catch(() => {});
    await until("the question", () => isDone);
    await damage(store, snapshotKey(boundary));
    // The store of the test may age what it is given anew: what counts is that nothing else went.
    const outcome = await running.then(
      () => "deleted",
      ({ kind }: { kind: string }) => kind,
    );
    expect(outcome).toBe("corrupt");
    expect((await keysOf(store)).length).toBeGreaterThanOrEqual(before.length - 1);
    expect(await store.head(LAST_VACUUM_KEY)).toBeUndefined();
  });
});

describe("races", () => {
  it("two leaders' retention at once, one of them paused in the middle for long", async () => {
    const world = await newWorld();
    const { store, clock, rows } = world;
    await write(world, 60);
    clock.setWall(RETENTION_MS);
    await write(world, 60);
    const slow = new FaultyStore(store, {
      onCall: ({ operation }) => (operation === "deleteMany" ? { kind: "delay", delayMs: 300 } : undefined),
    });
    const paused = clusterOn(slow).vacuum();
    await clusterOn(store).vacuum();
    clock.setWall(RETENTION_MS);
    await write(world, 30);
    const later = await clusterOn(store).vacuum();
    expect((await paused).boundary).toBeLessThan(later.boundary);

    const cluster = clusterOn(store);
    for (let epoch = later.boundary; epoch <= world.leader.node.epoch.current; epoch += 9) {
      const past = await cluster.openAt(epoch);
      if (rows.has(epoch)) expect(past.query("SELECT 1 FROM items").length).toBe(rows.get(epoch));
      past.close();
    }
    const { node } = await join("follower", store, { settings: QUIET });
    expect(namesIn(node)).toEqual(namesIn(world.leader.node));
  }, 30_000);

  it("a join that runs into it starts over and gets there", async () => {
    const world = await newWorld();
    const { store, clock } = world;
    await write(world, 130);
    let trimmed: Promise<unknown> | undefined;
    const { node, events } = await join("follower", store, {
      settings: QUIET,
      onCall: ({ operation, key }) => {
        if (operation !== "get" || !key.endsWith(".wal") || trimmed !== undefined) return undefined;
        // Everything that this join has planned to read goes away, as if it had slept for days.
        trimmed = (async () => {
          clock.setWall(RETENTION_MS);
          await write(world, 50);
          clock.setWall(RETENTION_MS);
          await clusterOn(store).vacuum();
        })();
        return { kind: "delay", delayMs: 2500 };
      },
    });
    await trimmed;
    expect(events.map(({ event }) => event)).toContain("restore_restarted");
    await node.sync({ atLeast: world.leader.node.epoch.current });
    expect(namesIn(node)).toEqual(namesIn(world.leader.node));
  }, 30_000);

  const file = joinPath(tmpdir(), `lbc-retention-${process.pid}.db`);
  it.each([
    ["a past database that is being opened", (cluster: LittleBigCluster) => cluster.openAt(75)],
    ["an export", (cluster: LittleBigCluster) => cluster.export(75, file)],
    ["a fork", (cluster: LittleBigCluster) => cluster.fork(75, new MemoryStore(), { id: "fork" })],
  ])(
    "%s gets a clear error, never a wrong state",
    async (_name, call) => {
      const world = await newWorld();
      const { store, clock } = world;
      await write(world, 130);
      let trimmed: Promise<unknown> | undefined;
      const slow = new FaultyStore(store, {
        onCall: ({ operation, key }) => {
          if (operation !== "get" || !key.endsWith(".wal") || key < walKey(60) || trimmed !== undefined)
            return undefined;
          trimmed = (async () => {
            clock.setWall(RETENTION_MS);
            await write(world, 50);
            clock.setWall(RETENTION_MS);
            await clusterOn(store).vacuum();
          })();
          return { kind: "delay", delayMs: 2500 };
        },
      });
      const error = await expectError(() => call(clusterOn(slow)), "invalid", "point_before_history");
      expect(error.message).toMatch(/earliest point is epoch \d+/);
      expect(existsSync(file)).toBe(false);
    },
    30_000,
  );
});

describe("the leader", () => {
  it("trims by itself, and says what the earliest point is", async () => {
    const clock = new TestClock();
    const store = new MemoryStore({ clock });
    await newStore(store);
    const settings = {
      ...QUIET,
      snapshot: { epochsMax: 10, intervalMinMs: 0 },
      retentionMs: RETENTION_MS,
      retentionIntervalMs: 20,
    };
    const leader = await lead(store, { settings });
    await createTable(leader.node);
    for (let row = 0; row < 40; row++) await insert(leader.node, `row ${row}`);
    clock.setWall(RETENTION_MS);
    leader.clock.pass(RETENTION_MS);
    await until("the trim", () => leader.events.some(({ event }) => event === "history_trimmed"));
    expect(await store.head(walKey(1))).toBeUndefined();
    expect(leader.node.status().history.earliest_epoch).toBe((await clusterOn(store).extent()).earliest);
  });
});
