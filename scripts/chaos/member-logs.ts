/** What members said of themselves while it all went on. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Violation } from "../../src/testing/checkers/operation.ts";
import type { FaultRecord } from "./record.ts";

/** One event of the library's log. */
export interface MemberEvent {
  readonly atMs: number;
  readonly event: string;
  readonly level?: string;
  readonly reason?: string;
}

/** Recoveries as the report counts them. */
export const RECOVERIES: Readonly<Record<string, (event: MemberEvent) => boolean>> = {
  "leader changes": ({ event }) => event === "leading",
  fenced: ({ event, reason }) => event === "leadership_ended" && reason === "fenced",
  "read back": ({ event }) => event === "put_read_back",
  "audits that found more": ({ event }) => event === "audit_found_later_epochs",
  bootstraps: ({ event }) => event === "bootstrapping_again",
  "streams lost": ({ event }) => event === "stream_lost",
};

/** A node that finds itself in an impossible state stops; nothing that is done here may lead to one. */
const NEVER: ReadonlySet<string> = new Set([
  "node_failed",
  "leadership_crashed",
  "restore_refused",
  "epoch_refused",
  "http_handler_failed",
]);

export interface MemberLogs {
  /** By time, in milliseconds of the run. */
  readonly events: readonly MemberEvent[];
  /** Lines that are no events, with the name of the log. */
  readonly others: readonly string[];
  readonly violations: readonly Violation[];
}

/** Reads the logs of all members. */
export function readMemberLogs(directory: string, wallAtZeroMs: number): MemberLogs {
  const events: MemberEvent[] = [];
  const others: string[] = [];
  const violations: Violation[] = [];
  for (const name of readdirSync(directory)) {
    for (const line of readFileSync(join(directory, name), "utf8").split("\n")) {
      const event = parseLine(line);
      if (event === undefined) {
        if (line.trim() !== "") others.push(`${name}: ${line}`);
        continue;
      }
      events.push({ ...event, atMs: event.atMs - wallAtZeroMs });
      // Who goes away makes handlers fail that read from him: nobody's mistake.
      if (NEVER.has(event.event) && event.level !== "debug")
        violations.push({ rule: `a member logs ${event.event}`, promise: "P7", text: `${name}: ${line}` });
    }
  }
  events.sort((a, b) => a.atMs - b.atMs);
  return { events, others, violations };
}

function parseLine(line: string): MemberEvent | undefined {
  try {
    const event = JSON.parse(line) as MemberEvent;
    return typeof event.event === "string" ? event : undefined;
  } catch {
    return undefined;
  }
}

/** Events from the beginning of a fault until so long after its end are taken to follow from it. */
const AFTER_MS = 3000;

/** How often each recovery followed a fault of this name. Faults overlap, so one event may count for several. */
export function recoveriesAfter(faults: readonly FaultRecord[], events: readonly MemberEvent[]): number[] {
  const following = events.filter(({ atMs }) =>
    faults.some(({ beganAtMs, endedAtMs }) => atMs >= beganAtMs && atMs <= endedAtMs + AFTER_MS),
  );
  return Object.values(RECOVERIES).map((isOne) => following.filter(isOne).length);
}
