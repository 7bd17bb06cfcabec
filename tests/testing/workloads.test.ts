/** The workload, its model and the timeline, on a real cluster: right readings pass, and each kind of wrong one is found. */
import { describe, expect, it } from "vitest";
import { LittleBigCluster, MemoryStore } from "../../src/mod.ts";
import { readTimeline } from "../../src/testing/checkers/read-timeline.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { checkReadings, type ReadingAt } from "../../src/testing/workloads/check-readings.ts";
import {
  AbortedWrite,
  createWorkload,
  pickWork,
  type Reading,
  readWorkload,
  runWork,
  type Work,
} from "../../src/testing/workloads/workload.ts";
import { lead, newStore, QUIET } from "../support/cluster.ts";

const WRITES = 200;
const TAIL_MAX = 7;

/** A history of every kind of work, and a reading after each. */
async function written() {
  const random = new SeededRandom(5);
  const store = new MemoryStore();
  const cluster = new LittleBigCluster({ id: "workload", store });
  await cluster.init();
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  await node.transaction(createWorkload).durable;
  const works = new Map<string, Work>();
  const readings: ReadingAt[] = [];
  let seen: Reading["register"] = { register: 0, value: null };
  for (let count = 0; count < WRITES; count++) {
    const id = `w${count}`;
    const work = pickWork(random, seen);
    works.set(id, work);
    try {
      await node.transaction((tx) => runWork(tx, id, work)).durable;
    } catch (error) {
      if (!(error instanceof AbortedWrite)) throw error;
    }
    const choice = { list: count % 4, register: 0, tailMax: TAIL_MAX };
    const reading = node.db.snapshot((reads) => readWorkload(reads, choice));
    seen = reading.register;
    readings.push({ epoch: node.epoch.current, reading, what: `read ${count}` });
  }
  await node.shutdown();
  return { works, readings, timeline: await readTimeline({ id: "workload", store }) };
}

describe("P2, P4: a reading is what the writes of its epoch make", () => {
  it("passes on a real history, and fails for everything that is changed in it", async () => {
    const { works, readings, timeline } = await written();
    const kinds = new Set([...works.values()].map(({ kind }) => kind));
    expect([...kinds].sort()).toEqual(["abort", "append", "log", "swap", "transfer"]);
    const aborted = [...works].filter(([, { kind }]) => kind === "abort").map(([id]) => id);
    expect(aborted.flatMap((id) => timeline.epochsOf(id))).toEqual([]);
    const rulesOf = (changed: readonly ReadingAt[]) => {
      const found = checkReadings(changed, timeline, (id) => works.get(id));
      return [...new Set(found.map(({ rule }) => rule))];
    };
    expect(rulesOf(readings)).toEqual([]);
    const last = readings.at(-1) as ReadingAt;
    const { log, list, balances } = last.reading;
    const changedTo = (change: Partial<Reading>) => rulesOf([{ ...last, reading: { ...last.reading, ...change } }]);
    const otherLog = ["read shows another log than its epoch"];
    expect(changedTo({ log: { ...log, length: log.length + 1 } })).toEqual(otherLog);
    expect(changedTo({ log: { ...log, tail: [...log.tail.slice(0, -1), "w0"] } })).toEqual(otherLog);
    expect(changedTo({ list: { ...list, tail: [...list.tail].reverse() } })).toEqual([
      "list is not what its writes make",
    ]);
    expect(changedTo({ balances: balances.map((balance) => balance + 1) })).toEqual(["money appeared or went away"]);
    expect(changedTo({ balances: [...balances].reverse() })).toEqual(["balances are not what their writes make"]);
    expect(changedTo({ register: { register: 0, value: "w0" } })).toEqual(["register is not what its writes make"]);
    expect(rulesOf([{ ...last, epoch: timeline.newestEpoch + 1 }])).toEqual([
      "read of an epoch that is not in the history",
    ]);
  });
});

describe("the timeline of a store", () => {
  it("knows the log of every epoch, who wrote what when, who led, and rollbacks", async () => {
    const store = await newStore();
    const { node } = await lead(store, { settings: QUIET });
    const before = (await node.transaction(createWorkload).durable).epoch;
    const write = async (id: string) =>
      (await node.transaction((tx) => void runWork(tx, id, { kind: "log" })).durable).epoch;
    const [a, b] = [await write("a"), await write("b")];
    const { epoch: rolledBack } = await node.rollback(a);
    const c = await write("c");
    await node.shutdown();
    const timeline = await readTimeline({ id: node.status().cluster_id, store });
    const logs = [before, a, b, rolledBack, c].map((epoch) => timeline.idsAt(epoch).join());
    expect(logs).toEqual(["", "a", "a,b", "a", "a,c"]);
    expect(["a", "b", "c", "d"].map((id) => timeline.epochsOf(id))).toEqual([[a], [b], [c], []]);
    expect([...(timeline.rollbacks ?? [])]).toEqual([[rolledBack, a]]);
    expect(timeline.leaderChanges.map(({ uuid }) => uuid)).toEqual([node.uuid]);
    expect([timeline.earliestEpoch, timeline.newestEpoch]).toEqual([0, c + 1]);
  });
});
