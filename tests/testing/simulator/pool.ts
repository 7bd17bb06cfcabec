import { SqlitePool } from "../../../src/testing/mod.ts";

/** Filled once for all tests of a file: instances are used again. */
export async function filledPool(count: number): Promise<SqlitePool> {
  const pool = new SqlitePool();
  await pool.fill(count);
  return pool;
}
