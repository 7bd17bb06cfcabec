import type { Outcome } from "./operation.ts";

/** What a register holds; `null` before anything was written. Compared with `===`. */
export type RegisterValue = string | number | null;

interface RegisterOperationBase {
  /** Who asked: for explanations only. */
  readonly client: string;
  /** Registers are independent of each other, so each is judged for itself (locality). */
  readonly register: string;
  /** By one clock for all clients, in milliseconds. What touches in the same millisecond counts as concurrent. */
  readonly invokedAtMs: number;
  /** `Infinity` if there was no answer. */
  readonly endedAtMs: number;
  /** `unknown`: it may have taken effect at any time after it was invoked, also long after it ended, or never. */
  readonly outcome: Outcome;
}

/** An operation on one register. */
export type RegisterOperation =
  | (RegisterOperationBase & { readonly type: "write"; readonly value: RegisterValue })
  | (RegisterOperationBase & {
      readonly type: "read";
      /** Of an answered one. */
      readonly value: RegisterValue | undefined;
    })
  | (RegisterOperationBase & {
      readonly type: "cas";
      readonly expected: RegisterValue;
      readonly value: RegisterValue;
      /** Of an answered one: false if the register held something else. */
      readonly swapped: boolean | undefined;
    });
