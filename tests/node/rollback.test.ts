/** Point-in-time rollback: one new epoch that restores the state of then. */
import { describe, expect, it, onTestFinished } from "vitest";
import type { Cancel } from "../../src/base/clock.ts";
import { snapshotKey, walKey } from "../../src/format/keys.ts";
import { PAGE_BYTES } from "../../src/format/wal.ts";
import { type ClusterNode, isClusterError, type ObjectStore } from "../../src/mod.ts";
import type { Leadership } from "../../src/node/leadership.ts";
import { type RollbackOptions, Rollbacks } from "../../src/node/rollback.ts";
import { sha256Hex, systemRandom } from "../../src/platform/system.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import type { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import {
  bytesOf,
  createTable,
  imageAt,
  insert,
  isWalPut,
  join,
  lead,
  namesIn,
  newStore,
  passSilence,
  QUIET,
  type Subject,
  trimBelow,
  UNREACHABLE,
  walEpochs,
} from "../support/cluster.ts";
import { sampleValue } from "../support/prometheus.ts";
import { askSqliteCli, sqliteCliVersion } from "../support/sqlite-cli.ts";
import { freePort, TcpProxy } from "../support/tcp-proxy.ts";
import { TestClock } from "../support/test-clock.ts";
import { settle, until, within } from "../support/wait.ts";

const quiet = { settings: QUIET };
const SCHEMA = `
  CREATE TABLE parents (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
  CREATE TABLE children (parent INTEGER REFERENCES parents(id), body BLOB);
  CREATE TABLE log (what);
  CREATE TRIGGER on_parent AFTER INSERT ON parents BEGIN INSERT INTO log VALUES (NEW.name); END;
  CREATE VIRTUAL TABLE words USING fts5(text);
`;

/** Everything that is the user's, as text. */
function dump({ db }: ClusterNode): string {
  const schema = db.values<[string, string | null]>("SELECT name, sql FROM sqlite_schema WHERE tbl_name <> '_lbc'");
  const rows = schema
    .filter(([, sql]) => sql?.startsWith("CREATE TABLE"))
    .map(([name]) => db.values(`SELECT * FROM "${name}"`).map((row) => row.map((value) => String(value)).join("|")));
  return JSON.stringify([schema, rows]);
}

function systemTable({ db }: ClusterNode): Record<string, unknown> {
  return Object.fromEntries(db.values<[string, unknown & string]>("SELECT key, value FROM _lbc"));
}

/** A leader with something to roll back: what it showed at which epoch. */
async function leaderWithPast(store: ObjectStore, options: Parameters<typeof lead>[1] = quiet) {
  const leader = await lead(store, options);
  const { node } = leader;
  const shown = new Map<number, string>([[node.epoch.current, dump(node)]]);
  const write = async (
    script: string,
    params?: (tx: Parameters<Parameters<ClusterNode["transaction"]>[0]>[0]) => void,
  ) => {
    const { epoch } = await node.transaction((tx) => {
      tx.exec(script);
      params?.(tx);
    }).durable;
    shown.set(epoch, dump(node));
    return epoch;
  };
  await createTable(node);
  await write(SCHEMA);
  const small = await write("INSERT INTO parents(name) VALUES ('a'), ('b'); INSERT INTO words VALUES ('quick fox')");
  const large = await write("", (tx) => {
    for (let i = 0; i < 300; i++) tx.run("INSERT INTO children VALUES (1, randomblob(3000))");
  });
  const last = await write(`
    DELETE FROM children WHERE rowid > 5; UPDATE parents SET name = name || '2'; DELETE FROM words;
    DROP TRIGGER on_parent; CREATE TABLE later (x); INSERT INTO later VALUES (1)`);
  return { ...leader, leader, shown, small, large, last };
}

async function expectIntact(store: ObjectStore, epoch: number): Promise<void> {
  if (sqliteCliVersion === undefined) return;
  expect(askSqliteCli(await imageAt(store, epoch), undefined, "PRAGMA integrity_check")).toBe("ok");
}

/** Calls that wait until the test lets them pass. */
interface Gate {
  /** Resolves when the next call arrives. */
  arrival(): Promise<void>;
  /** Lets those pass that wait now. */
  pass(): void;
  /** Lets all pass from now on. */
  open(): void;
}

