/** Accounts between which money moves: the sum is always the same, and no balance is below zero. */
import type { Reads } from "../../sqlite/reader.ts";
import type { Transaction } from "../../sqlite/writer.ts";

const TABLE = "lbc_check_accounts";
export const ACCOUNT_COUNT = 6;
export const FIRST_BALANCE = 100;

export interface Transfer {
  readonly from: number;
  readonly to: number;
  /** At most; what is there. */
  readonly amount: number;
}

/** The balances of a new bank, by account. */
export function firstBalances(): number[] {
  return Array.from({ length: ACCOUNT_COUNT }, () => FIRST_BALANCE);
}

export function createAccounts(tx: Transaction): void {
  tx.exec(`CREATE TABLE ${TABLE} (account INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0))`);
  for (const [account, balance] of firstBalances().entries())
    tx.run(`INSERT INTO ${TABLE} VALUES (?, ?)`, [account, balance]);
}

/** In two statements, so that a state between them would show. */
export function transfer(tx: Transaction, { from, to, amount }: Transfer): void {
  const found = tx.get<{ balance: number }>(`SELECT balance FROM ${TABLE} WHERE account = ?`, [from]);
  const moved = Math.min(amount, found?.balance ?? 0);
  tx.run(`UPDATE ${TABLE} SET balance = balance - ? WHERE account = ?`, [moved, from]);
  tx.run(`UPDATE ${TABLE} SET balance = balance + ? WHERE account = ?`, [moved, to]);
}

/** The same to a list of balances. */
export function transferInModel(balances: number[], { from, to, amount }: Transfer): void {
  const moved = Math.min(amount, balances[from] ?? 0);
  balances[from] = (balances[from] ?? 0) - moved;
  balances[to] = (balances[to] ?? 0) + moved;
}

export function readBalances(reads: Reads): number[] {
  return reads.values<[number]>(`SELECT balance FROM ${TABLE} ORDER BY account`).map(([balance]) => balance);
}
