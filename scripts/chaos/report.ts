/** What a run says of itself. */
import Table from "cli-table3";
import { bytesText, durationText } from "../../src/cli/text.ts";
import type { Violation } from "../../src/testing/checkers/operation.ts";
import type { StoredTimeline } from "../../src/testing/checkers/timeline-recorder.ts";
import { type MemberEvent, RECOVERIES, recoveriesAfter } from "./member-logs.ts";
import type { FaultRecord, OperationRecord } from "./record.ts";

export interface RunReport {
  readonly store: string;
  readonly seed: number;
  /** How long clients and faults were at work. */
  readonly workMs: number;
  readonly convergedMs: number;
  readonly judgedMs: number;
  readonly operations: readonly OperationRecord[];
  readonly faults: readonly FaultRecord[];
  readonly requestFaults: ReadonlyMap<string, number>;
  readonly events: readonly MemberEvent[];
  /** How often two members' databases were at the same epoch. */
  readonly databasesCompared: number;
  readonly timeline: StoredTimeline | undefined;
  readonly notes: readonly string[];
  readonly skipped: readonly string[];
  readonly violations: readonly Violation[];
  /** Where the evidence lies, if it was kept. */
  readonly directory: string | undefined;
}

const VIOLATIONS_SHOWN_MAX = 40;

export function reportText(report: RunReport): string {
  return [faultTable(report), operationTable(report), summary(report), verdict(report)].join("\n\n");
}

function newTable(head: string[]): InstanceType<typeof Table> {
  const colAligns = head.map((_, index) => (index === 0 ? "left" : "right")) as ("left" | "right")[];
  return new Table({ head, colAligns, style: { head: [], border: [], compact: true } });
}

function faultTable({ faults, events }: RunReport): string {
  const table = newTable(["fault", "times", ...Object.keys(RECOVERIES)]);
  for (const name of [...new Set(faults.map((fault) => fault.name))].sort()) {
    const ofName = faults.filter((fault) => fault.name === name);
    table.push([name, ofName.length, ...recoveriesAfter(ofName, events)]);
  }
  const totals = Object.values(RECOVERIES).map((isOne) => events.filter(isOne).length);
  table.push(["in all (faults overlap)", faults.length, ...totals]);
  return table.toString();
}

function operationTable({ operations }: RunReport): string {
  const table = newTable(["operation", "ok", "not written", "unknown"]);
  const kindOf = (one: OperationRecord) => (one.type === "write" ? `write ${one.work.kind}` : `read ${one.level}`);
  for (const kind of [...new Set(operations.map(kindOf))].sort()) {
    const ofKind = operations.filter((one) => kindOf(one) === kind);
    const counted = (["ok", "not_written", "unknown"] as const).map(
      (outcome) => ofKind.filter((one) => one.outcome === outcome).length,
    );
    table.push([kind, ...counted]);
  }
  return table.toString();
}

function summary(report: RunReport): string {
  const { operations, workMs, timeline, requestFaults, events } = report;
  const acknowledged = operations.filter(({ type, outcome }) => type === "write" && outcome === "ok");
  const read = operations.filter(({ type, outcome }) => type === "read" && outcome === "ok");
  const rate = (count: number) => `${count} (${(count / (workMs / 1000)).toFixed(1)} a second)`;
  const joined = events.filter(({ event }) => event === "joined").length;
  const lines: (readonly [string, string])[] = [
    ["store, seed, time", `${report.store}, ${report.seed}, ${durationText(workMs)}`],
    ["writes acknowledged", rate(acknowledged.length)],
    ["reads answered", rate(read.length)],
    ["longest without an acknowledged write", durationText(longestSilence(acknowledged, workMs))],
    ["from the last fault to a whole cluster", durationText(report.convergedMs)],
    ["epochs", timeline === undefined ? "unreadable" : rate(timeline.newestEpoch)],
    ["WAL bytes", timeline === undefined ? "unreadable" : bytesText(timeline.walBytes)],
    ["leaders in the history", String(timeline?.leaderChanges.length ?? 0)],
    ["databases compared at the same epoch", String(report.databasesCompared)],
    ["processes that joined", String(joined)],
    ["time to judge it", durationText(report.judgedMs)],
    ...[...requestFaults].map(([kind, count]) => [`requests: ${kind}`, String(count)] as const),
  ];
  return lines.map(([name, value]) => `${name.padEnd(40)} ${value}`).join("\n");
}

function longestSilence(acknowledged: readonly OperationRecord[], workMs: number): number {
  const times = acknowledged.map(({ endedAtMs }) => endedAtMs ?? 0).filter((atMs) => atMs < workMs);
  let longest = 0;
  let last = 0;
  for (const atMs of [...times.sort((a, b) => a - b), workMs]) {
    longest = Math.max(longest, atMs - last);
    last = atMs;
  }
  return longest;
}

function verdict({ violations, notes, skipped, seed, store, directory }: RunReport): string {
  const lines = [...skipped.map((text) => `skipped: ${text}`), ...notes.map((text) => `note: ${text}`)];
  const kept = directory === undefined ? "" : `; evidence in ${directory}`;
  if (violations.length === 0) return [...lines, `${store}: no violation${kept}`].join("\n");
  const rules = new Map<string, number>();
  for (const { rule } of violations) rules.set(rule, (rules.get(rule) ?? 0) + 1);
  const shown = violations.slice(0, VIOLATIONS_SHOWN_MAX);
  lines.push(...shown.map(({ rule, promise, text }) => `VIOLATION (${promise}) ${rule}: ${text}`));
  lines.push(...[...rules].map(([rule, count]) => `${count} × ${rule}`));
  return [...lines, `${store}: ${violations.length} violations, seed ${seed}${kept}`].join("\n");
}
