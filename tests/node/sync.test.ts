/** How fresh `sync` makes a node, and what it costs (docs/architecture.md §7). */
import { describe, expect, it } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import type { SyncLevel } from "../../src/mod.ts";
import type { StoreCall } from "../../src/testing/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import {
  createTable,
  insert,
  isWalPut,
  join,
  LONG_MS,
  lead,
  namesIn,
  newStore,
  putSnapshot,
  QUIET,
  type Subject,
  trimBelow,
  UNREACHABLE,
} from "../support/cluster.ts";
import { settle, until, within } from "../support/wait.ts";

const quiet = { settings: QUIET };
/** Asks the store for nothing by itself. */
const still = { settings: { ...QUIET, pollIntervalMs: 60_000 } };

function countCalls({ faults }: Subject, fault?: (call: StoreCall) => boolean): StoreCall[] {
  const calls: StoreCall[] = [];
  faults.onCall = (call) => {
    calls.push(call);
    return fault?.(call) ? { kind: "fail_before" } : undefined;
  };
  return calls;
}

const isStreaming = ({ node }: Subject) => node.status().replica.is_streaming;

/** A leader and a follower, with its stream or without. */
async function pair({ streams, settings = still.settings }: { streams: boolean; settings?: typeof still.settings }) {
  const store = await newStore();
  const leader = await lead(store, streams ? quiet : { ...quiet, join: UNREACHABLE });
  await createTable(leader.node);
  const follower = await join("follower", store, { settings });
  await follower.node.sync({ atLeast: leader.node.epoch.current });
  if (streams) await until("the stream", () => isStreaming(follower));
  else await until("what it finds at first", () => follower.node.lagMs < LONG_MS);
  await settle();
  return { store, leader, follower };
}

for (const streams of [true, false]) {
  describe(`sync to a staleness on a follower ${streams ? "with" : "without"} the leader's stream`, () => {
    it("shows what was durable when it was called, and asks nothing if it was found out recently enough", async () => {
      const { leader, follower } = await pair({ streams });
      await insert(leader.node, "a");
      expect(await follower.node.sync({ maxStalenessMs: 0 })).toEqual({ epoch: leader.node.epoch.current });
      expect(namesIn(follower.node)).toEqual(["a"]);
      await settle();
      const calls = countCalls(follower);
      for (let count = 0; count < 5; count++) await follower.node.sync({ maxStalenessMs: LONG_MS });
      expect(calls).toEqual([]);
      await insert(leader.node, "b");
      await follower.node.sync({ maxStalenessMs: 0 });
      expect(namesIn(follower.node)).toEqual(["a", "b"]);
    });

    it("asks when what it knows has become too old, and not before", async () => {
      const { follower } = await pair({ streams });
      await follower.node.sync({ maxStalenessMs: 0 });
      await settle();
      const calls = countCalls(follower);
      follower.clock.pass(50_000);
      await follower.node.sync({ maxStalenessMs: 60_000 });
      expect(calls).toEqual([]);
      await follower.node.sync({ maxStalenessMs: 49_000 });
      expect(calls.length).toBeGreaterThan(0);
    });

    it("asks the store once for many who wait", async () => {
      const { leader, follower } = await pair({ streams });
      follower.clock.pass(50_000);
      const calls = countCalls(follower);
      await insert(leader.node, "a");
      await Promise.all(Array.from({ length: 50 }, () => follower.node.sync({ maxStalenessMs: 10_000 })));
      expect(namesIn(follower.node)).toEqual(["a"]);
      expect(calls.filter(({ operation }) => operation === "head" || operation === "list").length).toBeLessThanOrEqual(
        2,
      );
    });

    it("fails by its time-out while the store does not answer, without a storm of requests, and works again after", async () => {
      const { leader, follower } = await pair({ streams });
      await follower.node.sync({ maxStalenessMs: 0 });
      follower.clock.pass(50_000);
      const calls = countCalls(follower, () => true);
      const waiters = [0, 1000, 10_000].map((maxStalenessMs) =>
        failureOf(follower.node.sync({ maxStalenessMs }, { timeoutMs: 400 })),
      );
      for (const error of await within("the errors", Promise.all(waiters))) {
        expect(error).toMatchObject({ kind: "unavailable", code: "wait_timeout" });
        expect(error.message).toMatch(/sync\(maxStalenessMs \d+\): not within 400 ms/);
      }
      // 5, 10, 20, 40, 40, … ms apart, of each of three questions, and the following's own.
      expect(calls.length).toBeLessThan(200);
      await follower.node.sync({ maxStalenessMs: LONG_MS });
      const waiting = follower.node.sync({ maxStalenessMs: 0 });
      await settle();
      follower.faults.onCall = () => undefined;
      await insert(leader.node, "after");
      await within("the sync", waiting);
      await follower.node.sync({ maxStalenessMs: 0 });
      expect(namesIn(follower.node)).toEqual(["after"]);
    });
  });
}

