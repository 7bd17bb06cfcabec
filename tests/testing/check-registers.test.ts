/** Registers between rollbacks: a rollback sets them back, and what came before it says nothing of what follows. */
import { describe, expect, test } from "vitest";
import type { RegisterOperation } from "../../src/testing/checkers/register-operation.ts";
import { checkRegisters, type RegisterOperationAt, valuesAfter } from "../../src/testing/workloads/check-registers.ts";
import type { Work } from "../../src/testing/workloads/workload.ts";
import { timelineOf } from "./checkers/model-history.ts";

/** Epoch 1 writes a, epoch 2 b, epoch 3 goes back to 1, epoch 4 writes c. */
const TIMELINE = timelineOf([[], ["a"], ["a", "b"], ["a"], ["a", "c"]], new Map([[3, 1]]));
const EPOCH_MS = 100;

const workOf = (id: string): Work => ({ kind: "swap", register: 0, expected: id === "c" ? "a" : undefined });

function times(epoch: number): Pick<RegisterOperation, "client" | "register" | "invokedAtMs" | "endedAtMs"> {
  return { client: "c0", register: "0", invokedAtMs: epoch * EPOCH_MS, endedAtMs: epoch * EPOCH_MS + 10 };
}

const write = (id: string, epoch: number): RegisterOperationAt => ({
  id,
  operation: { ...times(epoch), type: "write", outcome: "ok", value: id },
});
/** Half an epoch later. */
const read = (epoch: number, value: string | null): RegisterOperationAt => ({
  epoch,
  operation: { ...times(epoch + 0.5), type: "read", outcome: "ok", value },
});
const swap = (id: string, epoch: number, expected: string, swapped: boolean): RegisterOperationAt => ({
  id,
  operation: { ...times(epoch), type: "cas", outcome: "ok", expected, value: id, swapped },
});

const GOOD = [
  write("a", 1),
  read(1, "a"),
  write("b", 2),
  read(2, "b"),
  read(3, "a"),
  swap("c", 4, "a", true),
  read(4, "c"),
];

function rulesOf(operations: readonly RegisterOperationAt[]): readonly string[] {
  return checkRegisters(operations, TIMELINE, workOf, 1000).violations.map(({ rule }) => rule);
}

describe("registers", () => {
  test("that a rollback sets back are in order", () => {
    expect(rulesOf(GOOD)).toEqual([]);
  });

  test.each([
    ["before it", GOOD.with(3, read(2, "a"))],
    ["that shows what it took away", GOOD.with(4, read(3, "b"))],
    ["after it", GOOD.with(6, read(4, "a"))],
    ["by which a swap would have failed", GOOD.with(5, swap("c", 4, "a", false))],
  ])("of which a read is wrong %s are not", (_, operations) => {
    expect(rulesOf(operations)).toEqual(["registers are not linearizable"]);
  });

  test("do not count what never happened, and say when a search was given up", () => {
    expect(rulesOf([...GOOD, write("nobody wrote it", 1)])).toEqual([]);
    expect(checkRegisters(GOOD, TIMELINE, workOf, 1).undecided).toBeGreaterThan(0);
  });

  test("hold what the log says", () => {
    expect(valuesAfter(["a", "c"], workOf)).toEqual(new Map([[0, "c"]]));
    expect(valuesAfter(["b", "c"], workOf)).toEqual(new Map([[0, "b"]]));
  });
});
