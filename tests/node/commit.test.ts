/** The life of a write (docs/architecture.md §4), with a store and a clock that misbehave. */
import { describe, expect, it } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import { MemoryStore, type ObjectStore } from "../../src/mod.ts";
import type { StoreCall } from "../../src/testing/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import {
  AWAY_MS,
  createTable,
  FAST,
  insert,
  isWalPut,
  join,
  LONG_MS,
  lead,
  namesIn,
  newStore,
  passSilence,
  putSnapshot,
  QUIET,
  type Subject,
  trimBelow,
  walEpochs,
} from "../support/cluster.ts";
import { settle, until, within } from "../support/wait.ts";

const quiet = { settings: QUIET };

/** A leader with its table, and a standby that follows it. */
async function leaderAndStandby(store: ObjectStore): Promise<{ leader: Subject; standby: Subject }> {
  const leader = await lead(store, quiet);
  const epoch = await createTable(leader.node);
  const standby = await join("leader", store, quiet);
  await standby.node.sync({ atLeast: epoch });
  return { leader, standby };
}

/** Nothing was heard of the leader for a session time-out: the standby takes over. */
async function takeOver(standby: Subject): Promise<void> {
  passSilence(standby);
  await standby.node.waitForLeadership({ timeoutMs: 10_000 });
}

/** Notes everything that a node ever shows, epoch by epoch. */
function everShown(subject: Subject): Set<string> {
  const shown = new Set<string>();
  void (async () => {
    for await (const _ of subject.node.epoch) for (const name of namesIn(subject.node)) shown.add(name);
  })().catch(() => {});
  return shown;
}

