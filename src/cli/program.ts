/** The commands of `lbc` and what they have in common. */
import { Command, CommanderError } from "commander";
import { VERSION } from "../version.ts";
import { addExport } from "./commands/export.ts";
import { addFork } from "./commands/fork.ts";
import { addInit } from "./commands/init.ts";
import { addLog } from "./commands/log.ts";
import { addMembers } from "./commands/members.ts";
import { addRollback } from "./commands/rollback.ts";
import { addSql } from "./commands/sql.ts";
import { addStatus } from "./commands/status.ts";
import { addVacuum } from "./commands/vacuum.ts";
import { addVerify } from "./commands/verify.ts";
import type { CliContext } from "./context.ts";
import { addDoctor } from "./doctor/command.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { reportFailure } from "./failure.ts";

const HELP = `
Stores:
  file:///directory, ./directory     a directory
  s3://bucket/prefix?endpoint=…&region=…&pathStyle=true
                                     a bucket; keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY

Points: an epoch (42), a time (2026-11-20T12:00:00Z), how long ago ("5m ago"), newest, earliest

Environment:
  LBC_STORE    the store, where --store is not given
  LBC_SECRET   the cluster's secret, where it has none of its own
  NO_COLOR     no colours

Exit codes:
  ${EXIT.ok}    it is done            ${EXIT.notFound}    no cluster there, or no such point in its history
  ${EXIT.failed}    it failed             ${EXIT.unavailable}    the store or the leader cannot serve now: try again
  ${EXIT.usage}    wrong command line    ${EXIT.outcomeUnknown}    it may or may not have happened: look
  ${EXIT.problems}    verify or doctor found problems
  ${EXIT.interrupted}  Ctrl-C                ${EXIT.terminated}  SIGTERM`;

/** Runs the command line; gives what the process ends with. Never rejects. */
export async function run(context: CliContext, args: readonly string[]): Promise<ExitCode> {
  try {
    await createProgram(context).parseAsync(args, { from: "user" });
    // What is over before the signal was looked at ends like what was interrupted.
    context.signal.throwIfAborted();
    return context.exitCode;
  } catch (error) {
    // Without a command the help was shown already.
    if (error instanceof CommanderError && error.code === "commander.help")
      return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return await reportFailure(context, error, args.includes("--json"));
  }
}

function createProgram(context: CliContext): Command {
  const { stdout, stderr } = context;
  const program = new Command("lbc")
    .description("Looks after a cluster of littlebigcluster: its history, its members, its store.")
    .version(VERSION, "-V, --version", "the version")
    .option("-s, --store <url>", "where the cluster is; LBC_STORE by default")
    .option("--id <name>", "the cluster's name; read from the store by default")
    .option("--json", "one JSON document on standard output; errors as JSON on standard error")
    .helpOption("-h, --help", "help for a command")
    .helpCommand("help [command]", "help for a command")
    .addHelpText("after", HELP)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void stdout.write(text).catch(() => {}),
      writeErr: (text) => void stderr.write(text).catch(() => {}),
      getOutHelpWidth: () => stdout.columns,
      getErrHelpWidth: () => stderr.columns,
      getOutHasColors: () => stdout.isTerminal,
      getErrHasColors: () => stderr.isTerminal,
      // Told by reportFailure.
      outputError: () => {},
    });
  const add = [addInit, addStatus, addMembers, addLog, addSql, addExport, addRollback, addFork, addVerify, addVacuum];
  for (const addCommand of [...add, addDoctor]) addCommand(program, context);
  return program;
}
