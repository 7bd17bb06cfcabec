import { explain } from "./linearizable-explanation.ts";
import type { RegisterOperation, RegisterValue } from "./register-operation.ts";
import { RegisterSearch } from "./register-search.ts";

export type { RegisterOperation, RegisterValue } from "./register-operation.ts";

/** What a check found. */
export type LinearizabilityResult =
  | { readonly verdict: "linearizable" }
  | {
      readonly verdict: "violated";
      readonly register: string;
      /** Operations that have no order: as few as the limits allow to find. */
      readonly operations: readonly RegisterOperation[];
      /** The same for people, one operation a line. */
      readonly text: string;
    }
  | {
      /** A limit was reached first. */
      readonly verdict: "undecided";
      readonly register: string;
      readonly reason: string;
    };

/** Limits of one check. */
export interface LinearizabilityLimits {
  /** Of one register. *Default* 20 000. */
  readonly operationsMax?: number;
  /** Placed operations in the search of one register, also of one that did not help. *Default* 1 000 000. */
  readonly stepsMax?: number;
  /** What registers hold at first, all of them or each. *Default* `null`. */
  readonly initial?: RegisterValue | ((register: string) => RegisterValue);
}

const OPERATIONS_MAX = 20_000;
const STEPS_MAX = 1_000_000;

/**
 * Is there an order of these operations in which each takes effect at one moment between its invocation and its answer, and
 * every answer is that of a register?
 *
 * The search is that of J. M. Wing and C. Gong, "Testing and verifying concurrent objects" (1993), with the memory of
 * states by G. Lowe, "Testing for linearizability" (2017), as Knossos and Porcupine (A. Athalye,
 * https://github.com/anishathalye/porcupine) use it. The problem is NP-complete; with few clients and few operations of
 * unknown outcome it takes a step or two for each operation. Beyond the limits the answer is "undecided", never a guess.
 *
 * @throws Error if an answered read has no value, or an answered cas does not say whether it swapped
 * @returns the first violation, else the first register that is undecided, else `linearizable`
 *
 * @example
 * ```ts
 * const result = checkLinearizable(operations);
 * if (result.verdict === "violated") console.error(result.text);
 * ```
 */
export function checkLinearizable(
  operations: readonly RegisterOperation[],
  limits: LinearizabilityLimits = {},
): LinearizabilityResult {
  const { operationsMax = OPERATIONS_MAX, stepsMax = STEPS_MAX, initial = null } = limits;
  const byRegister = new Map<string, RegisterOperation[]>();
  for (const operation of operations) {
    const ofRegister = byRegister.get(operation.register);
    if (ofRegister === undefined) byRegister.set(operation.register, [operation]);
    else ofRegister.push(operation);
  }
  let undecided: LinearizabilityResult | undefined;
  for (const [register, ofRegister] of byRegister) {
    const value = typeof initial === "function" ? initial(register) : initial;
    const result = checkRegister(register, ofRegister, { operationsMax, stepsMax, initial: value });
    if (result.verdict === "violated") return result;
    if (result.verdict === "undecided") undecided ??= result;
  }
  return undecided ?? { verdict: "linearizable" };
}

function checkRegister(
  register: string,
  operations: readonly RegisterOperation[],
  { operationsMax, stepsMax, initial }: Required<LinearizabilityLimits> & { readonly initial: RegisterValue },
): LinearizabilityResult {
  if (operations.length > operationsMax)
    return {
      verdict: "undecided",
      register,
      reason: `${operations.length} operations are more than ${operationsMax}`,
    };
  for (const operation of operations) requireAnswer(operation);
  const found = new RegisterSearch(operations, initial).run(stepsMax);
  if (found === "linearizable") return { verdict: "linearizable" };
  if (found === "undecided") return { verdict: "undecided", register, reason: `no answer after ${stepsMax} steps` };
  return { verdict: "violated", register, ...explain(operations, initial, stepsMax) };
}

function requireAnswer(operation: RegisterOperation): void {
  if (operation.outcome !== "ok" || operation.type === "write") return;
  const isAnswered = operation.type === "read" ? operation.value !== undefined : operation.swapped !== undefined;
  if (!isAnswered) throw new Error(`the evidence is not usable: a ${operation.type} was answered with nothing`);
}
