/**
 * Looks for an order of what was done to registers. A rollback sets them back, which is nothing that a register does: so
 * between two of them there is a search of its own, which begins with what the rollback left.
 */
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
  /** Searches that were given up. */
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
  const starts = [timeline.earliestEpoch ?? 0, ...(timeline.rollbacks?.keys() ?? [])].sort((a, b) => a - b);
  const stretches = starts.map(() => new Map<string, RegisterOperation[]>());
  for (const at of operations) {
    const epoch = "id" in at ? timeline.epochsOf(at.id)[0] : at.epoch;
    // What the history does not hold has never happened: the search need not guess, and who saw it has no order.
    if (epoch === undefined) continue;
    const stretch = stretches[starts.findLastIndex((start) => start <= epoch)];
    const { register } = at.operation;
    const ofRegister = stretch?.get(register);
    if (ofRegister === undefined) stretch?.set(register, [at.operation]);
    else ofRegister.push(at.operation);
  }
  const violations: Violation[] = [];
  let undecided = 0;
  for (const [index, stretch] of stretches.entries()) {
    const first = valuesAfter(timeline.idsAt(starts[index] as number), workOf);
    for (const [register, ofRegister] of stretch) {
      const result = checkLinearizable(ofRegister, { stepsMax, initial: first.get(Number(register)) ?? null });
      if (result.verdict === "undecided") undecided++;
      if (result.verdict === "violated")
        violations.push({ promise: "P1, P2", rule: "registers are not linearizable", text: result.text });
    }
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