/** Holds calls of the node's store: those that put epochs, or those that read one object. */
function hold({ faults }: Subject, operation: "put" | "get", isHeld: (key: string) => boolean): Gate {
  const inner = faults[operation].bind(faults) as (...args: never[]) => Promise<never>;
  let waiting: (() => void)[] = [];
  let arrived = () => {};
  let isOpen = false;
  const pass = () => {
    const passing = waiting;
    waiting = [];
    for (const go of passing) go();
  };
  const held = async (...args: [string, ...never[]]) => {
    if (!isOpen && isHeld(args[0])) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        arrived();
      });
    }
    return await inner(...(args as unknown as never[]));
  };
  Object.assign(faults, { [operation]: held });
  onTestFinished(() => {
    isOpen = true;
    pass();
  });
  return {
    arrival: () =>
      within(
        `a ${operation}`,
        waiting.length > 0
          ? Promise.resolve()
          : new Promise<void>((resolve) => {
              arrived = resolve;
            }),
      ),
    pass,
    open: () => {
      isOpen = true;
      pass();
    },
  };
}

const TIME_LIMIT_MS = 54_321;

/** A clock by which {@link TIME_LIMIT_MS} has passed when the test says so. */
class LimitClock extends TestClock {
  /** How often it was asked. */
  limits = 0;
  #due: (() => void)[] = [];

  override after(delayMs: number, fn: () => void): Cancel {
    if (delayMs <= TIME_LIMIT_MS - 20_000 || delayMs > TIME_LIMIT_MS) return super.after(delayMs, fn);
    this.limits++;
    this.#due.push(fn);
    return () => {
      this.#due = this.#due.filter((one) => one !== fn);
    };
  }

