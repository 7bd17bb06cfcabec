/** What clients of a checked run do to the database: functions that run inside `node.transaction` and `node.db`. */
import type { Random } from "../../base/random.ts";
import type { Reads } from "../../sqlite/reader.ts";
import type { Transaction } from "../../sqlite/writer.ts";
import { ACCOUNT_COUNT, createAccounts, readBalances, type Transfer, transfer } from "./bank.ts";
import { appendToLog, createCheckLog, type LogReading, readLog } from "./check-log.ts";
import { appendToList, createLists, LIST_COUNT, type ListReading, readList } from "./list-append.ts";
import { createRegisters, type RegisterReading, readRegister, type Swap, swapRegister } from "./registers.ts";

/** What a write does besides adding its id to the log. */
export type Work =
  | { readonly kind: "log" }
  | { readonly kind: "append"; readonly list: number }
  /** To its own id. */
  | ({ readonly kind: "swap" } & Swap)
  | ({ readonly kind: "transfer" } & Transfer)
  /** Everything of another work, and then it throws: nothing of it may ever be seen. */
  | { readonly kind: "abort" };

/** Thrown by a write that is to be rolled back. */
export class AbortedWrite extends Error {
  override readonly name = "AbortedWrite";
}

/** What one read transaction showed. */
export interface Reading {
  readonly log: LogReading;
  readonly list: ListReading;
  readonly balances: readonly number[];
  readonly register: RegisterReading;
}

/** What a reading looks at. */
export interface ReadChoice {
  readonly list: number;
  readonly register: number;
  /** Of the newest entries of log and list at most so many. */
  readonly tailMax: number;
}

export function createWorkload(tx: Transaction): void {
  createCheckLog(tx);
  createLists(tx);
  createAccounts(tx);
  createRegisters(tx);
}

const AMOUNT_MAX = 60;
/** Of works that are not drawn: transfers. */
const SHARES = { log: 0.1, abort: 0.05, append: 0.35, swap: 0.2 } as const;
const BLIND_SHARE = 0.6;

/**
 * The next write's work.
 *
 * @param seen a register, and what the client last saw in it
 */
export function pickWork(random: Random, seen: RegisterReading): Work {
  let choice = random.fraction();
  const isIn = (share: number) => {
    choice -= share;
    return choice < 0;
  };
  const below = (count: number) => Math.floor(random.fraction() * count);
  if (isIn(SHARES.log)) return { kind: "log" };
  if (isIn(SHARES.abort)) return { kind: "abort" };
  if (isIn(SHARES.append)) return { kind: "append", list: below(LIST_COUNT) };
  if (isIn(SHARES.swap)) {
    const expected = random.fraction() < BLIND_SHARE ? undefined : seen.value;
    return { kind: "swap", register: seen.register, expected };
  }
  const from = below(ACCOUNT_COUNT);
  const to = (from + 1 + below(ACCOUNT_COUNT - 1)) % ACCOUNT_COUNT;
  return { kind: "transfer", from, to, amount: 1 + below(AMOUNT_MAX) };
}

/**
 * Does it, inside a transaction.
 *
 * @throws AbortedWrite for the kind that is to; see {@link appendToLog}
 * @returns of a swap, whether it was done
 */
export function runWork(tx: Transaction, id: string, work: Work): boolean | undefined {
  appendToLog(tx, id);
  switch (work.kind) {
    case "log":
      return undefined;
    case "append":
      appendToList(tx, work.list, id);
      return undefined;
    case "swap":
      return swapRegister(tx, work, id);
    case "transfer":
      transfer(tx, work);
      return undefined;
    case "abort":
      appendToList(tx, 0, id);
      transfer(tx, { from: 0, to: 1, amount: 1 });
      throw new AbortedWrite("to be rolled back");
  }
}

/** Everything that a reading shows: inside `db.snapshot`, so that it is of one state. */
export function readWorkload(reads: Reads, { list, register, tailMax }: ReadChoice): Reading {
  return {
    log: readLog(reads, tailMax),
    list: readList(reads, list, tailMax),
    balances: readBalances(reads),
    register: readRegister(reads, register),
  };
}
