import { describe, expect, test } from "vitest";
import {
  checkOperations,
  type Operation,
  type ReadLevel,
  type ReadOperation,
  type Timeline,
  VIOLATIONS_PER_RULE_MAX,
  type WriteOperation,
} from "../../../src/testing/checkers/mod.ts";
import { timelineOf } from "./model-history.ts";

/** The log of each epoch: epoch 1 writes a, epoch 2 b and c, epoch 3 nothing, epoch 4 d. */
const LOGS = [[], ["a"], ["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c", "d"]];
const TIMELINE = timelineOf(LOGS, new Map());

function write(id: string, client: string, times: readonly [number, number], epoch?: number): WriteOperation {
  const outcome = epoch === undefined ? "unknown" : "ok";
  return { type: "write", id, client, node: "n1", invokedAtMs: times[0], endedAtMs: times[1], outcome, epoch };
}

function read(
  client: string,
  node: string,
  times: readonly [number, number],
  epoch: number,
  ids: readonly string[] = LOGS[epoch] as string[],
): ReadOperation {
  return {
    type: "read",
    client,
    node,
    invokedAtMs: times[0],
    endedAtMs: times[1],
    outcome: "ok",
    level: "any",
    atLeast: undefined,
    maxStalenessMs: undefined,
    epoch,
    ids,
  };
}

function levelled(operation: ReadOperation, level: ReadLevel, bound?: number): ReadOperation {
  return {
    ...operation,
    level,
    atLeast: level === "atLeast" ? bound : undefined,
    maxStalenessMs: level === "maxStaleness" ? bound : undefined,
  };
}

/** In order, with one of each outcome. */
const GOOD: readonly Operation[] = [
  write("a", "x", [0, 10], 1),
  write("b", "x", [20, 30], 2),
  write("c", "y", [15, 35]),
  { ...write("refused", "y", [40, 50]), outcome: "not_written" },
  read("z", "n2", [40, 45], 1),
  levelled(read("z", "n2", [50, 55], 2), "atLeast", 2),
  levelled(read("x", "n1", [60, 65], 3), "linearizable"),
  levelled(read("y", "n3", [70, 75], 2), "maxStaleness", 10),
  write("d", "x", [80, Number.POSITIVE_INFINITY]),
  write("lost", "y", [80, Number.POSITIVE_INFINITY]),
];

function rulesOf(operations: readonly Operation[], timeline: Timeline = TIMELINE): string[] {
  return [...new Set(checkOperations(operations, timeline).map(({ rule }) => rule))];
}

/** The good history with one operation exchanged. */
function but(index: number, operation: Operation): Operation[] {
  return GOOD.with(index, operation);
}

function asWrite(index: number): WriteOperation {
  return GOOD[index] as WriteOperation;
}

function asRead(index: number): ReadOperation {
  return GOOD[index] as ReadOperation;
}

test("a history in which every promise is kept breaks no rule", () => {
  expect(checkOperations(GOOD, TIMELINE)).toEqual([]);
  expect(checkOperations([], timelineOf([[]], new Map()))).toEqual([]);
});