describe("sync to a staleness", () => {
  it("on a node that was cut off until its history was trimmed reads everything anew", async () => {
    const { store, leader, follower } = await pair({ streams: false });
    follower.faults.onCall = () => ({ kind: "fail_before" });
    for (let count = 0; count < 4; count++) await insert(leader.node, `new ${count}`);
    const head = leader.node.epoch.current;
    await putSnapshot(store, head - 1);
    await trimBelow(store, head - 1);
    await store.delete(walKey(head - 1));
    follower.clock.pass(LONG_MS);
    const own = follower.node.epoch.current;
    const calls = countCalls(follower);
    await follower.node.sync({ maxStalenessMs: 1000 });
    expect([follower.node.epoch.current, namesIn(follower.node)]).toEqual([head, namesIn(leader.node)]);
    expect(calls.filter(({ operation, key }) => operation === "head" && key === walKey(own + 1))).toEqual([]);
  });

  it("does not believe a missing epoch after long: it asks what is later", async () => {
    const { follower } = await pair({ streams: false });
    follower.clock.pass(LONG_MS);
    const calls = countCalls(follower);
    await follower.node.sync({ maxStalenessMs: 0 });
    expect(calls.some(({ operation }) => operation === "list")).toBe(true);
  });

  it("goes on when the one who asked first gives up", async () => {
    const { leader, follower } = await pair({ streams: true });
    follower.clock.pass(50_000);
    const first = new AbortController();
    let isHeld = true;
    follower.faults.onCall = ({ operation }) =>
      operation === "head" && isHeld ? { kind: "delay", delayMs: 20_000 } : undefined;
    const given = follower.node.sync({ maxStalenessMs: 0 }, { signal: first.signal });
    given.catch(() => {});
    const others = [1, 2].map(() => follower.node.sync({ maxStalenessMs: 40_000 }));
    await settle();
    await insert(leader.node, "a");
    isHeld = false;
    const reason = new Error("enough");
    first.abort(reason);
    await expect(given).rejects.toBe(reason);
    await within("the others", Promise.all(others), 8000);
  });

  it("ends with the node", async () => {
    const { follower } = await pair({ streams: false });
    follower.clock.pass(50_000);
    follower.faults.onCall = () => ({ kind: "fail_before" });
    const waiting = failureOf(follower.node.sync({ maxStalenessMs: 0 }, { timeoutMs: 60_000 }));
    await follower.node.shutdown();
    expect((await within("the end", waiting, 8000)).kind).toBe("closed");
  });

  it("on the leader costs nothing while it knows that nobody else leads, else one epoch", async () => {
    const store = await newStore();
    const leader = await lead(store, quiet);
    const { epoch } = { epoch: await createTable(leader.node) };
    const calls = countCalls(leader);
    expect(await leader.node.sync({ maxStalenessMs: 60_000 })).toEqual({ epoch });
    expect(calls).toEqual([]);
    leader.clock.pass(70_000);
    const many = Array.from({ length: 20 }, () => leader.node.sync({ maxStalenessMs: 60_000 }));
    for (const synced of await Promise.all(many)) expect(synced).toEqual({ epoch: epoch + 1 });
    expect(calls.filter(isWalPut).length).toBe(1);
    await leader.node.sync({ maxStalenessMs: 60_000 });
    expect(calls.filter(isWalPut).length).toBe(1);
  });

  it("on a leader whose store fails ends by its time-out, and one that was superseded does not answer from memory", async () => {
    const store = await newStore();
    const leader = await lead(store, { ...quiet, join: UNREACHABLE });
    await createTable(leader.node);
    const standby = await join("leader", store, { settings: { ...QUIET, fastFailover: false } });
    await standby.node.sync({ atLeast: leader.node.epoch.current });
    countCalls(leader, () => true);
    const error = await failureOf(within("the sync", leader.node.sync({ maxStalenessMs: 0 }, { timeoutMs: 200 })));
    expect(error).toMatchObject({ kind: "unavailable", code: "wait_timeout" });
    standby.clock.pass(LONG_MS);
    await standby.node.waitForLeadership({ timeoutMs: 10_000 });
    await insert(standby.node, "new");
    leader.clock.pass(LONG_MS);
    expect((await failureOf(leader.node.sync({ maxStalenessMs: 1000 }, { timeoutMs: 200 }))).kind).toBe("unavailable");
    leader.faults.onCall = () => undefined;
    await until("the step back", () => leader.node.role.current === "standby");
    await leader.node.sync({ maxStalenessMs: 1000 });
    expect(namesIn(leader.node)).toEqual(["new"]);
  });

  it("is refused for what is no level, with what to give", async () => {
    const { leader, follower } = await pair({ streams: false });
    const bad = [
      undefined,
      null,
      0,
      "",
      "newest",
      {},
      [],
      { maxStalenessMs: -1 },
      { maxStalenessMs: Number.NaN },
      { maxStalenessMs: "5" },
      { maxStalenessMs: null },
      { maxStalenessMs: [] },
      { atLeast: 1.5 },
      { atLeast: "1" },
      { atLeast: undefined },
    ];
    for (const { node } of [leader, follower]) {
      for (const level of bad) {
        const call = within(`sync(${JSON.stringify(level)})`, node.sync(level as SyncLevel, { timeoutMs: 200 }));
        const error = await failureOf(call);
        expect(`${error.kind}/${error.code}`, JSON.stringify(level)).toBe("invalid/bad_sync_level");
        expect(error.message).toContain("maxStalenessMs: milliseconds");
      }
      expect(await node.sync({ maxStalenessMs: Number.POSITIVE_INFINITY })).toEqual({ epoch: node.epoch.current });
    }
    expect(await codeOf(follower.node.sync({ atLeast: 10 ** 9 }, { timeoutMs: 20 }))).toBe("unavailable/wait_timeout");
  });
});

