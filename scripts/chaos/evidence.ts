/** The record of a run as evidence for the checkers. */
import type { RegisterOperation } from "../../src/testing/checkers/linearizable.ts";
import type { Operation, Timeline, Violation } from "../../src/testing/checkers/operation.ts";
import type { ReadingAt } from "../../src/testing/workloads/check-readings.ts";
import type { Work } from "../../src/testing/workloads/workload.ts";
import type { OperationRecord, ReadRecord } from "./record.ts";

/**
 * Operations as the checkers want them. Reads were told the length of the log and its end; where both are those of the
 * epoch that they name, the ids are those of that epoch, made when they are asked for, since all of them together would not fit.
 */
export function operationsOf(records: readonly OperationRecord[], timeline: Timeline): Operation[] {
  return records.map((record) => {
    const { client, node, invokedAtMs, outcome, epoch } = record;
    const base = { client, node, invokedAtMs, endedAtMs: record.endedAtMs ?? Number.POSITIVE_INFINITY, outcome };
    if (record.type === "write") return { ...base, type: "write" as const, id: record.id, epoch };
    const { level, atLeast, maxStalenessMs } = record;
    const read = { ...base, type: "read" as const, level, atLeast, maxStalenessMs, epoch };
    return Object.defineProperty({ ...read, ids: undefined as readonly string[] | undefined }, "ids", {
      get: () => idsShown(record, timeline),
    });
  });
}

function idsShown({ epoch, reading }: ReadRecord, timeline: Timeline): readonly string[] | undefined {
  if (reading === undefined || epoch === undefined) return undefined;
  const { length, tail } = reading.log;
  const start = length - tail.length;
  const ids = epoch <= timeline.newestEpoch ? timeline.idsAt(epoch) : [];
  if (ids.length === length && tail.every((id, index) => ids[start + index] === id)) return ids;
  // What it showed before its end is taken to be right.
  return [...ids.slice(0, start), ...tail];
}

export function readingsOf(records: readonly OperationRecord[]): ReadingAt[] {
  return records.flatMap((record) => {
    if (record.type !== "read" || record.reading === undefined || record.epoch === undefined) return [];
    const { client, member, invokedAtMs, epoch, reading } = record;
    return [{ epoch, reading, what: `read by ${client} of ${member} at ${Math.round(invokedAtMs)} ms` }];
  });
}

export function worksOf(records: readonly OperationRecord[]): ReadonlyMap<string, Work> {
  return new Map(records.flatMap((record) => (record.type === "write" ? [[record.id, record.work] as const] : [])));
}

/**
 * Swaps and linearizable reads, for the search for an order. Writes of which nobody knows what became, and which are not in
 * the history, are left out: with all of them the search would not end.
 */
export function registerOperationsOf(records: readonly OperationRecord[], timeline: Timeline): RegisterOperation[] {
  return records.flatMap((record): RegisterOperation[] => {
    const { client, invokedAtMs, outcome } = record;
    const base = { client, invokedAtMs, endedAtMs: record.endedAtMs ?? Number.POSITIVE_INFINITY, outcome };
    if (record.type === "read") {
      const { register, value } = record.reading?.register ?? { register: -1, value: null };
      const isAnswered = record.level === "linearizable" && outcome === "ok";
      return isAnswered ? [{ ...base, type: "read", register: String(register), value }] : [];
    }
    const { work, id, swapped } = record;
    if (work.kind !== "swap" || outcome === "not_written") return [];
    if (outcome === "unknown" && timeline.epochsOf(id).length === 0) return [];
    const register = String(work.register);
    if (work.expected === undefined) return [{ ...base, type: "write", register, value: id }];
    return [{ ...base, type: "cas", register, expected: work.expected, value: id, swapped }];
  });
}

/** What the answers themselves show to be wrong, whatever the history says. */
export function checkAnswers(records: readonly OperationRecord[]): Violation[] {
  const violations: Violation[] = [];
  for (const record of records) {
    const what = `${record.type} by ${record.client} of ${record.member} at ${Math.round(record.invokedAtMs)} ms`;
    if (record.code === "SQLITE_CONSTRAINT_UNIQUE") {
      const text = `${what}: the leader that got it had executed it before, or had read it from another one's epoch`;
      violations.push({ rule: "a request that may not be repeated was executed twice", promise: "P6", text });
    } else if (record.type === "read" && record.reading !== undefined && record.announcedEpoch !== record.epoch) {
      const text = `${what}: node.epoch is ${record.announcedEpoch}, the data is that of ${record.epoch}`;
      violations.push({ rule: "the database is not that of the epoch that the node reports", promise: "P2, P4", text });
    } else if (isRefusedBySqlite(record)) {
      violations.push({
        rule: "a write was refused by the database",
        promise: "P2",
        text: `${what}: ${record.message}`,
      });
    }
  }
  return violations;
}

/** Lists, balances and registers that were read rightly give it no reason to. */
function isRefusedBySqlite({ code }: OperationRecord): boolean {
  return code?.startsWith("SQLITE_") === true;
}