describe("writes", () => {
  test("an acknowledged write that is in no epoch breaks P1", () => {
    const violations = checkOperations([...GOOD, write("gone", "q", [0, 5], 1)], TIMELINE);
    expect(violations).toEqual([
      {
        rule: "acknowledged write is missing",
        promise: "P1",
        text: "write gone by q at n1, 0 to 5 ms (ok, epoch 1) is in no epoch of the history",
      },
    ]);
  });

  test("an epoch that is not that of the write breaks P2", () => {
    expect(rulesOf(but(1, { ...asWrite(1), epoch: 3 }))).toEqual(["write was acknowledged at another epoch"]);
  });

  test("a write that took effect twice breaks P2, acknowledged or not", () => {
    const twice: Timeline = { ...TIMELINE, epochsOf: (id) => (id === "b" ? [2, 3] : TIMELINE.epochsOf(id)) };
    expect(rulesOf(GOOD, twice)).toEqual(["write took effect more than once"]);
    expect(rulesOf(but(1, { ...asWrite(1), outcome: "unknown", epoch: undefined }), twice)).toEqual([
      "write took effect more than once",
    ]);
  });

  test("a refused write that is in the history breaks P6", () => {
    expect(rulesOf(but(2, { ...asWrite(2), outcome: "not_written" }))).toEqual(["refused write is in the history"]);
  });

  test("an entry that nobody asked for breaks P2", () => {
    expect(rulesOf(GOOD.toSpliced(2, 1))).toEqual(["history holds what nobody asked for"]);
  });

  test("an entry that vanishes without a rollback breaks P1, with one it does not", () => {
    const logs = [...LOGS, ["a", "b", "c"], ["a", "b", "c"]];
    expect(rulesOf(GOOD, timelineOf(logs, new Map()))).toEqual(["durable write vanished"]);
    expect(rulesOf(GOOD, timelineOf(logs, new Map([[5, 2]])))).toEqual([]);
  });

  test("an entry that another takes the place of has vanished too", () => {
    const logs = [...LOGS, ["a", "b", "c", "e"]];
    const operations = [...GOOD, write("e", "q", [80, 90])];
    expect(rulesOf(operations, timelineOf(logs, new Map()))).toEqual(["durable write vanished"]);
  });

  test("a rollback that leaves another state than it names", () => {
    const timeline = timelineOf([...LOGS, ["a"]], new Map([[5, 2]]));
    expect(rulesOf(GOOD, timeline)).toEqual(["rollback does not restore what it names"]);
  });

  test("what a rollback took away was written all the same", () => {
    const logs = [...LOGS, ["a"], ["a", "e"]];
    const timeline = timelineOf(logs, new Map([[5, 1]]));
    const operations = [...GOOD, write("e", "q", [90, 95], 6), read("q", "n1", [100, 101], 6, ["a", "e"])];
    expect(rulesOf(operations, timeline)).toEqual([]);
    expect(rulesOf([...GOOD, read("q", "n1", [100, 101], 6, ["a", "e"])], timeline)).toEqual([
      "history holds what nobody asked for",
    ]);
    expect(rulesOf(operations.toSpliced(8, 1), timeline), "seen in the log before the rollback").toEqual([
      "history holds what nobody asked for",
    ]);
  });

  test("a log that is not in the order of its epochs breaks P2", () => {
    const logs = [[], ["a"], ["b", "a"], ["b", "a"]];
    const operations = [write("a", "x", [0, 10], 1), write("b", "x", [20, 30], 2)];
    expect(rulesOf(operations, timelineOf(logs, new Map()))).toEqual(["log is not in the order of its epochs"]);
  });

  test("a write that joins an epoch that was durable before it was asked for breaks strict serializability", () => {
    const rule = ["write took effect before it was asked for"];
    const joins = write("c", "y", [36, 38]);
    expect(rulesOf(but(2, { ...joins, outcome: "unknown", epoch: undefined })), "an acknowledgement").toEqual(rule);
    const operations = [
      write("a", "x", [0, 10], 1),
      write("b", "x", [20, 30]),
      read("z", "n2", [24, 28], 2),
      write("c", "y", [29, 40], 2),
    ];
    const timeline = timelineOf(LOGS.slice(0, 3), new Map());
    expect(rulesOf(operations, timeline), "a read").toEqual(rule);
    expect(rulesOf(operations.with(3, write("c", "y", [28, 40], 2)), timeline), "at the same moment").toEqual([]);
    const ownWrites = [write("a", "x", [0, 10], 1), write("b", "x", [20, 30], 2), write("c", "x", [30, 40], 2)];
    expect(rulesOf(ownWrites, timeline), "at the same moment by the same client").toEqual(rule);
  });
});

