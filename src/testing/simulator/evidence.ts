/** What clients of a simulation leave behind: what they asked for, and what they were told. */
import type { Rollback } from "../../node/rollback.ts";
import type { Operation, Outcome, WriteOperation } from "../checkers/operation.ts";
import type { RegisterOperation } from "../checkers/register-operation.ts";
import type { ReadingAt } from "../workloads/check-readings.ts";
import type { RegisterOperationAt } from "../workloads/check-registers.ts";
import type { Work } from "../workloads/workload.ts";
import { type ClientWork, loggedWork, type Written } from "./client-app.ts";

/** What a client asked for. */
export interface AskedWrite {
  readonly client: string;
  readonly id: string;
  readonly invokedAtMs: number;
  readonly work: ClientWork;
}

/** What it was told. */
export interface Answer extends Partial<Written> {
  readonly outcome: Outcome;
  readonly endedAtMs: number;
}

export class Evidence {
  readonly operations: Operation[] = [];
  readonly registers: RegisterOperationAt[] = [];
  readonly readings: ReadingAt[] = [];
  readonly works: Map<string, Work> = new Map();
  /** Those that were acknowledged. */
  readonly rollbacks: Rollback[] = [];

  /** Gives what notes its answer, and what corrects that when one comes after all to a client that did not wait. */
  write(asked: AskedWrite): { note(answer: Answer): void; correct(answer: Answer): void } {
    const { work, id, client } = asked;
    this.works.set(id, loggedWork(work));
    const places = { operation: -1, register: -1 };
    const put = (by: string, answer: Answer) => {
      const operation = writeOperation({ ...asked, client: by }, answer);
      if (places.operation < 0) places.operation = this.operations.length;
      this.operations[places.operation] = operation;
      if (work.kind !== "swap") return;
      if (places.register < 0) places.register = this.registers.length;
      this.registers[places.register] = { id, operation: registerWrite(operation, work, answer.swapped) };
    };
    return {
      note: (answer) => put(client, answer),
      // Meanwhile the client has done other things.
      correct: (answer) => put(`${client}, late ${id}`, answer),
    };
  }
}

function writeOperation({ client, id, invokedAtMs }: AskedWrite, answer: Answer): WriteOperation {
  const { outcome, endedAtMs, node, epoch } = answer;
  return { type: "write", client, id, node, invokedAtMs, endedAtMs, outcome, epoch };
}

function registerWrite(
  { client, invokedAtMs, endedAtMs, outcome, id: value }: WriteOperation,
  { register, expected }: Extract<Work, { kind: "swap" }>,
  swapped: boolean | undefined,
): RegisterOperation {
  const base = { client, register: String(register), invokedAtMs, endedAtMs, outcome, value };
  return expected === undefined ? { ...base, type: "write" } : { ...base, type: "cas", expected, swapped };
}