describe("sync(linearizable)", () => {
  it("shows everything that was acknowledged before, on the leader and on followers, from one epoch for many", async () => {
    const { leader, follower } = await pair({ streams: true });
    for (const [index, { node }] of [leader, follower, follower].entries()) {
      await insert(leader.node, `${index}`);
      const before = leader.node.epoch.current;
      const synced = await Promise.all(Array.from({ length: 20 }, () => node.sync("linearizable")));
      expect(namesIn(node).length).toBe(index + 1);
      for (const { epoch } of synced) expect(epoch).toBeGreaterThan(before);
      expect(leader.node.epoch.current, "not one epoch each").toBeLessThanOrEqual(before + 5);
    }
  });

  it("on a follower that its leader cannot answer ends by its time-out", async () => {
    const { follower } = await pair({ streams: false });
    const error = await failureOf(within("the sync", follower.node.sync("linearizable", { timeoutMs: 300 })));
    expect(error).toMatchObject({ kind: "unavailable" });
  });

  it("on the leader ends by its time-out while the store fails, and shows what came after", async () => {
    const store = await newStore();
    const leader = await lead(store, quiet);
    await createTable(leader.node);
    countCalls(leader, isWalPut);
    const error = await failureOf(within("the sync", leader.node.sync("linearizable", { timeoutMs: 200 })));
    expect(error).toMatchObject({ kind: "unavailable", code: "wait_timeout" });
    leader.faults.onCall = () => undefined;
    expect((await leader.node.sync("linearizable")).epoch).toBe(leader.node.epoch.current);
  });
});