describe("reads", () => {
  test("an epoch that is not in the history breaks P4", () => {
    expect(rulesOf([...GOOD, read("z", "n2", [90, 91], 5, ["a", "b", "c", "d"])])).toEqual([
      "read shows an epoch that is not in the history",
    ]);
  });

  test("an entry that the epoch does not hold breaks P4, whether it comes later or never", () => {
    const rule = ["read shows what its epoch does not hold"];
    expect(rulesOf(but(4, { ...asRead(4), ids: ["a", "b"] }))).toEqual(rule);
    expect(rulesOf(but(4, { ...asRead(4), ids: ["a", "lost"] }))).toEqual(rule);
  });

  test("an entry that is not shown breaks P2", () => {
    expect(rulesOf(but(5, { ...asRead(5), ids: ["a", "c"] }))).toEqual(["read lacks what its epoch holds"]);
    expect(rulesOf(but(5, { ...asRead(5), ids: ["a", "b"] }))).toEqual(["read lacks what its epoch holds"]);
  });

  test("another order, or an entry twice, breaks P2", () => {
    const rule = ["read shows another order than its epoch"];
    expect(rulesOf(but(5, { ...asRead(5), ids: ["a", "c", "b"] }))).toEqual(rule);
    expect(rulesOf(but(5, { ...asRead(5), ids: ["a", "b", "c", "c"] }))).toEqual(rule);
  });

  test("a read below the epoch asked for is found; with the epoch of an acknowledgement that is read your writes", () => {
    expect(rulesOf(but(5, levelled(asRead(5), "atLeast", 3)))).toEqual(["read is older than the epoch asked for"]);
  });

  test("a node that goes back is found, whoever asks", () => {
    const rule = ["node went back"];
    expect(rulesOf([...GOOD, read("z", "n2", [90, 91], 1)]), "the same client").toEqual(rule);
    expect(rulesOf([...GOOD, read("q", "n2", [90, 91], 1)]), "another client").toEqual(rule);
    expect(rulesOf([...GOOD, read("q", "n1", [90, 91], 2)]), "behind a linearizable read").toEqual(rule);
    expect(rulesOf([...GOOD, read("q", "n1", [31, 32], 1)]), "behind what it acknowledged").toEqual(rule);
    expect(rulesOf([...GOOD, read("q", "n2", [54, 56], 1)]), "at the same time").toEqual([]);
    expect(rulesOf([...GOOD, read("z", "n4", [90, 91], 1)]), "another node").toEqual([]);
    expect(rulesOf([...GOOD, { ...read("z", "n2", [90, 91], 1), node: undefined }]), "unknown").toEqual([]);
  });

  test("a linearizable read behind what any answer had shown is found", () => {
    const rule = ["linearizable read is stale"];
    const stale = (times: readonly [number, number], epoch: number) =>
      levelled(read("q", "n4", times, epoch), "linearizable");
    expect(rulesOf([...GOOD, stale([40, 60], 1)]), "an acknowledgement").toEqual(rule);
    expect(rulesOf([...GOOD, stale([66, 69], 2)]), "a linearizable read").toEqual(rule);
    expect(rulesOf([...GOOD, read("z", "n5", [82, 83], 4), stale([84, 85], 3)]), "a read of any level").toEqual(rule);
    expect(rulesOf([...GOOD, stale([64, 69], 2)]), "at the same time").toEqual([]);
    expect(rulesOf([...GOOD, levelled(stale([66, 69], 2), "any")]), "not asked for").toEqual([]);
  });

  test("a read that is staler than asked for is found", () => {
    expect(rulesOf([...GOOD, levelled(read("q", "n4", [100, 101], 1), "maxStaleness", 69)])).toEqual([
      "read is staler than asked for",
    ]);
    expect(rulesOf([...GOOD, levelled(read("q", "n4", [100, 101], 1), "maxStaleness", 70)])).toEqual([]);
  });

  test("a read without an answer, or refused, shows nothing", () => {
    const unanswered = { ...asRead(5), outcome: "unknown", epoch: undefined, ids: undefined } as const;
    expect(rulesOf(but(5, unanswered))).toEqual([]);
    expect(rulesOf(but(5, { ...unanswered, outcome: "not_written" }))).toEqual([]);
  });
});

test("an answer that the history contradicts is no witness against others", () => {
  expect(rulesOf([write("gone", "q", [0, 5], 99), ...GOOD])).toEqual(["acknowledged write is missing"]);
  expect(rulesOf([read("q", "n9", [0, 5], 99, []), ...GOOD])).toEqual([
    "read shows an epoch that is not in the history",
  ]);
});

test("what was trimmed is not judged, and what came after it is", () => {
  const trimmed: Timeline = {
    ...TIMELINE,
    earliestEpoch: 2,
    idsAt: (epoch) => (epoch < 2 ? [] : TIMELINE.idsAt(epoch)),
    epochsOf: (id) => TIMELINE.epochsOf(id).map((epoch) => Math.max(epoch, 2)),
  };
  expect(rulesOf(GOOD, trimmed)).toEqual([]);
  expect(rulesOf([...GOOD, write("gone", "q", [0, 5], 1)], trimmed)).toEqual(["acknowledged write is missing"]);
  expect(rulesOf(but(5, { ...asRead(5), ids: ["a", "b"] }), trimmed)).toEqual(["read lacks what its epoch holds"]);
});

test("each rule tells a bounded number of violations", () => {
  const gone = Array.from({ length: 100 }, (_, index) => write(`gone ${index}`, `q${index}`, [0, 5], 1));
  expect(checkOperations(gone, timelineOf([[]], new Map()))).toHaveLength(VIOLATIONS_PER_RULE_MAX);
});

test("evidence that contradicts itself is refused", () => {
  const message = /the evidence is not usable/;
  expect(() => checkOperations([...GOOD, write("a", "q", [0, 1])], TIMELINE)).toThrow(message);
  expect(() => checkOperations([{ ...write("q", "q", [0, 1], 1), epoch: undefined }], TIMELINE)).toThrow(message);
  expect(() => checkOperations([{ ...read("q", "n1", [0, 1], 1), ids: undefined }], TIMELINE)).toThrow(message);
  expect(() => checkOperations([write("q", "q", [2, 1])], TIMELINE)).toThrow(message);
});
