/**
 * Looks for an order of what was done to registers. A rollback sets them back, which is nothing that a register does: so
 * between two of them there is a search of its own, which begins with what the rollback left.
 */
import { stretchesOf } from "../checkers/evidence.ts";
import { checkLinearizable } from "../checkers/linearizable.ts";
import type { Timeline, Violation } from "../checkers/operation.ts";
import type { RegisterOperation } from "../checkers/register-operation.ts";
import { swapInModel } from "./registers.ts";
import type { Work } from "./workload.ts";

/** An operation, and where it stands in the history: the id of a write, or the epoch that a read showed. */
export type RegisterOperationAt =
  | { readonly operation: RegisterOperation; readonly id: string }
  | { readonly operation: RegisterOperation; readonly epoch: number };

export interface RegistersResult {
  readonly violations: readonly Violation[];
  /** Searches between two rollbacks that were given up. */
  readonly undecided: number;
}

/**
 * @param workOf the work of each id
 * @param stepsMax of each search
 */
export function checkRegisters(
  operations: readonly RegisterOperationAt[],
  timeline: Timeline,
  workOf: (id: string) => Work | undefined,
  stepsMax: number,
): RegistersResult {
  const stretches = stretchesOf(timeline).map((stretch) => ({ ...stretch, operations: [] as RegisterOperation[] }));
  for (const at of operations) {
    const epoch = "id" in at ? timeline.epochsOf(at.id)[0] : at.epoch;
    // What the history does not hold has never happened: the search need not guess, and who saw it has no order.
    if (epoch === undefined) continue;
    stretches.findLast(({ from }) => from <= epoch)?.operations.push(at.operation);
  }
  const violations: Violation[] = [];
  let undecided = 0;
  for (const stretch of stretches) {
    const first = valuesAfter(timeline.idsAt(stretch.from), workOf);
    const initial = (register: string) => first.get(Number(register)) ?? null;
    const result = checkLinearizable(stretch.operations, { stepsMax, initial });
    if (result.verdict === "undecided") undecided++;
    if (result.verdict === "violated")
      violations.push({ promise: "P1, P2", rule: "registers are not linearizable", text: result.text });
  }
  return { violations, undecided };
}

/** What registers hold after the writes of a log. */
export function valuesAfter(
  ids: readonly string[],
  workOf: (id: string) => Work | undefined,
): ReadonlyMap<number, string> {
  const values = new Map<number, string>();
  for (const id of ids) {
    const work = workOf(id);
    if (work?.kind === "swap") swapInModel(values, work, id);
  }
  return values;
}
