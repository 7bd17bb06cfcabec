/** `lbc sql`: reads the database as of any point. */
import type { Command } from "commander";
import type { PastDb } from "../../history/past.ts";
import { type OpenCluster, openCluster } from "../cluster.ts";
import { type CliContext, withProgress } from "../context.ts";
import { usageError } from "../failure.ts";
import { addCsvOption, POINT_HELP, pointOf, rowFormatOf } from "../options.ts";
import { runStatement } from "../sql/run.ts";
import { runShell } from "../sql/shell.ts";
import { splitSql } from "../sql/split.ts";

export function addSql(program: Command, context: CliContext): void {
  const command = program
    .command("sql")
    .description("read the database as of any point; without SQL, a shell on a terminal, else SQL from standard input")
    .argument("[sql]", "one or more statements")
    .option("--at <point>", POINT_HELP, "newest");
  addCsvOption(command).action((sql: string | undefined, { at }: { at: string }, self: Command) =>
    read(context, self, sql, at),
  );
}

async function read(context: CliContext, command: Command, sql: string | undefined, at: string): Promise<void> {
  const { stdin } = context;
  const isShell = sql === undefined && stdin.isTerminal;
  const statements = isShell ? [] : statementsOf(sql ?? (await stdin.readAll()));
  const { cluster } = await openCluster(context, command);
  const format = rowFormatOf(command);
  const db = await openAt(context, cluster, at, context.signal);
  if (isShell) {
    const open = (point: string, signal: AbortSignal) => openAt(context, cluster, point, signal);
    return await runShell({ context, id: cluster.id, format, open }, db);
  }
  try {
    for (const statement of statements) await runStatement(context, db, statement, format);
  } finally {
    db.close();
  }
}

/** The last one may go without its semicolon. */
function statementsOf(sql: string): readonly string[] {
  const { statements, rest } = splitSql(sql);
  const all = rest === "" ? statements : [...statements, rest];
  if (all.length === 0) throw usageError("there is no SQL: give it as an argument or on standard input");
  return all;
}

async function openAt(
  context: CliContext,
  cluster: OpenCluster["cluster"],
  text: string,
  signal: AbortSignal,
): Promise<PastDb> {
  const point = await pointOf(text, cluster, signal);
  return await withProgress(context, "reading the database", ({ onProgress }) =>
    cluster.openAt(point, { signal, onProgress }),
  );
}
