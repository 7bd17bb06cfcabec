import type { Operation, ReadLevel, ReadOperation, Timeline } from "../../../src/testing/checkers/mod.ts";
import { READ_LEVELS } from "../../../src/testing/checkers/operation.ts";

/** What happened, and what the clients saw of it. */
export interface ModelHistory {
  readonly operations: Operation[];
  readonly timeline: Timeline;
}

/** A timeline from the log of every epoch; what is new in an epoch was written in it. */
export function timelineOf(logs: readonly (readonly string[])[], rollbacks: ReadonlyMap<number, number>): Timeline {
  const epochs = new Map<string, number[]>();
  for (let epoch = 0; epoch < logs.length; epoch++) {
    const before = new Set(epoch === 0 ? [] : logs[epoch - 1]);
    if (rollbacks.has(epoch)) continue;
    for (const id of logs[epoch] as readonly string[]) {
      if (!before.has(id)) epochs.set(id, [...(epochs.get(id) ?? []), epoch]);
    }
  }
  return {
    newestEpoch: logs.length - 1,
    rollbacks,
    idsAt: (epoch) => logs[epoch] as readonly string[],
    epochsOf: (id) => epochs.get(id) ?? [],
  };
}

interface Begun {
  readonly client: string;
  readonly invokedAtMs: number;
  readonly id: string | undefined;
  readonly level: ReadLevel;
  readonly atLeast: number | undefined;
  readonly maxStalenessMs: number | undefined;
  readonly epochNeeded: number;
}

const NODES = ["leader", "near", "far"];

/** A cluster without faults in it, but with lost answers, refusals, lag and rollbacks. */
export function modelHistory(fraction: () => number, operationCount: number): ModelHistory {
  const pick = <T>(choices: readonly T[]): T => choices[Math.floor(fraction() * choices.length)] as T;
  const clients = Array.from({ length: 5 }, (_, index) => `client ${index}`);
  const operations: Operation[] = [];
  const logs: string[][] = [[]];
  const durableAtMs = [0];
  const rollbacks = new Map<number, number>();
  const epochOf = new Map<string, number>();
  const nodeEpochs = new Map(NODES.map((node) => [node, 0]));
  const begun = new Map<string, Begun>();
  let pending: string[] = [];
  let nowMs = 0;
  let writeCount = 0;
  const newest = (): number => logs.length - 1;

  const seal = (): void => {
    const log = logs[newest()] as string[];
    const isRollback = newest() > 2 && pending.length === 0 && fraction() < 0.1;
    const to = Math.floor(fraction() * newest());
    if (isRollback) rollbacks.set(newest() + 1, to);
    for (const id of pending) epochOf.set(id, newest() + 1);
    logs.push(isRollback ? (logs[to] as string[]) : [...log, ...pending]);
    durableAtMs.push(nowMs);
    pending = [];
    nodeEpochs.set("leader", newest());
  };
  const begin = (client: string): void => {
    const isWrite = fraction() < 0.5;
    const level = pick(READ_LEVELS);
    const maxStalenessMs = level === "maxStaleness" ? Math.floor(fraction() * 20) : undefined;
    const atLeast = level === "atLeast" ? Math.floor(fraction() * (newest() + 1)) : undefined;
    let epochNeeded = atLeast ?? 0;
    if (level === "linearizable") epochNeeded = newest();
    if (maxStalenessMs !== undefined)
      epochNeeded = durableAtMs.findLastIndex((timeMs) => timeMs <= nowMs - maxStalenessMs);
    const id = isWrite ? `w${writeCount++}` : undefined;
    if (id !== undefined) pending.push(id);
    begun.set(client, { client, invokedAtMs: nowMs, id, level, atLeast, maxStalenessMs, epochNeeded });
  };
  const end = (operation: Begun): void => {
    const { client, invokedAtMs, id, level, atLeast, maxStalenessMs, epochNeeded } = operation;
    const base = { client, invokedAtMs, endedAtMs: nowMs };
    if (id !== undefined) {
      const epoch = epochOf.get(id);
      const roll = fraction();
      if (epoch === undefined && roll < 0.7) return;
      if (epoch === undefined && roll < 0.85) {
        pending = pending.filter((other) => other !== id);
        operations.push({ ...base, type: "write", node: "leader", outcome: "not_written", id, epoch: undefined });
      } else if (epoch === undefined || roll < 0.1) {
        operations.push({ ...base, type: "write", node: undefined, outcome: "unknown", id, epoch: undefined });
      } else {
        operations.push({ ...base, type: "write", node: "leader", outcome: "ok", id, epoch });
      }
    } else {
      const node = pick(NODES);
      const epoch = Math.max(nodeEpochs.get(node) as number, Math.max(epochNeeded, 0));
      nodeEpochs.set(node, epoch);
      const ids = [...(logs[epoch] as string[])];
      operations.push({ ...base, type: "read", node, outcome: "ok", level, atLeast, maxStalenessMs, epoch, ids });
    }
    begun.delete(client);
  };

  while (operations.length < operationCount) {
    nowMs += Math.floor(fraction() * 3);
    const client = pick(clients);
    const operation = begun.get(client);
    if (fraction() < 0.2) seal();
    else if (operation === undefined) begin(client);
    else end(operation);
    const node = pick(NODES);
    if (fraction() < 0.1) nodeEpochs.set(node, newest());
  }
  for (const { client, invokedAtMs, id } of begun.values()) {
    if (id === undefined) continue;
    const unanswered = { node: undefined, endedAtMs: Number.POSITIVE_INFINITY, outcome: "unknown" } as const;
    operations.push({ ...unanswered, type: "write", client, invokedAtMs, id, epoch: undefined });
  }
  return { operations, timeline: timelineOf(logs, rollbacks) };
}

/** A read as it should have been, at another epoch. */
export function readAt(read: ReadOperation, epoch: number, timeline: Timeline): ReadOperation {
  return { ...read, epoch, ids: [...timeline.idsAt(epoch)] };
}
