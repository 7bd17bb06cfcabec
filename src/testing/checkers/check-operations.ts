import { Evidence, type Rule } from "./evidence.ts";
import type { Operation, Timeline, Violation } from "./operation.ts";
import { READ_RULES } from "./read-rules.ts";
import { WRITE_RULES } from "./write-rules.ts";

/** One broken rule usually breaks for thousands of operations; the first few say what is wrong. */
export const VIOLATIONS_PER_RULE_MAX = 20;

const RULES: readonly Rule[] = [...WRITE_RULES, ...READ_RULES];

/**
 * Holds what clients asked for and were told against what the history in the store says afterwards.
 *
 * | | rules |
 * |---|---|
 * | of a write | acknowledged: there, once, at that epoch; refused: not there; unknown: once at the most |
 * | of the history | nothing that nobody asked for; nothing vanishes but by a rollback; entries in the order of their epochs, and that in real time |
 * | of a read | exactly the log of its epoch; as fresh as asked for; a node never goes back |
 *
 * Together they say that the cluster is strictly serializable, and that acknowledged writes can be read back: a write is
 * in its epoch, a read of that epoch or a later one shows it, and the level asked for says which epoch that is.
 *
 * Takes near-linear time in the operations, and in the length of what reads showed. Each rule tells at most
 * `VIOLATIONS_PER_RULE_MAX` violations.
 *
 * @param operations each client's in the order in which it made them
 * @throws Error if the evidence contradicts itself: an id twice, an answer without epoch, an end before the beginning
 *
 * @example
 * ```ts
 * const violations = checkOperations(operations, timeline);
 * for (const { rule, promise, text } of violations) console.error(`${promise}: ${rule}: ${text}`);
 * ```
 */
export function checkOperations(operations: readonly Operation[], timeline: Timeline): Violation[] {
  const evidence = new Evidence(operations, timeline);
  return RULES.flatMap((rule) => violationsOf(rule, evidence));
}

function violationsOf(rule: Rule, evidence: Evidence): Violation[] {
  const violations: Violation[] = [];
  for (const text of rule.check(evidence)) {
    violations.push({ rule: rule.name, promise: rule.promise, text });
    if (violations.length === VIOLATIONS_PER_RULE_MAX) break;
  }
  return violations;
}