  expire(): void {
    for (const fn of this.#due) fn();
  }
}

const isWal = (key: string) => key.endsWith(".wal");
/** The epochs of a node go nowhere. */
const holdPuts = (subject: Subject) => hold(subject, "put", isWal);
/** The state of then cannot be read. */
const holdReads = (subject: Subject) => hold(subject, "get", () => true);

describe("a rollback", () => {
  it("is one new epoch with the state of then, in every direction and again; history stays", async () => {
    const store = await newStore();
    const { node, shown, small, large, last, events } = await leaderWithPast(store);
    const walsBefore = await Promise.all((await walEpochs(store)).map(async (epoch) => bytesOf(store, walKey(epoch))));
    let from = last;
    // To a smaller database, to a larger one, the rollback of the last one, before every table, to the present.
    for (const to of [small, large, last, large, 1, last, last + 6]) {
      const expected = shown.get(to);
      const done = await within("the rollback", node.rollback(to));
      expect(done).toMatchObject({ from, to, epoch: from + 1 });
      from = done.epoch;
      expect(node.epoch.current).toBe(from);
      expect(dump(node)).toBe(expected);
      shown.set(from, dump(node));
      await expectIntact(store, from);
      expect(node.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
    }
    expect(await walEpochs(store)).toEqual(Array.from({ length: from + 1 }, (_, epoch) => epoch));
    for (const [epoch, wal] of walsBefore.entries()) {
      expect(Buffer.compare(await bytesOf(store, walKey(epoch)), wal), `epoch ${epoch}`).toBe(0);
    }
    const told = events.filter(({ event }) => event === "rolled_back");
    expect(told.map(({ to }) => to)).toEqual([small, large, last, large, 1, last, last + 6]);
  });

  it("to the present changes the system table and nothing else", async () => {
    const store = await newStore();
    const { node, last } = await leaderWithPast(store);
    const before = dump(node);
    const { pages } = await node.rollback(last);
    expect(pages).toBeLessThan(5);
    expect(dump(node)).toBe(before);
  });

  it("to epoch 0 leaves an empty database that can be written", async () => {
    const store = await newStore();
    const { node } = await leaderWithPast(store);
    await node.rollback(0);
    expect(node.db.values("SELECT name FROM sqlite_schema WHERE tbl_name <> '_lbc'")).toEqual([]);
    await createTable(node);
    await insert(node, "new");
    expect(namesIn(node)).toEqual(["new"]);
    await expectIntact(store, node.epoch.current);
  });

  it("leaves each row of the system table what it would have been, and marks its epoch", async () => {
    const store = await newStore();
    const { node, clock, small, leader } = await leaderWithPast(store);
    for (const to of [0, small, "now"]) {
      const before = systemTable(node);
      const from = node.epoch.current;
      clock.setWall(1_000_000 + from * 1000);
      const { epoch, to: restored } = await node.rollback(to);
      const state = sha256Hex(await bytesOf(store, walKey(from)));
      const { chain, last_update, ...others } = systemTable(node) as Record<string, string>;
      const { chain: _chain, last_update: _update, ...othersBefore } = before;
      expect(others).toEqual({ ...othersBefore, rollback: JSON.stringify({ epoch, from, to: restored }) });
      expect(Object.keys(others).sort()).toEqual(["cluster_id", "format", "leader", "rollback", "secret"]);
      expect(JSON.parse(chain ?? "")).toMatchObject({ epoch: from, wal: state });
      expect(Math.abs(Date.parse(last_update ?? "") - clock.wallMs())).toBeLessThan(10_000);
    }
    expect(node.role.current).toBe("leader");
    expect(JSON.parse(String(systemTable(node)["leader"]))).toMatchObject({ uuid: leader.node.uuid });
    // The row stays and goes on to name the epoch that it marks.
    const marked = systemTable(node)["rollback"];
    await createTable(node);
    expect(systemTable(node)["rollback"]).toBe(marked);
    expect(leader.events.filter(({ event }) => event === "rolled_back").length).toBe(3);
  });

  for (const streams of [true, false]) {
    it(`is applied like any epoch by followers ${streams ? "with" : "without"} the leader's stream, and by who joins after`, async () => {
      const store = await newStore();
      const leader = await leaderWithPast(store, streams ? quiet : { ...quiet, join: UNREACHABLE });
      const { node, small, large, shown, last } = leader;
      const follower = await join("follower", store, quiet);
      await follower.node.sync({ atLeast: last });
      if (streams) await until("the stream", () => follower.node.status().replica.is_streaming);
      // Statements that it has prepared, and one that it is in the middle of.
      const held = follower.node.db.iterate("SELECT * FROM later");
      held.next();
      for (const to of [small, large, last]) {
        const { epoch } = await node.rollback(to);
        await follower.node.sync({ atLeast: epoch });
        expect(dump(follower.node)).toBe(shown.get(to));
        expect(follower.events.at(-1)).toMatchObject({ event: "rolled_back", epoch, to });
      }
      expect(held.next().done).toBe(true);
      const { epoch } = await insert(node, "after");
      await follower.node.sync({ atLeast: epoch });
      expect(namesIn(follower.node)).toEqual(["after"]);
      expect(follower.events.filter(({ event }) => event === "epoch_refused")).toEqual([]);
      const metrics = await (await fetch(`http://${follower.node.address}/.lbc/metrics`)).text();
      expect(sampleValue(metrics, "lbc_rollbacks_total", {})).toBe(3);
      const late = await join("follower", store, quiet);
      expect(dump(late.node)).toBe(dump(node));
    });
  }

  it("is what the cluster starts with after a restart right after", async () => {
    const store = await newStore();
    const { node, small, shown } = await leaderWithPast(store);
    await node.rollback(small);
    await node.shutdown();
    const next = await lead(store, quiet);
    expect(dump(next.node)).toBe(shown.get(small));
    await insert(next.node, "goes on");
    expect(namesIn(next.node)).toEqual(["goes on"]);
  });

  it("goes to a time, and to how long ago", async () => {
    const store = await newStore();
    const leader = await lead(store, quiet);
    const { node, clock } = leader;
    await createTable(node);
    await insert(node, "early");
    clock.setWall(3_600_000);
    await insert(node, "late");
    const { to } = await node.rollback("30m ago");
    expect(namesIn(node)).toEqual(["early"]);
    expect(await node.rollback(new Date(clock.wallMs()))).toMatchObject({ from: to + 2, to: to + 2 });
  });
});

describe("transactions around a rollback", () => {
  it("go on while the state is read; in flight become durable first; waiting end with fenced; later ones go on above it", async () => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const { node, last, small, shown } = leader;
    const reads = holdReads(leader);
    const rollback = node.rollback(small);
    await reads.arrival();
    expect((await insert(node, "while it is read")).epoch).toBe(last + 1);

    const puts = holdPuts(leader);
    const sealed = insert(node, "in flight");
    await puts.arrival();
    const open = insert(node, "open");
    const barrier = node.sync("linearizable");
    reads.open();
    expect(await failureOf(open)).toMatchObject({ kind: "fenced", code: "rolled_back", details: { to: small } });
    expect(await codeOf(() => node.transaction(() => {}))).toBe("unavailable/rolling_back");
    expect(await codeOf(node.rollback(last))).toBe("unavailable/rolling_back");
    puts.pass();
    expect((await sealed).epoch).toBe(last + 1 + 1);
    await puts.arrival();

    // It is on its way: nobody sees it but transactions.
    const { value, durable } = node.transaction((tx) => {
      expect(tx.query("SELECT name FROM parents")).toEqual([{ name: "a" }, { name: "b" }]);
      return tx.run("INSERT INTO parents(name) VALUES ('above')").lastInsertRowid;
    });
    expect(value).toBe(3);
    expect(namesIn(node)).toEqual(["in flight", "while it is read"]);
    puts.pass();
    expect(await rollback).toMatchObject({ from: last + 2, to: small, epoch: last + 3 });
    expect(dump(node)).toBe(shown.get(small));
    puts.open();
    expect((await durable).epoch).toBe(last + 4);
    expect((await barrier).epoch).toBeGreaterThanOrEqual(last + 3);
    expect(node.db.values("SELECT id, name FROM parents WHERE id > 2")).toEqual([[3, "above"]]);
    expect(node.db.values("SELECT what FROM log")).toEqual([["a"], ["b"], ["above"]]);
    await expectIntact(store, last + 4);
    const follower = await join("follower", store, quiet);
    expect(dump(follower.node)).toBe(dump(node));
  });

  it("may be as many as ever after it, with the statements that they always used", async () => {
    const store = await newStore();
    const { node, small } = await leaderWithPast(store);
    await node.rollback(small);
    for (let round = 0; round < 20; round++) await insert(node, `row ${round}`);
    const { value } = node.transaction((tx) => tx.run("INSERT INTO children VALUES (1, ?)", [new Uint8Array(9000)]));
    expect(value).toEqual({ changes: 1, lastInsertRowid: 1 });
    await node.rollback(node.epoch.current);
    expect(namesIn(node).length).toBe(20);
    expect(node.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
  });
});

function isRollingBack(node: ClusterNode): boolean {
  try {
    node.transaction(() => {}).durable.catch(() => {});
    return false;
  } catch (error) {
    return isClusterError(error) && error.code === "rolling_back";
  }
}

/** What must be so after a rollback that came to nothing. */
async function expectUntouched({ node, faults }: Subject, before: { epoch: number; dump: string }): Promise<void> {
  faults.onCall = () => undefined;
  await settle();
  expect(node.epoch.current).toBe(before.epoch);
  expect(dump(node)).toBe(before.dump);
  expect((await insert(node, "goes on")).epoch).toBe(before.epoch + 1);
  expect(systemTable(node)["rollback"]).toBeUndefined();
}

const stateOf = ({ node }: Subject) => ({ epoch: node.epoch.current, dump: dump(node) });

describe("a rollback that cannot be", () => {
  it.each([
    ["in the future", 1000, "invalid/point_in_future"],
    ["negative", -1, "invalid/bad_point"],
    ["not whole", 1.5, "invalid/bad_point"],
    ["no point at all", "yesterday-ish", "invalid/bad_point"],
    ["no date", new Date(Number.NaN), "invalid/bad_point"],
    ["a time before the history", "2001-01-01T00:00:00Z", "invalid/point_before_history"],
    ["of the wrong type", { epoch: 1 } as unknown as number, "invalid/bad_point"],
  ])("to a point that is %s is refused here and on a follower, and nothing is written", async (_, point, code) => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const follower = await join("follower", store, quiet);
    const before = stateOf(leader);
    expect(await codeOf(leader.node.rollback(point))).toBe(code);
    expect(await codeOf(follower.node.rollback(point))).toBe(code);
    await expectUntouched(leader, before);
  });

  it("because the store fails while the state is read writes nothing", async () => {
    const leader = await leaderWithPast(await newStore());
    const before = stateOf(leader);
    leader.faults.onCall = ({ operation }) => (operation === "get" ? { kind: "fail_before" } : undefined);
    expect(await codeOf(leader.node.rollback(leader.small))).toBe("unavailable/store_timeout");
    await expectUntouched(leader, before);
  });

  it("because the retention took the point while it was read says so and writes nothing", async () => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const before = stateOf(leader);
    const reads = hold(leader, "get", (key) => key === walKey(leader.small));
    const rollback = failureOf(leader.node.rollback(leader.small));
    await reads.arrival();
    await trimBelow(store, leader.last);
    await store.delete(snapshotKey(0));
    reads.open();
    const error = await within("the error", rollback);
    expect(["corrupt", "invalid", "unavailable"]).toContain(error.kind);
    expect(error.message).toMatch(/gone|deleted|before/);
    await expectUntouched(leader, before);
  });

  it("because it cannot be sealed writes nothing, and the next one can", async () => {
    let fails = false;
    const bytes = (length: number) => {
      if (fails && length === 8) throw new Error("no entropy");
      return systemRandom.bytes(length);
    };
    const random = { bytes, fraction: () => systemRandom.fraction() };
    const leader = await leaderWithPast(await newStore(), { settings: { ...QUIET, random } });
    const before = stateOf(leader);
    fails = true;
    const error = await failureOf(leader.node.rollback(leader.small));
    fails = false;
    expect(error).toMatchObject({ kind: "unavailable", code: "seal_failed" });
    expect(error.message).toContain("no entropy");
    await expectUntouched(leader, before);
    await leader.node.rollback(leader.small);
    expect(dump(leader.node)).toBe(leader.shown.get(leader.small));
  });

  it("because another one is under way is refused; after that one it can", async () => {
    const leader = await leaderWithPast(await newStore());
    const { node, small, large, shown } = leader;
    const reads = holdReads(leader);
    const first = node.rollback(small);
    expect(await codeOf(node.rollback(large))).toBe("unavailable/rolling_back");
    reads.open();
    await first;
    await node.rollback(large);
    expect(dump(node)).toBe(shown.get(large));
  });

  it.each<[string, (abort: AbortController) => RollbackOptions, object]>([
    ["its time is up", () => ({ timeoutMs: 30 }), { kind: "unavailable", code: "wait_timeout" }],
    ["its signal aborts", ({ signal }) => ({ signal }), { message: "given up" }],
  ])("because %s while the state is read writes nothing, and holds nothing", async (_, options, expected) => {
    const leader = await leaderWithPast(await newStore());
    const before = stateOf(leader);
    const reads = holdReads(leader);
    const abort = new AbortController();
    const rollback = leader.node.rollback(leader.small, options(abort));
    await Promise.race([reads.arrival(), rollback.catch(() => {})]);
    abort.abort(new Error("given up"));
    await expect(rollback).rejects.toMatchObject(expected);
    reads.open();
    await expectUntouched(leader, before);
    await until("no pin is held", () => leader.node.status().db.pins <= 1);
  });
});

