import { describe, expect, test } from "vitest";
import {
  checkLinearizable,
  type Outcome,
  type RegisterOperation,
  type RegisterValue,
} from "../../../src/testing/checkers/mod.ts";
import { SeededRandom } from "../../../src/testing/simulator/seeded-random.ts";

type Times = readonly [invokedAtMs: number, endedAtMs: number];

function base(client: string, [invokedAtMs, endedAtMs]: Times, outcome: Outcome) {
  return { client, register: "x", invokedAtMs, endedAtMs, outcome };
}

function write(value: RegisterValue, times: Times, outcome: Outcome = "ok"): RegisterOperation {
  return { ...base("w", times, outcome), type: "write", value };
}

function read(value: RegisterValue, times: Times): RegisterOperation {
  return { ...base("r", times, "ok"), type: "read", value };
}

function cas(
  expected: RegisterValue,
  value: RegisterValue,
  times: Times,
  swapped: boolean | undefined,
): RegisterOperation {
  const outcome = swapped === undefined ? "unknown" : "ok";
  return { ...base("c", times, outcome), type: "cas", expected, value, swapped };
}

function verdict(...operations: RegisterOperation[]): string {
  return checkLinearizable(operations).verdict;
}

describe("histories with an order", () => {
  test.each<[string, RegisterOperation[]]>([
    ["nothing", []],
    ["one after the other", [write(1, [0, 1]), read(1, [2, 3]), write(2, [4, 5]), read(2, [6, 7])]],
    ["the first value", [read(null, [0, 1]), write(1, [2, 3])]],
    ["a read that overlaps a write shows the old value", [write(1, [0, 1]), write(2, [2, 9]), read(1, [3, 4])]],
    ["and then the new one", [write(1, [0, 1]), write(2, [2, 9]), read(1, [3, 4]), read(2, [5, 6])]],
    ["a cas that swaps", [write(1, [0, 1]), cas(1, 2, [2, 3], true), read(2, [4, 5])]],
    ["a cas that does not", [write(1, [0, 1]), cas(2, 3, [2, 3], false), read(1, [4, 5])]],
    [
      "two overlapping writes in the order of the reads",
      [write(1, [0, 9]), write(2, [0, 9]), read(2, [1, 2]), read(1, [3, 4])],
    ],
    [
      "a write of unknown outcome long after it ended",
      [write(1, [0, 1]), write(2, [2, 3], "unknown"), read(1, [4, 5]), read(2, [9, 10])],
    ],
    ["or never", [write(1, [0, 1]), write(2, [2, 3], "unknown"), read(1, [4, 5])]],
    ["a refused write", [write(1, [0, 1]), write(2, [2, 3], "not_written"), read(1, [4, 5])]],
    ["a cas of unknown outcome", [write(1, [0, 1]), cas(1, 2, [2, 3], undefined), read(2, [4, 5])]],
    [
      "two of unknown outcome that build on each other",
      [write(1, [0, 1], "unknown"), cas(1, 2, [2, 3], undefined), read(2, [4, 5])],
    ],
    ["what touches in the same millisecond", [write(1, [0, 1]), write(2, [2, 3]), read(1, [3, 4])]],
  ])("%s", (_, operations) => {
    expect(verdict(...operations)).toBe("linearizable");
  });
});

describe("histories without one", () => {
  test.each<[string, RegisterOperation[]]>([
    ["a value that nobody wrote", [write(1, [0, 1]), read(7, [2, 3])]],
    ["a stale read", [write(1, [0, 1]), write(2, [2, 3]), read(1, [4, 5])]],
    ["a read of the future", [read(1, [0, 1]), write(1, [2, 3])]],
    ["new, then old", [write(1, [0, 1]), write(2, [2, 99]), read(2, [3, 4]), read(1, [5, 6])]],
    ["a lost write", [write(1, [0, 1]), read(null, [2, 3])]],
    ["a refused write that is read", [write(1, [0, 1], "not_written"), read(1, [2, 3])]],
    ["two swaps from one value", [write(1, [0, 1]), cas(1, 2, [2, 9], true), cas(1, 3, [2, 9], true)]],
    ["a cas that should have swapped", [write(1, [0, 1]), cas(1, 2, [2, 3], false)]],
    [
      "a write of unknown outcome twice",
      [write(2, [0, 1], "unknown"), read(2, [2, 3]), write(1, [4, 5]), read(1, [6, 7]), read(2, [8, 9])],
    ],
    ["one of unknown outcome before it was asked for", [read(2, [0, 1]), write(2, [2, 3], "unknown")]],
  ])("%s", (_, operations) => {
    expect(verdict(...operations)).toBe("violated");
  });
});

test("registers are independent of each other", () => {
  const other = { ...read(null, [2, 3]), register: "y" };
  expect(verdict(write(1, [0, 1]), other)).toBe("linearizable");
  expect(checkLinearizable([write(1, [0, 1]), { ...read(1, [2, 3]), register: "y" }])).toMatchObject({
    verdict: "violated",
    register: "y",
  });
});

test("what a register holds at first can be given", () => {
  expect(checkLinearizable([read(7, [0, 1])], { initial: 7 }).verdict).toBe("linearizable");
});

