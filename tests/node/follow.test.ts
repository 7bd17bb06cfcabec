/** Following, freshness and watches (DESIGN §5 and §7). */
import { describe, expect, it } from "vitest";
import { snapshotKey, walKey } from "../../src/format/keys.ts";
import type { Member, Watch } from "../../src/mod.ts";
import type { StoreCall } from "../../src/testing/mod.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import {
  bytesOf,
  createTable,
  FAST,
  insert,
  join,
  LONG_MS,
  lead,
  namesIn,
  newStore,
  passSilence,
  putSnapshot,
  QUIET,
  trimBelow,
  UNREACHABLE,
} from "../support/cluster.ts";
import { forgeEpochAfter } from "../support/forge.ts";
import { settle, until, within } from "../support/wait.ts";

const quiet = { settings: QUIET };

describe("a follower", () => {
  it("goes on after every kind of failed request", async () => {
    const store = await newStore();
    const { node } = await lead(store, { ...quiet, join: UNREACHABLE });
    await createTable(node);
    const follower = await join("follower", store, quiet);
    const faults = [
      { kind: "fail_before" },
      { kind: "fail_before", error: new TypeError("fetch failed") },
      { kind: "fail_after", error: "not even an Error" },
      { kind: "flip", offset: 4000 },
      { kind: "truncate", length: 100 },
      { kind: "truncate", length: 0 },
    ] as const;
    for (const [index, fault] of faults.entries()) {
      const next = walKey(follower.node.epoch.current + 1);
      let met = 0;
      follower.faults.onCall = ({ key }) => (key === next && met++ < 3 ? fault : undefined);
      const { epoch } = await insert(node, `${index}`);
      await follower.node.sync({ atLeast: epoch });
      expect(met).toBeGreaterThanOrEqual(3);
    }
    expect(namesIn(follower.node).length).toBe(faults.length);
  });

  it("that slept longer than the retention is read anew; readers keep the old image until the new one is complete", async () => {
    const store = await newStore();
    const { node } = await lead(store, { ...quiet, join: UNREACHABLE });
    await createTable(node);
    await insert(node, "old");
    const follower = await join("follower", store, quiet);
    follower.faults.onCall = () => ({ kind: "fail_before" });
    for (let count = 0; count < 4; count++) await insert(node, `new ${count}`);
    const head = node.epoch.current;
    await putSnapshot(store, head - 1);
    await trimBelow(store, head - 1);
    await store.delete(walKey(head - 1));

    const calls: StoreCall[] = [];
    let snapshotReads = 0;
    follower.clock.pass(LONG_MS);
    follower.faults.onCall = (call) => {
      calls.push(call);
      if (!call.key.endsWith(".db")) return undefined;
      expect(namesIn(follower.node), "the old image, while the new one is read").toEqual(["old"]);
      // The first attempts to read anew fail too.
      return snapshotReads++ < 2 ? { kind: "fail_after" } : { kind: "delay", delayMs: 50 };
    };
    let release: () => void = () => {};
    const held = follower.node.db.snapshot(async (reads) => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      return reads.values("SELECT name FROM items").flat();
    });
    await follower.node.sync({ atLeast: head });
    expect(namesIn(follower.node)).toEqual(namesIn(node));
    expect(snapshotReads).toBe(3);
    const own = walKey(head - 4 + 1);
    const trusted = calls.filter(({ operation, key }) => operation === "get" && key === own);
    expect(trusted, "an epoch after the hole is never fetched on trust").toEqual([]);
    release();
    expect(await held, "a snapshot that is held keeps its image").toEqual(["old"]);
    await until("no pins", () => follower.node.status().db.pins <= 1);
    const { epoch } = await insert(node, "last");
    await follower.node.sync({ atLeast: epoch });
  });

  it("whose state differs notices it at the next epoch, and repairs itself", async () => {
    const store = await newStore();
    const { node } = await lead(store, quiet);
    await createTable(node);
    const { epoch: last } = await insert(node, "true");
    const forged = await forgeEpochAfter(store, last - 1, {}, (tx) =>
      tx.run("INSERT INTO items(name) VALUES ('false')"),
    );
    // What a bug of ours would look like: a valid epoch, but not the one that the others have.
    const liar = await newStore();
    for (let epoch = 1; epoch < last; epoch++) await liar.put(walKey(epoch), await bytesOf(store, walKey(epoch)));
    await liar.put(walKey(0), await bytesOf(store, walKey(0)));
    await liar.put(walKey(0).replace(".wal", ".db"), await bytesOf(store, walKey(0).replace(".wal", ".db")));
    await liar.put(walKey(last), forged);
    const misled = await join("follower", liar, quiet);
    expect(namesIn(misled.node)).toEqual(["false"]);
    const { epoch: next } = await insert(node, "next");
    await liar.put(walKey(last), await bytesOf(store, walKey(last)));
    await liar.put(walKey(next), await bytesOf(store, walKey(next)));
    await misled.node.sync({ atLeast: next });
    await until("the repair", () => namesIn(misled.node).join() === "next,true");
    expect(misled.events.filter(({ event }) => event === "epoch_refused")).toMatchObject([{ code: "diverged" }]);
    expect(misled.events.some(({ event }) => event === "bootstrapping_again")).toBe(true);
    expect(misled.node.epoch.current).toBe(next);
    expect(misled.node.status().replica.trouble).toBeNull();
  });
});

