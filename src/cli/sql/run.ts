/** Runs SQL statements on a database of the past and prints what they give. */
import type { Db } from "../../sqlite/reader.ts";
import type { CliContext } from "../context.ts";
import { printRows, type RowFormat } from "../output.ts";

/** What one statement gave. */
export interface StatementResult {
  readonly rows: number;
  readonly elapsedMs: number;
}

/**
 * Runs one statement and prints its rows, under the names of its columns.
 *
 * @param apart runs what cannot be interrupted
 */
export async function runStatement(
  context: CliContext,
  db: Db,
  sql: string,
  format: RowFormat,
  apart: <T>(work: () => T) => T = (work) => work(),
): Promise<StatementResult> {
  const beganMs = performance.now();
  const columns = db.columns(sql);
  const rows = await context.interruptibly(() => apart(() => db.values(sql)));
  const elapsedMs = performance.now() - beganMs;
  if (columns.length > 0) await printRows(context.stdout, format, columns, rows);
  return { rows: rows.length, elapsedMs };
}
