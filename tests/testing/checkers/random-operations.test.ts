import { expect, test } from "vitest";
import {
  checkOperations,
  type Operation,
  type ReadOperation,
  type WriteOperation,
} from "../../../src/testing/checkers/mod.ts";
import { SeededRandom } from "../../../src/testing/simulator/seeded-random.ts";
import { type ModelHistory, modelHistory, readAt } from "./model-history.ts";

/** One thing made wrong; `undefined` where the history has no place for it. */
type Corruption = (history: ModelHistory, pick: <T>(choices: readonly T[]) => T | undefined) => Operation[] | undefined;

function isAnsweredRead(operation: Operation): operation is ReadOperation & { epoch: number; ids: readonly string[] } {
  return operation.type === "read" && operation.outcome === "ok";
}

function isWriteInHistory({ timeline }: ModelHistory): (operation: Operation) => operation is WriteOperation {
  return (operation): operation is WriteOperation =>
    operation.type === "write" && timeline.epochsOf(operation.id).length > 0;
}

function exchange(operations: readonly Operation[], from: Operation, to: Operation): Operation[] {
  return operations.map((operation) => (operation === from ? to : operation));
}

/** Any read that shows at least so many entries, with others in their place. */
function corruptIds(entries: number, change: (ids: string[]) => string[]): Corruption {
  return ({ operations }, pick) => {
    const read = pick(operations.filter(isAnsweredRead).filter(({ ids }) => ids.length >= entries));
    return read && exchange(operations, read, { ...read, ids: change([...read.ids]) });
  };
}

const CORRUPTIONS: Readonly<Record<string, Corruption>> = {
  "an acknowledgement of nothing": ({ operations }, pick) => {
    const write = pick(operations.filter(({ type, outcome }) => type === "write" && outcome === "not_written"));
    return write && exchange(operations, write, { ...write, outcome: "ok", epoch: 1 } as WriteOperation);
  },
  "a refusal of what was written": (history, pick) => {
    const write = pick(history.operations.filter(isWriteInHistory(history)));
    return write && exchange(history.operations, write, { ...write, outcome: "not_written", epoch: undefined });
  },
  "a write of nobody": (history, pick) => {
    const write = pick(history.operations.filter(isWriteInHistory(history)));
    return write && history.operations.filter((operation) => operation !== write);
  },
  "another epoch": ({ operations }, pick) => {
    const write = pick(operations.filter(({ type, outcome }) => type === "write" && outcome === "ok"));
    return write && exchange(operations, write, { ...write, epoch: (write.epoch as number) + 1 } as WriteOperation);
  },
  "an entry that is not shown": corruptIds(1, (ids) => ids.toSpliced(Math.floor(ids.length / 2), 1)),
  "an entry too many": corruptIds(0, (ids) => [...ids, "dirty"]),
  "an entry twice": corruptIds(1, (ids) => [...ids, ids[0] as string]),
  "another order": corruptIds(2, (ids) => [...ids.slice(1), ids[0] as string]),
  "a read below its level": ({ operations, timeline }, pick) => {
    const reads = operations.filter(isAnsweredRead).filter(({ level, atLeast }) => level === "atLeast" && atLeast);
    const read = pick(reads);
    return read && exchange(operations, read, readAt(read, (read.atLeast as number) - 1, timeline));
  },
  "a stale linearizable read": ({ operations, timeline }, pick) => {
    const known = (read: Operation) =>
      Math.max(
        -1,
        ...operations.filter(({ endedAtMs }) => endedAtMs < read.invokedAtMs).map(({ epoch }) => epoch ?? -1),
      );
    const reads = operations.filter(isAnsweredRead).filter((read) => read.level === "linearizable" && known(read) > 0);
    const read = pick(reads);
    return read && exchange(operations, read, readAt(read, known(read) - 1, timeline));
  },
  "a read of the future": ({ operations, timeline }, pick) => {
    const read = pick(operations.filter(isAnsweredRead));
    return read && exchange(operations, read, { ...read, epoch: timeline.newestEpoch + 1 });
  },
};

function history(seed: number, operationCount = 60): ModelHistory {
  const random = new SeededRandom(seed);
  return modelHistory(() => random.fraction(), operationCount);
}

test("what a correct cluster does breaks no rule (500 seeded histories)", () => {
  const seen = { writes: 0, unknown: 0, refused: 0, reads: 0, rollbacks: 0 };
  for (let seed = 1; seed <= 500; seed++) {
    const { operations, timeline } = history(seed);
    expect(checkOperations(operations, timeline), `seed ${seed}`).toEqual([]);
    seen.writes += operations.filter(({ type, outcome }) => type === "write" && outcome === "ok").length;
    seen.unknown += operations.filter(({ outcome }) => outcome === "unknown").length;
    seen.refused += operations.filter(({ outcome }) => outcome === "not_written").length;
    seen.reads += operations.filter(isAnsweredRead).length;
    seen.rollbacks += timeline.rollbacks?.size ?? 0;
  }
  for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(300);
});

test.each(Object.entries(CORRUPTIONS))("%s is found wherever it is (200 seeded histories)", (_, corrupt) => {
  let corrupted = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const random = new SeededRandom(seed + 1_000_000);
    const good = history(seed);
    const operations = corrupt(good, (choices) => (choices.length > 0 ? random.pick(choices) : undefined));
    if (operations === undefined) continue;
    corrupted++;
    expect(checkOperations(operations, good.timeline), `seed ${seed}`).not.toEqual([]);
  }
  expect(corrupted).toBeGreaterThan(100);
});

test("100 000 operations are checked in seconds: for a checker that is quadratic in them a minute is not enough", () => {
  const clients = 50;
  const operations: Operation[] = [];
  const ids: string[] = [];
  const logs: (readonly string[])[] = [[]];
  for (let round = 0; operations.length < 100_000; round++) {
    const nowMs = round * 10;
    const epoch = logs.length;
    for (let client = 0; client < clients; client++) {
      const base = { client: `c${client}`, node: `n${client % 3}`, invokedAtMs: nowMs, endedAtMs: nowMs + 9 };
      if (client % 2 === 0) {
        const id = `w${round}.${client}`;
        ids.push(id);
        operations.push({ ...base, node: "n0", type: "write", outcome: "ok", id, epoch });
      } else {
        const shown = logs[epoch - 1] as readonly string[];
        const level = { level: "linearizable", atLeast: undefined, maxStalenessMs: undefined } as const;
        operations.push({ ...base, ...level, type: "read", outcome: "ok", epoch: epoch - 1, ids: shown });
      }
    }
    logs.push(ids.slice());
  }
  const epochs = new Map<string, number[]>();
  for (const operation of operations)
    if (operation.type === "write") epochs.set(operation.id, [operation.epoch as number]);
  const timeline = {
    newestEpoch: logs.length - 1,
    idsAt: (epoch: number) => logs[epoch] as readonly string[],
    epochsOf: (id: string) => epochs.get(id) ?? [],
  };
  expect(checkOperations(operations, timeline)).toEqual([]);
}, 60_000);
