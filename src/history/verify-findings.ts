/** What a drill has found so far. */
import type { Log } from "../base/log.ts";
import { ClusterError } from "../errors.ts";
import type { Finding } from "./verify-report.ts";

/** Beyond so many it is no list for anybody to read. */
export const FINDINGS_MAX = 10_000;

export class Findings {
  readonly #log: Log;
  readonly #findings: Finding[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  get all(): readonly Finding[] {
    return this.#findings;
  }

  /** Something that may cost points in time, and cannot be made good. */
  damage(object: string, problem: Finding["problem"], reason: string): void {
    this.add({ object, problem, reason, repair: "impossible", isHarmless: false });
  }

  /** Something that nobody needs, or does without. */
  comfort(object: string, problem: Finding["problem"], reason: string, repair: Finding["repair"] = "unneeded"): void {
    this.add({ object, problem, reason, repair, isHarmless: true });
  }

  /** @throws ClusterError `corrupt`/`too_many_findings` */
  add(finding: Finding): void {
    this.#findings.push(finding);
    const { object, problem, reason, repair } = finding;
    this.#log({ level: "warn", event: "history_problem", object, problem, reason, repair });
    if (this.#findings.length <= FINDINGS_MAX) return;
    const [first] = this.#findings;
    throw new ClusterError(
      "corrupt",
      "too_many_findings",
      `gave up after ${FINDINGS_MAX} findings; the first: ${first?.object}: ${first?.reason}`,
      { findings: FINDINGS_MAX },
    );
  }
}