describe("a write", () => {
  it("is acknowledged once when the answer of its PUT was lost (P6)", async () => {
    const store = await newStore();
    const { node, faults, events } = await lead(store, quiet);
    const before = await createTable(node);
    let lost = 0;
    faults.onCall = (call) => (isWalPut(call) && lost++ === 0 ? { kind: "fail_after" } : undefined);
    expect((await insert(node, "a")).epoch).toBe(before + 1);
    expect((await insert(node, "b")).epoch).toBe(before + 2);
    expect(node.role.current).toBe("leader");
    expect(namesIn(node)).toEqual(["a", "b"]);
    expect(events.filter(({ event }) => event === "put_read_back")).toMatchObject([{ found: "ours" }]);
  });

  it("is acknowledged once, with the same bytes, when its PUT failed five times", async () => {
    const bodies: Uint8Array[] = [];
    const store = new MemoryStore();
    const { put } = store;
    store.put = async (...args) => {
      if (args[0].endsWith(".wal")) bodies.push((args[1] as Uint8Array).slice());
      if (bodies.length > 2 && bodies.length < 8) throw new Error("the store is on fire");
      return await put.apply(store, args);
    };
    await newStore(store);
    bodies.length = 0;
    const { node } = await lead(store, quiet);
    const before = await createTable(node);
    expect(bodies.length).toBe(2);
    expect((await insert(node, "a")).epoch).toBe(before + 1);
    const attempts = bodies.slice(2);
    expect(attempts.length).toBe(6);
    for (const body of attempts) expect(body).toEqual(attempts[0]);
    expect(await walEpochs(store)).toEqual([0, 1, 2, 3]);
  });

  it("is acknowledged once when its PUT lands after the client gave up", async () => {
    const store = await newStore();
    const { node, faults, events } = await lead(store, { settings: { ...QUIET, retryBaseMs: 200, retryMaxMs: 200 } });
    const before = await createTable(node);
    let lost = 0;
    faults.onCall = (call) => (isWalPut(call) && lost++ === 0 ? { kind: "land_later", delayMs: 20 } : undefined);
    expect((await insert(node, "a")).epoch).toBe(before + 1);
    await faults.landed();
    expect(events.filter(({ event }) => event === "put_read_back")).toMatchObject([{ found: "ours" }]);
    expect((await insert(node, "b")).epoch).toBe(before + 2);
  });

  it("is not told durable before its object is in the store (P1)", async () => {
    const store = await newStore();
    const { node, faults } = await lead(store, quiet);
    const before = await createTable(node);
    faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    let outcome = "pending";
    const ack = insert(node, "a").finally(() => {
      outcome = "settled";
    });
    await settle(200);
    expect(outcome).toBe("pending");
    expect(namesIn(node)).toEqual([]);
    expect(await store.head(walKey(before + 1))).toBeUndefined();
    faults.onCall = () => undefined;
    expect((await ack).epoch).toBe(before + 1);
    expect(await store.head(walKey(before + 1))).toBeDefined();
    expect(namesIn(node)).toEqual(["a"]);
  });

  it("is reported fenced, and never shown, when another node's epoch is in its place; the node follows on and leads again (P3, P4)", async () => {
    const store = await newStore();
    const { leader, standby } = await leaderAndStandby(store);
    const { node, faults } = leader;
    const shown = everShown(leader);
    faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    const sealed = failureOf(insert(node, "lost"));
    await settle();
    const open = failureOf(insert(node, "lost too"));
    await takeOver(standby);
    const { epoch } = await insert(standby.node, "theirs");
    faults.onCall = () => undefined;

    expect(await within("the fenced ack", sealed)).toMatchObject({ kind: "fenced", code: "fenced" });
    expect(await within("the open batch", open)).toMatchObject({ kind: "fenced" });
    expect(node.role.current).toBe("standby");
    await node.sync({ atLeast: epoch });
    expect(namesIn(node)).toEqual(["theirs"]);
    expect(node.leader.current?.uuid).toBe(standby.node.uuid);
    expect(await codeOf(() => node.transaction(() => {}))).toBe("not_leader/not_leader");

    await standby.node.stepDown();
    await node.waitForLeadership({ timeoutMs: 10_000 });
    await insert(node, "again");
    expect(namesIn(node)).toEqual(["again", "theirs"]);
    expect(shown).not.toContain("lost");
    expect(shown).not.toContain("lost too");
  });

  it("of a superseded leader that others built upon is acknowledged, and its leader is fenced", async () => {
    const store = await newStore();
    const { leader, standby } = await leaderAndStandby(store);
    // The PUT lands; then the leader hears nothing for longer than the session time-out.
    let isSilent = true;
    let landed = 0;
    leader.faults.onCall = (call) => {
      if (isWalPut(call) && landed++ === 0) return { kind: "fail_after" };
      return isSilent ? { kind: "fail_before" } : undefined;
    };
    const ack = insert(leader.node, "ours");
    await until("the PUT that lands", () => landed > 0);
    await standby.node.sync({ atLeast: 3 });
    await takeOver(standby);
    const { epoch } = await insert(standby.node, "theirs");
    leader.clock.pass(LONG_MS);
    isSilent = false;
    expect((await within("the ack", ack)).epoch).toBe(3);
    await until("the step back", () => leader.node.role.current === "standby");
    await leader.node.sync({ atLeast: epoch });
    expect(namesIn(leader.node)).toEqual(["ours", "theirs"]);
  });

  it("of a paused leader, whose epoch history has deleted meanwhile, has an unknown outcome; the orphan goes and is never shown, however slow its deletion", async () => {
    const store = await newStore(new MemoryStore());
    const { leader, standby } = await leaderAndStandby(store);
    const { node, faults } = leader;
    const shown = everShown(leader);
    let isPaused = true;
    faults.onCall = (call) => {
      if (call.operation === "delete") return { kind: "delay", delayMs: 300 };
      return isPaused ? { kind: "fail_before" } : undefined;
    };
    const ack = failureOf(insert(node, "lost"));
    await settle();
    await takeOver(standby);
    for (let count = 0; count < 5; count++) await insert(standby.node, `theirs ${count}`);
    const head = standby.node.epoch.current;
    await putSnapshot(store, head);
    await trimBelow(store, head);
    expect(await walEpochs(store)).toEqual([head]);

    leader.clock.pass(AWAY_MS);
    isPaused = false;
    expect(await within("the ack", ack)).toMatchObject({ kind: "outcome_unknown" });
    await node.sync({ atLeast: head });
    expect(namesIn(node)).toEqual(namesIn(standby.node));
    await until("the orphan's deletion", async () => (await walEpochs(store)).length === 1);
    expect(shown, "nobody has ever seen the orphan").not.toContain("lost");
    expect((await insert(standby.node, "on it goes")).epoch).toBe(head + 1);
    await node.sync({ atLeast: head + 1 });
  });

  it("deletes an orphan though the first deletions fail", async () => {
    const store = await newStore(new MemoryStore());
    const { leader, standby } = await leaderAndStandby(store);
    let isPaused = true;
    let deletions = 0;
    leader.faults.onCall = (call) => {
      if (call.operation === "delete" && deletions++ < 3) return { kind: "fail_before" };
      return isPaused ? { kind: "fail_before" } : undefined;
    };
    const ack = failureOf(insert(leader.node, "lost"));
    await settle();
    await takeOver(standby);
    await insert(standby.node, "theirs");
    const head = standby.node.epoch.current;
    await putSnapshot(store, head);
    await trimBelow(store, head);
    leader.clock.pass(AWAY_MS);
    isPaused = false;
    expect(await within("the ack", ack)).toMatchObject({ kind: "outcome_unknown" });
    await until("the orphan's deletion", async () => (await walEpochs(store)).length === 1);
  });
});