it("a rollback given up in the last moment holds no pin, though the store did not stop for it", async () => {
  const file = new Uint8Array(10 * PAGE_BYTES);
  const chunk = () => DurableImage.adopt([file.slice()], 10);
  const [current, target] = [chunk(), chunk()];
  const given = new AbortController();
  const rollbacks = new Rollbacks({
    clock: new TestClock(),
    epoch: () => 7,
    image: () => current,
    resolve: async () => 3,
    readState: async () => {
      given.abort(new Error("given up"));
      return { image: target, epoch: 3 } as unknown as ReplicaState;
    },
  });
  const leadership = { signal: new AbortController().signal } as unknown as Leadership;
  await expect(rollbacks.run(leadership, 3, { signal: given.signal })).rejects.toThrow("given up");
  await settle();
  expect([current.pinCount, target.pinCount]).toEqual([0, 0]);
});

/** Somebody else leads: this node has heard nothing for long. */
async function takeOver(standby: Subject): Promise<void> {
  passSilence(standby);
  await standby.node.waitForLeadership({ timeoutMs: 10_000 });
}

describe("a rollback whose leadership ends", () => {
  it("is fenced when another node's epoch is in its place, and never shown (P3, P4)", async () => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const { node, small, large, last, shown } = leader;
    const standby = await join("leader", store, quiet);
    await standby.node.sync({ atLeast: last });
    leader.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    const rollback = failureOf(node.rollback(small));
    await until("it is sealed", () => leader.events.some(({ event }) => event === "rollback_sealed"));
    const above = failureOf(node.transaction((tx) => tx.run("INSERT INTO parents(name) VALUES ('above')")).durable);
    await takeOver(standby);
    leader.faults.onCall = () => undefined;
    expect(await within("the rollback", rollback)).toMatchObject({ kind: "fenced", code: "fenced" });
    expect(await within("what is above", above)).toMatchObject({ kind: "fenced" });
    await until("it follows", () => node.epoch.current === standby.node.epoch.current);
    expect(dump(node)).toBe(shown.get(last));
    expect(leader.events.some(({ event }) => event === "rolled_back")).toBe(false);
    // On the one that leads now it works, asked for by the one that does no more.
    await node.rollback(large, { timeoutMs: 10_000 });
    expect(dump(standby.node)).toBe(shown.get(large));
  });

  it("while the state is read is fenced, at once, and nothing was written", async () => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const standby = await join("leader", store, quiet);
    await until("the stream", () => standby.node.status().replica.is_streaming);
    const reads = holdReads(leader);
    const rollback = failureOf(leader.node.rollback(leader.small));
    await reads.arrival();
    await leader.node.stepDown();
    expect(await within("the rollback", rollback)).toMatchObject({ kind: "fenced", code: "leadership_over" });
    reads.open();
    await standby.node.waitForLeadership({ timeoutMs: 10_000 });
    expect(dump(standby.node)).toBe(leader.shown.get(leader.last));
  });

  it("by stepping down while it waits is the last epoch of that leader", async () => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const { node, small, last, shown } = leader;
    const puts = holdPuts(leader);
    const sealed = insert(node, "in flight");
    await puts.arrival();
    const rollback = node.rollback(small);
    await until("it waits", () => isRollingBack(node));
    const stepping = node.stepDown();
    await settle();
    puts.open();
    expect((await sealed).epoch).toBe(last + 1);
    expect(await rollback).toMatchObject({ from: last + 1, to: small, epoch: last + 2 });
    await stepping;
    const image = await imageAt(store, last + 2);
    expect(image.length).toBeGreaterThan(0);
    const late = await join("follower", store, quiet);
    await late.node.sync({ maxStalenessMs: 0 });
    expect(dump(late.node)).toBe(shown.get(small));
  });

  it("is one epoch when the answer of its PUT was lost (P6)", async () => {
    const store = await newStore();
    const leader = await leaderWithPast(store);
    const { node, small, last, shown } = leader;
    let lost = 0;
    leader.faults.onCall = (call) => (isWalPut(call) && lost++ === 0 ? { kind: "fail_after" } : undefined);
    expect(await node.rollback(small)).toMatchObject({ epoch: last + 1 });
    expect(leader.events.filter(({ event }) => event === "put_read_back")).toMatchObject([{ found: "ours" }]);
    expect(dump(node)).toBe(shown.get(small));
    expect(await walEpochs(store)).toEqual(Array.from({ length: last + 2 }, (_, epoch) => epoch));
  });

  it("has an unknown outcome when the node ends before the store has answered, or the time is up", async () => {
    const store = await newStore();
    const clock = new LimitClock();
    const leader = await leaderWithPast(store, { settings: { ...QUIET, shutdownTimeoutMs: 100 }, clock });
    const puts = holdPuts(leader);
    const given = failureOf(leader.node.rollback(leader.small, { timeoutMs: TIME_LIMIT_MS }));
    await puts.arrival();
    clock.expire();
    expect(await given).toMatchObject({
      kind: "outcome_unknown",
      code: "rollback_unsettled",
      details: { to: leader.small },
    });
    puts.pass();
    await until("it is written all the same", () => leader.node.epoch.current === leader.last + 1);
    expect(dump(leader.node)).toBe(leader.shown.get(leader.small));

    const rollback = failureOf(leader.node.rollback(leader.large));
    await puts.arrival();
    await leader.node.shutdown();
    expect(await within("the rollback", rollback)).toMatchObject({ kind: "outcome_unknown" });
  });
});