it("a follower that applied another object of the same content notices that too (P2)", async () => {
  const store = await newStore();
  const rows = { last_update: "2026-01-01T00:00:00Z" };
  const [ours, twin] = [await forgeEpochAfter(store, 0, rows), await forgeEpochAfter(store, 0, rows)];
  expect(twin).not.toEqual(ours);
  const liar = await newStore();
  await liar.put(walKey(0), await bytesOf(store, walKey(0)));
  await liar.put(snapshotKey(0), await bytesOf(store, snapshotKey(0)));
  await store.put(walKey(1), ours);
  await liar.put(walKey(1), twin);
  const follower = await join("follower", liar, quiet);
  await lead(store, quiet);
  await liar.put(walKey(2), await bytesOf(store, walKey(2)));
  await until("the refusal", () => follower.events.some(({ event }) => event === "epoch_refused"));
  expect(follower.node.epoch.current).toBe(1);
  expect(follower.node.status().replica.trouble).toContain("SHA-256");
  await liar.put(walKey(1), ours);
  await follower.node.sync({ atLeast: 2 });
});

describe("sync", () => {
  async function three() {
    const store = await newStore();
    const { node: leader } = await lead(store, quiet);
    await createTable(leader);
    const slow = { settings: { ...QUIET, pollIntervalMs: 60_000 } };
    const { node: standby } = await join("leader", store, slow);
    const { node: follower } = await join("follower", store, slow);
    return { leader, standby, follower, store };
  }

  it("at least an epoch shows one's own writes, on every node", async () => {
    const { leader, standby, follower } = await three();
    const { epoch } = await insert(leader, "a");
    for (const node of [leader, standby, follower]) {
      expect((await node.sync({ atLeast: epoch })).epoch).toBeGreaterThanOrEqual(epoch);
      expect(namesIn(node)).toEqual(["a"]);
    }
  });

  it("linearizable shows every write that was acknowledged before, on every node", async () => {
    const { leader, standby, follower } = await three();
    for (const [index, node] of [leader, standby, follower, follower].entries()) {
      await insert(leader, `${index}`);
      await node.sync("linearizable");
      expect(namesIn(node).length).toBe(index + 1);
    }
  });

  it("linearizable does not answer from a leader that was superseded", async () => {
    const store = await newStore();
    const old = await lead(store, quiet);
    await createTable(old.node);
    const standby = await join("leader", store, quiet);
    await standby.node.sync({ atLeast: 2 });
    old.faults.onCall = () => ({ kind: "fail_before" });
    const stale = old.node.sync("linearizable");
    await settle();
    passSilence(standby);
    await standby.node.waitForLeadership({ timeoutMs: 10_000 });
    await insert(standby.node, "new");
    old.faults.onCall = () => undefined;
    await within("the sync, which asks who leads now", stale);
    expect(namesIn(old.node)).toEqual(["new"]);
  });

  it("ends by its time-out, its signal, and at the end of the node", async () => {
    const { follower } = await three();
    const error = await failureOf(follower.sync({ atLeast: 1000 }, { timeoutMs: 30 }));
    expect(error).toMatchObject({ kind: "unavailable", code: "wait_timeout" });
    const abort = new AbortController();
    const reason = new Error("enough");
    const aborted = follower.sync({ atLeast: 1000 }, { signal: abort.signal });
    abort.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    await expect(follower.sync({ atLeast: 1 }, { signal: abort.signal })).rejects.toBe(reason);
    expect(await codeOf(follower.sync({ atLeast: Number.NaN }))).toBe("invalid/bad_sync_level");
    expect(await codeOf(follower.waitForLeadership())).toBe("invalid/not_a_candidate");
    const ended = failureOf(follower.sync({ atLeast: 1000 }));
    await follower.shutdown();
    expect((await ended).kind).toBe("closed");
    expect((await failureOf(follower.sync({ atLeast: 0 }))).kind).toBe("closed");
  });

  it("linearizable without a leader waits as long as it may, and no longer", async () => {
    const store = await newStore();
    const follower = await join("follower", store, quiet);
    const before = performance.now();
    expect((await failureOf(follower.node.sync("linearizable", { timeoutMs: 100 }))).kind).toBe("unavailable");
    expect(performance.now() - before).toBeLessThan(5000);
    const waiting = follower.node.sync("linearizable", { timeoutMs: LONG_MS });
    await settle(50);
    // More than a request to the leader may take by default, and less than was allowed.
    follower.clock.pass(60_000);
    await settle(50);
    const { node } = await lead(store, quiet);
    expect((await within("the sync", waiting)).epoch).toBeLessThanOrEqual(node.epoch.current);
  });
});

