/** Judges of evidence: what clients asked for, what they were told, and what the history says. */
export { checkOperations, VIOLATIONS_PER_RULE_MAX } from "./check-operations.ts";
export {
  checkLinearizable,
  type LinearizabilityLimits,
  type LinearizabilityResult,
} from "./linearizable.ts";
export type {
  Operation,
  Outcome,
  ReadLevel,
  ReadOperation,
  Timeline,
  Violation,
  WriteOperation,
} from "./operation.ts";
export type { RegisterOperation, RegisterValue } from "./register-operation.ts";