test("the explanation holds only what contradicts itself", () => {
  const operations: RegisterOperation[] = [];
  for (let value = 1; value <= 100; value++) {
    const beginMs = value * 10;
    operations.push(write(value, [beginMs, beginMs + 1]), read(value, [beginMs + 2, beginMs + 3]));
    operations.push(cas(value, -value, [beginMs + 4, beginMs + 5], true), read(-value, [beginMs + 6, beginMs + 7]));
  }
  operations.push(read(70, [802, 803]));
  const result = checkLinearizable(operations);
  if (result.verdict !== "violated") throw new Error(result.verdict);
  expect(result.text).toBe(
    [
      "register x, null at first: these have no order",
      "  700 to 701 ms, w: write 70 (ok)",
      "  790 to 791 ms, w: write 79 (ok)",
      "  802 to 803 ms, r: read 70 (ok)",
    ].join("\n"),
  );
});

test("a limit that is reached is said, never guessed", () => {
  const operations = [write(1, [0, 1]), write(2, [2, 3]), read(1, [4, 5])];
  expect(checkLinearizable(operations, { operationsMax: 2 })).toEqual({
    verdict: "undecided",
    register: "x",
    reason: "3 operations are more than 2",
  });
  expect(checkLinearizable(operations, { stepsMax: 1 })).toEqual({
    verdict: "undecided",
    register: "x",
    reason: "no answer after 1 steps",
  });
  const violated = { ...read(9, [0, 1]), register: "y" };
  expect(checkLinearizable([...operations, violated], { operationsMax: 2 }).verdict).toBe("violated");
});

test("an answer that says nothing is refused", () => {
  expect(() => verdict({ ...read(1, [0, 1]), value: undefined } as RegisterOperation)).toThrow(/not usable/);
  expect(() => verdict({ ...cas(1, 2, [0, 1], true), swapped: undefined } as RegisterOperation)).toThrow(/not usable/);
});

/** Tries every order of every choice of those that may never have happened. */
function bruteForce(operations: readonly RegisterOperation[]): boolean {
  const relevant = operations.filter(
    ({ outcome, type }) => outcome === "ok" || (outcome === "unknown" && type !== "read"),
  );
  const tryNext = (left: readonly RegisterOperation[], value: RegisterValue): boolean => {
    const certain = left.filter(({ outcome }) => outcome === "ok");
    if (certain.length === 0) return true;
    const firstAnswerMs = Math.min(...certain.map(({ endedAtMs }) => endedAtMs));
    return left.some((operation) => {
      if (operation.invokedAtMs > firstAnswerMs) return false;
      const rest = left.filter((other) => other !== operation);
      if (operation.type === "write") return tryNext(rest, operation.value);
      const isEqual = value === (operation.type === "read" ? operation.value : operation.expected);
      if (operation.type === "read") return isEqual && tryNext(rest, value);
      if (operation.outcome === "unknown") return isEqual && tryNext(rest, operation.value);
      return isEqual === operation.swapped && tryNext(rest, isEqual ? operation.value : value);
    });
  };
  return tryNext(relevant, null);
}

function randomOperation(fraction: () => number): RegisterOperation {
  const value = Math.floor(fraction() * 3);
  const invokedAtMs = Math.floor(fraction() * 12);
  const times: Times = [invokedAtMs, invokedAtMs + Math.floor(fraction() * 6)];
  const kind = fraction();
  const outcome: Outcome = kind < 0.1 ? "not_written" : kind < 0.35 ? "unknown" : "ok";
  const type = fraction();
  if (type < 0.35) return write(value, times, outcome);
  if (type < 0.7) return { ...read(value, times), outcome };
  return { ...cas(Math.floor(fraction() * 3), value, times, fraction() < 0.6), outcome };
}

test("it agrees with trying every order (20 000 seeded histories)", () => {
  const counts = { linearizable: 0, violated: 0 };
  for (let seed = 1; seed <= 20_000; seed++) {
    const random = new SeededRandom(seed);
    const fraction = () => random.fraction();
    const operations = Array.from({ length: 1 + Math.floor(fraction() * 7) }, () => randomOperation(fraction));
    const expected = bruteForce(operations) ? "linearizable" : "violated";
    const result = checkLinearizable(operations);
    expect(result.verdict, `seed ${seed}: ${JSON.stringify(operations)}`).toBe(expected);
    // What is left in an explanation has no order either: a hint can be trusted.
    if (result.verdict === "violated") expect(bruteForce(result.operations), `seed ${seed}`).toBe(false);
    counts[expected]++;
  }
  expect(counts.linearizable).toBeGreaterThan(5_000);
  expect(counts.violated).toBeGreaterThan(5_000);
});

test("a long history of a few clients takes a few steps an operation", () => {
  const random = new SeededRandom(1);
  const fraction = () => random.fraction();
  const operations: RegisterOperation[] = [];
  let value: RegisterValue = null;
  for (let index = 0; index < 20_000; index++) {
    const atMs = index * 2;
    const times: Times = [atMs - Math.floor(fraction() * 6), atMs + Math.floor(fraction() * 6)];
    const roll = fraction();
    if (roll < 0.02) operations.push(write(-index, times, "unknown"));
    else if (roll < 0.5) {
      value = index;
      operations.push(write(value, times));
    } else operations.push(read(value, times));
  }
  expect(checkLinearizable(operations, { stepsMax: 60_000 }).verdict).toBe("linearizable");
});