describe("a watch", () => {
  async function collect<T>(watch: Watch<T>): Promise<T[]> {
    const seen: T[] = [];
    for await (const value of watch) seen.push(value);
    return seen;
  }

  it("tells of epochs, roles, leaders and members, and ends with the node", async () => {
    const store = await newStore();
    const first = await lead(store, { settings: FAST });
    const second = await join("leader", store, { settings: FAST });
    const { node } = second;
    const roles = collect(node.role);
    const leaders = collect(node.leader);
    const epochs = collect(node.epoch);
    const members = collect<readonly Member[]>(node.members);
    const both = (seen: readonly Member[]) => seen.length === 2;
    await until("both members", () => both(node.members.current) && both(first.node.members.current));
    await first.node.shutdown();
    await node.waitForLeadership({ timeoutMs: 10_000 });
    await until("one member", () => node.members.current.length === 1);
    const change = node.role.changed();
    await node.stepDown();
    expect(await change).toBe("standby");
    const never = node.role.changed();
    const isClosed = codeOf(never);
    await node.shutdown();
    expect(await isClosed).toBe("closed/node_closed");

    expect(await within("roles", roles)).toEqual(["standby", "leader", "standby"]);
    const uuids = (await within("leaders", leaders)).map((leader) => leader?.uuid);
    expect(uuids[0]).toBe(first.node.uuid);
    expect(uuids).toContain(node.uuid);
    expect(uuids.at(-1)).toBeUndefined();
    const numbers = await within("epochs", epochs);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect((await within("members", members)).map(({ length }) => length)).toContain(2);
  });
});