describe("a leader", () => {
  it("refuses transactions while the store has been silent for a session time-out, and recovers", async () => {
    const store = await newStore();
    const { node, faults, clock } = await lead(store, quiet);
    await createTable(node);
    faults.onCall = () => ({ kind: "fail_before" });
    const waiting = insert(node, "waiting");
    await settle();
    clock.pass(LONG_MS);
    expect(await codeOf(() => node.transaction(() => {}))).toBe("unavailable/store_silent");
    expect(await codeOf(node.sync("linearizable"))).toBe("unavailable/store_silent");
    faults.onCall = () => undefined;
    await within("the waiting write", waiting);
    await until("a transaction that is taken", async () => {
      try {
        await insert(node, "after");
        return true;
      } catch {
        return false;
      }
    });
    expect(namesIn(node)).toEqual(["after", "waiting"]);
    expect(node.role.current).toBe("leader");
  });

  it("acknowledges nothing between its PUT and the audit, whatever the store answers to that", async () => {
    const store = await newStore();
    const { node, faults, clock } = await lead(store, quiet);
    await createTable(node);
    let lists = 0;
    faults.onCall = (call) => (call.operation === "list" && lists++ < 3 ? { kind: "fail_before" } : undefined);
    clock.setWall(LONG_MS);
    await insert(node, "a");
    expect(lists, "a suspended machine asks before it acknowledges").toBe(4);
    await insert(node, "b");
    expect(lists, "and only then").toBe(4);
  });

  it("throws overloaded when too many transactions wait", async () => {
    const store = await newStore();
    const { node, faults } = await lead(store, { settings: { ...QUIET, pendingTransactionsMax: 3 } });
    await createTable(node);
    faults.onCall = (call) => (isWalPut(call) ? { kind: "delay", delayMs: 100 } : undefined);
    const acks = [insert(node, "0")];
    await settle();
    acks.push(...["1", "2", "3"].map((name) => insert(node, name)));
    const error = await failureOf(() => insert(node, "4"));
    expect(error).toMatchObject({ kind: "overloaded", details: { found: 3, limit: 3 } });
    await Promise.all(acks);
    await insert(node, "4");
    expect(namesIn(node)).toEqual(["0", "1", "2", "3", "4"]);
  });

  it("throws overloaded when too many bytes wait", async () => {
    const store = await newStore();
    const { node, faults } = await lead(store, { settings: { ...QUIET, pendingBytesMax: 100_000 } });
    await createTable(node);
    faults.onCall = (call) => (isWalPut(call) ? { kind: "delay", delayMs: 100 } : undefined);
    const acks = [insert(node, "first")];
    await settle();
    acks.push(insert(node, "big", new Uint8Array(150_000)));
    expect(await codeOf(() => insert(node, "more"))).toBe("overloaded/batch_full");
    await Promise.all(acks);
    await insert(node, "more");
  });

  it("shares an epoch among the writes that wait, and has one PUT under way at a time", async () => {
    const store = await newStore();
    const { node, faults } = await lead(store, quiet);
    const before = await createTable(node);
    let under = 0;
    let most = 0;
    const puts: StoreCall[] = [];
    const { put } = faults;
    faults.put = async (...args) => {
      under++;
      most = Math.max(most, under);
      try {
        return await put.apply(faults, args);
      } finally {
        under--;
      }
    };
    faults.onCall = (call) => {
      if (!isWalPut(call)) return undefined;
      puts.push(call);
      return { kind: "delay", delayMs: 20 };
    };
    const acks = Array.from({ length: 100 }, (_, index) => insert(node, `w${index}`));
    expect(new Set((await Promise.all(acks)).map(({ epoch }) => epoch))).toEqual(new Set([before + 1]));
    expect(puts.length).toBe(1);
    expect(most).toBe(1);
  });

  it("spends no more epochs than its budget", async () => {
    const store = await newStore();
    const settings = { ...QUIET, requestBudget: { perSecond: 0.001, burst: 4 } };
    const { node } = await lead(store, { settings });
    const before = await createTable(node);
    await insert(node, "a");
    await insert(node, "b");
    const waiting = ["c", "d", "e"].map((name) => insert(node, name));
    await settle(100);
    expect(node.epoch.current, "claim, table, a, b").toBe(before + 2);
    await node.stepDown();
    const epochs = (await Promise.all(waiting)).map(({ epoch }) => epoch);
    expect(epochs, "the last epoch does not wait").toEqual([before + 3, before + 3, before + 3]);
  });

  it("writes a heartbeat with nothing to write, and resets nothing by it", async () => {
    const store = await newStore();
    const { node } = await lead(store, { settings: FAST });
    const epoch = node.epoch.current;
    await until("heartbeats", () => node.epoch.current > epoch + 3);
    expect(node.leader.current?.uuid).toBe(node.uuid);
  });

  it("steps down only after the transaction function that asks for it has ended", async () => {
    const store = await newStore();
    const { node } = await lead(store, quiet);
    const before = await createTable(node);
    let leaving: Promise<void> | undefined;
    const failed = await failureOf(() =>
      node.transaction((tx) => {
        tx.run("INSERT INTO items(name) VALUES ('half')");
        leaving = node.stepDown();
        tx.run("INSERT INTO items(nonsense) VALUES ('never')");
      }),
    );
    expect(failed.code).toBe("SQLITE_ERROR");
    await within("the step-down", leaving as Promise<void>);
    expect(namesIn(node), "nothing of a transaction that threw").toEqual([]);
    expect(node.epoch.current).toBe(before + 1);
    expect(node.leader.current).toBeUndefined();
  });

  it.each([5, 40])("writes %i MiB in one transaction, and a follower gets them", async (mebibytes) => {
    const store = await newStore();
    const { node } = await lead(store, quiet);
    await createTable(node);
    const follower = await join("follower", store, quiet);
    const body = new Uint8Array(mebibytes * 1024 * 1024 + 1234);
    for (let at = 0; at < body.length; at += 997) body[at] = at % 251;
    const { epoch } = await insert(node, "large", body);
    await follower.node.sync({ atLeast: epoch });
    const found = follower.node.db.get<{ body: Uint8Array }>("SELECT body FROM items WHERE name = 'large'")?.body;
    expect(Buffer.compare(found ?? new Uint8Array(), body)).toBe(0);
  });
});
