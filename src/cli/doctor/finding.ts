/** What `lbc doctor` finds out about a store, as plain data. */
import type { RequestCounts } from "../../store/metered-store.ts";

/**
 * | verdict | meaning |
 * |---|---|
 * | `ok` | as a cluster needs it |
 * | `info` | something to know; nothing depends on it |
 * | `warning` | a cluster works, but slower, dearer or with less comfort |
 * | `bad` | do not put a cluster here |
 */
export type Verdict = "ok" | "info" | "warning" | "bad";

/** What is looked at, in this order. */
export type CheckName =
  | "provider"
  | "access"
  | "create_race"
  | "read_after_write"
  | "list"
  | "parts"
  | "clock"
  | "latency"
  | "cost"
  | "cleanup";

/** One thing found out. */
export interface DoctorFinding {
  readonly check: CheckName;
  readonly verdict: Verdict;
  /** What was measured, in words. */
  readonly found: string;
  /** What that means for a cluster; there if the verdict is a warning or bad. */
  readonly meaning?: string | undefined;
  /** What to do about it; there if the verdict is a warning or bad. */
  readonly advice?: string | undefined;
  /** What was measured, as values: units are in the names. */
  readonly measured: Readonly<Record<string, unknown>>;
}

/** Everything that was found out, and what finding it out took. */
export interface DoctorReport {
  /** URL of the store. */
  readonly store: string;
  /** The worst of the findings. */
  readonly verdict: Verdict;
  readonly findings: readonly DoctorFinding[];
  /** Requests that the doctor itself made, without those of uploads in parts. */
  readonly requests: RequestCounts;
}

const VERDICTS: readonly Verdict[] = ["ok", "info", "warning", "bad"];

/** The worst of the verdicts; what is only good to know makes nothing worse. */
export function worstVerdict(findings: readonly DoctorFinding[]): Verdict {
  const worst = Math.max(0, ...findings.map(({ verdict }) => VERDICTS.indexOf(verdict)));
  const verdict = VERDICTS[worst] ?? "ok";
  return verdict === "info" ? "ok" : verdict;
}
