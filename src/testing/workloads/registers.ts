/** Registers that writes set, blindly or only if they hold what the client has seen: what a search for an order is made for. */
import type { Reads } from "../../sqlite/reader.ts";
import type { Transaction } from "../../sqlite/writer.ts";

const TABLE = "lbc_check_registers";

/** A register and what it held; `null` before anything was written. */
export interface RegisterReading {
  readonly register: number;
  readonly value: string | null;
}

export interface Swap {
  readonly register: number;
  /** What it must hold; `undefined`: whatever. */
  readonly expected: string | null | undefined;
}

export function createRegisters(tx: Transaction): void {
  tx.exec(`CREATE TABLE ${TABLE} (register INTEGER PRIMARY KEY, value TEXT NOT NULL)`);
}

export function readRegister(reads: Reads, register: number): RegisterReading {
  const row = reads.get<{ value: string }>(`SELECT value FROM ${TABLE} WHERE register = ?`, [register]);
  return { register, value: row?.value ?? null };
}

/** @returns whether it holds `value` now */
export function swapRegister(tx: Transaction, { register, expected }: Swap, value: string): boolean {
  if (expected !== undefined && readRegister(tx, register).value !== expected) return false;
  tx.run(`INSERT INTO ${TABLE} VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`, [register, value]);
  return true;
}

/** The same to registers by number; one that holds nothing is not there. */
export function swapInModel(values: Map<number, string>, { register, expected }: Swap, value: string): void {
  if (expected === undefined || expected === (values.get(register) ?? null)) values.set(register, value);
}