describe("a rollback through a node that does not lead", () => {
  /** A leader behind a proxy, and a follower that reaches it so. */
  async function apart(clock = new TestClock()) {
    const store = await newStore();
    const address = `127.0.0.1:${await freePort()}`;
    const proxy = await TcpProxy.start(address);
    const leader = await leaderWithPast(store, { ...quiet, join: { address, advertise: proxy.address } });
    const follower = await join("follower", store, { ...quiet, clock });
    await follower.node.sync({ atLeast: leader.last });
    return { ...leader, leader, follower, proxy, store };
  }

  it("is done by the leader, which tells what it did", async () => {
    const { node, follower, small, last, shown } = await apart();
    const done = await follower.node.rollback(small);
    expect(done).toMatchObject({ from: last, to: small, epoch: last + 1 });
    expect(done.pages).toBeGreaterThan(1);
    expect(dump(node)).toBe(shown.get(small));
    await follower.node.sync({ atLeast: done.epoch });
    expect(dump(follower.node)).toBe(shown.get(small));
  });

  it("ends with the leader's error, kind, code and details", async () => {
    const { leader, follower, small } = await apart();
    const reads = holdReads(leader);
    const first = leader.node.rollback(small);
    expect(await codeOf(follower.node.rollback(small))).toBe("unavailable/rolling_back");
    reads.open();
    await first;
    const error = await failureOf(follower.node.rollback(1000));
    expect(error).toMatchObject({ kind: "invalid", code: "point_in_future", details: { epoch: 1000 } });
  });

  it("has an unknown outcome when the answer is lost, and is not repeated", async () => {
    const { leader, node, follower, proxy, small, last, shown } = await apart();
    const puts = holdPuts(leader);
    const rollback = failureOf(follower.node.rollback(small));
    await puts.arrival();
    proxy.breakOff();
    expect(await within("the rollback", rollback)).toMatchObject({ kind: "outcome_unknown" });
    puts.open();
    await until("it is written", () => node.epoch.current === last + 1);
    await settle(50);
    expect([node.epoch.current, dump(node)]).toEqual([last + 1, shown.get(small)]);
    expect(leader.events.filter(({ event }) => event === "rollback_sealed").length).toBe(1);
  });

  it("has an unknown outcome when the time is up after it was asked for", async () => {
    const clock = new LimitClock();
    const { leader, follower, small } = await apart(clock);
    const puts = holdPuts(leader);
    const rollback = failureOf(follower.node.rollback(small, { timeoutMs: TIME_LIMIT_MS }));
    await puts.arrival();
    await until("the answer has begun", () => clock.limits === 2);
    clock.expire();
    expect(await within("the rollback", rollback)).toMatchObject({
      kind: "outcome_unknown",
      code: "rollback_unsettled",
    });
  });

  it("is given up by the leader, if it is not sealed yet, when nobody waits for it any more", async () => {
    const { leader, follower, small, last } = await apart();
    const before = stateOf(leader);
    const reads = holdReads(leader);
    const abort = new AbortController();
    const rollback = follower.node.rollback(small, { signal: abort.signal });
    rollback.catch(() => {});
    await reads.arrival();
    abort.abort(new Error("given up"));
    await expect(rollback).rejects.toThrow("given up");
    await until("another one is possible", async () => {
      const code = await codeOf(leader.node.rollback(1000, { timeoutMs: 20 })).catch(String);
      return code !== "unavailable/rolling_back";
    });
    reads.open();
    await expectUntouched(leader, before);
    expect(leader.node.epoch.current).toBe(last + 1);
  });

  it("without a leader is unavailable", async () => {
    const { leader, follower, small, proxy } = await apart();
    await proxy.refuse();
    expect(await codeOf(follower.node.rollback(small, { timeoutMs: 300 }))).toBe("unavailable/no_leader");
    await leader.node.shutdown();
    await follower.node.sync({ maxStalenessMs: 0 });
    expect(follower.node.leader.current).toBeUndefined();
    expect(await codeOf(follower.node.rollback(small, { timeoutMs: 300 }))).toBe("unavailable/no_leader");
  });
});
