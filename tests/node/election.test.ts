/** Who leads, and when (DESIGN §5): any time-out may be wrong, two leaders may never be. */
import { describe, expect, it } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import { MemoryStore } from "../../src/mod.ts";
import { failureOf } from "../store/failure.ts";
import {
  createTable,
  FAST,
  insert,
  isWalPut,
  join,
  LONG_MS,
  lead,
  namesIn,
  newStore,
  QUIET,
  walEpochs,
} from "../support/cluster.ts";
import { TestClock } from "../support/test-clock.ts";
import { settle, until } from "../support/wait.ts";

const quiet = { settings: QUIET };

/** Relies on the stream of a leader that is quiet for no longer than two heartbeats of its own. */
const impatient = { ...quiet, settings: { ...quiet.settings, heartbeatIntervalMs: 50 } };

describe("an election", () => {
  it("by rule 1: after a step-down a standby leads, and who stepped down lets it", async () => {
    const store = await newStore();
    const first = await lead(store, quiet);
    await createTable(first.node);
    const { epoch } = await insert(first.node, "a");
    const second = await join("leader", store, quiet);
    const ack = insert(first.node, "pending");
    await first.node.stepDown();
    expect((await ack).epoch).toBe(epoch + 1);
    await second.node.waitForLeadership({ timeoutMs: 10_000 });
    expect(first.node.role.current).toBe("standby");
    expect(first.events.filter(({ event }) => event === "claiming").length, "only its first").toBe(1);
    expect(namesIn(second.node)).toEqual(["a", "pending"]);
    await insert(second.node, "b");
  });

  it("by rule 1: who stepped down leads again when there is nobody else", async () => {
    const store = await newStore();
    const { node } = await lead(store, quiet);
    await node.stepDown();
    expect((await failureOf(() => node.transaction(() => {}))).kind).toBe("not_leader");
    await node.waitForLeadership({ timeoutMs: 10_000 });
    await createTable(node);
  });

  it("by rule 2: a leader that is not heard of for a session time-out is replaced", async () => {
    const store = await newStore();
    const first = await lead(store, { settings: { ...FAST, sessionTimeoutMs: 300 } });
    const second = await join("leader", store, { settings: { ...FAST, sessionTimeoutMs: 300 } });
    first.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    await second.node.waitForLeadership({ timeoutMs: 10_000 });
    first.faults.onCall = () => undefined;
    await until("the step back", () => first.node.role.current === "standby");
    await until("the new leader seen", () => first.node.leader.current?.uuid === second.node.uuid);
  });

  it("by rule 3: who joins a cluster whose newest epoch is old by the store's clock leads at once; else it waits", async () => {
    const clock = new TestClock();
    const store = new MemoryStore({ clock });
    await newStore(store);
    const first = await lead(store, quiet);
    first.faults.onCall = () => ({ kind: "fail_before" });
    const patient = await join("leader", store, quiet);
    clock.setWall(LONG_MS);
    const second = await join("leader", store, quiet);
    await second.node.waitForLeadership({ timeoutMs: 10_000 });
    expect(patient.events.some(({ event }) => event === "claiming")).toBe(false);
    await createTable(second.node);
  });

  it("is won by one of many that race, and the others follow it", async () => {
    const store = await newStore();
    const subjects = await Promise.all(Array.from({ length: 5 }, () => join("leader", store, quiet)));
    const leaders = () => subjects.filter(({ node }) => node.role.current === "leader");
    await until("a leader", () => leaders().length > 0);
    const [leader] = leaders();
    const uuid = leader?.node.uuid;
    await until("everyone follows", () => subjects.every(({ node }) => node.leader.current?.uuid === uuid));
    expect(leaders().length).toBe(1);
    const epoch = await createTable(leaders()[0]?.node as never);
    await Promise.all(subjects.map(({ node }) => node.sync({ atLeast: epoch })));
    expect(await walEpochs(store)).toEqual(Array.from({ length: epoch + 1 }, (_, index) => index));
  });

  it("of two that claim the same epoch is acknowledged to one (P2)", async () => {
    const store = await newStore();
    const first = await lead(store, quiet);
    await createTable(first.node);
    const [a, b] = [await join("leader", store, impatient), await join("leader", store, impatient)];
    first.faults.onCall = () => ({ kind: "fail_before" });
    for (const { faults } of [a, b]) faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    for (const { clock } of [a, b]) clock.pass(LONG_MS);
    await until("both claim", () => [a, b].every(({ events }) => events.some(({ event }) => event === "claiming")));
    for (const { faults } of [a, b]) faults.onCall = () => undefined;
    await until("one leads", () => [a, b].some(({ node }) => node.role.current === "leader"));
    const [winner, loser] = a.node.role.current === "leader" ? [a, b] : [b, a];
    const { epoch } = await insert(winner.node, "won");
    await loser.node.sync({ atLeast: epoch });
    expect(loser.node.role.current).toBe("standby");
    expect(loser.events.some(({ event }) => event === "leading")).toBe(false);
  });

  it("is not caused by a wall clock that is hours off, nor lost by it (P5)", async () => {
    const store = await newStore();
    const late = new TestClock();
    late.setWall(-5 * 3_600_000);
    const leader = await lead(store, { settings: FAST, clock: late });
    const early = new TestClock();
    early.setWall(5 * 3_600_000);
    const standby = await join("leader", store, { settings: FAST, clock: early });
    const epoch = leader.node.epoch.current;
    await until("many heartbeats", () => leader.node.epoch.current > epoch + 10);
    expect(standby.events.some(({ event }) => event === "claiming")).toBe(false);
    expect(leader.node.role.current).toBe("leader");
    expect(standby.node.leader.current?.uuid).toBe(leader.node.uuid);
  });

  it("is not caused by setting a wall clock while the cluster runs, on whatever node (P5)", async () => {
    const store = await newStore();
    const leader = await lead(store, quiet);
    await createTable(leader.node);
    const standby = await join("leader", store, impatient);
    let lists = 0;
    standby.faults.onCall = ({ operation }) => {
      if (operation === "list") lists++;
      return undefined;
    };
    standby.clock.setWall(LONG_MS);
    await until("the question after later epochs", () => lists > 0);
    await settle(100);
    standby.clock.setWall(-2 * LONG_MS);
    leader.clock.setWall(LONG_MS);
    await insert(leader.node, "a");
    leader.clock.setWall(-3 * LONG_MS);
    const { epoch } = await insert(leader.node, "b");
    await standby.node.sync({ atLeast: epoch });
    expect(standby.events.some(({ event }) => event === "claiming")).toBe(false);
    expect(leader.node.role.current).toBe("leader");
    expect(namesIn(standby.node)).toEqual(["a", "b"]);
  });

  it("never has a follower as a candidate", async () => {
    const store = await newStore();
    const follower = await join("follower", store, quiet);
    let lists = 0;
    follower.faults.onCall = ({ operation }) => {
      if (operation === "list") lists++;
      return undefined;
    };
    follower.clock.pass(LONG_MS);
    await until("the question after later epochs", () => lists > 0);
    await settle(100);
    expect(follower.events.some(({ event }) => event === "claiming")).toBe(false);
    expect(await store.head(walKey(1))).toBeUndefined();
  });

  it("does not keep a standby that cannot write from following who can", async () => {
    const store = await newStore();
    const denied = await join("leader", store, {
      settings: QUIET,
      onCall: (call) => (isWalPut(call) ? { kind: "fail_before", error: new Error("access denied") } : undefined),
    });
    await until("its claim", () => denied.events.some(({ event }) => event === "put_failed"));
    const { node } = await lead(store, quiet);
    const epoch = await createTable(node);
    await denied.node.sync({ atLeast: epoch });
    expect(denied.node.role.current).toBe("standby");
  });
});
