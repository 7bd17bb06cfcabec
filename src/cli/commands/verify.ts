/** `lbc verify`: whether everything in the store can be restored. */
import type { Command } from "commander";
import type { EpochSpan, Finding, VerifyReport } from "../../history/verify-report.ts";
import { openCluster } from "../cluster.ts";
import { type CliContext, globalOptions, withProgress } from "../context.ts";
import { EXIT } from "../exit-codes.ts";
import { POINT_HELP, pointOf } from "../options.ts";
import { printJson, printRecord, printRows } from "../output.ts";
import { bytesText, countText, durationText } from "../text.ts";

const COLUMNS = ["object", "problem", "repair", "reason"];

interface VerifyOptions {
  readonly from?: string;
  readonly repair?: boolean;
}

export function addVerify(program: Command, context: CliContext): void {
  program
    .command("verify")
    .description("read the whole history, check every object and every state, and say what is damaged")
    .option("--from <point>", `from there on; default: everything. ${POINT_HELP}`)
    .option("--repair", "rebuild damaged snapshots and packs from the others")
    .addHelpText("after", `\nThe exit code is ${EXIT.problems} if something is wrong that was not repaired.`)
    .action((options: VerifyOptions, command: Command) => verify(context, command, options));
}

async function verify(context: CliContext, command: Command, options: VerifyOptions): Promise<void> {
  const { cluster } = await openCluster(context, command);
  const from = options.from === undefined ? {} : { from: await pointOf(options.from, cluster, context.signal) };
  const repair = options.repair === true;
  const report = await withProgress(context, "verifying", (long) => cluster.verify({ ...long, ...from, repair }));
  if (globalOptions(command).json) await printJson(context, report);
  else await print(context, report);
  if (!isSound(report)) context.exitCode = EXIT.problems;
}

function isSound({ isRestorable, findings }: VerifyReport): boolean {
  return isRestorable && findings.every(({ repair }) => repair === "repaired" || repair === "unneeded");
}

async function print(context: CliContext, report: VerifyReport): Promise<void> {
  const { findings, lost, integrity, from, to, objects, bytes, elapsedMs } = report;
  if (findings.length > 0) await printRows(context.stdout, "table", COLUMNS, findings.map(rowOf));
  const rate = bytesText(bytes / Math.max(0.001, elapsedMs / 1000));
  await printRecord(context, [
    ["epochs", `${from} to ${to}`],
    ["read", `${countText(objects, "object")}, ${bytesText(bytes)} in ${durationText(elapsedMs)}, ${rate}/s`],
    ["findings", String(findings.length)],
    ["integrity", integrity === undefined ? "not checked" : integrity === "ok" ? "ok" : integrity.join("; ")],
    ["lost epochs", lost.length === 0 ? "none" : lost.map(spanText).join(", ")],
    ["verdict", verdictOf(report)],
  ]);
}

function rowOf({ object, problem, repair, reason }: Finding): string[] {
  return [object, problem, repair, reason];
}

function spanText({ first, last }: EpochSpan): string {
  return first === last ? String(first) : `${first} to ${last}`;
}

function verdictOf(report: VerifyReport): string {
  if (!report.isRestorable) return "not everything can be restored";
  if (isSound(report)) return "everything can be restored";
  const isRepairable = report.findings.some(({ repair }) => repair === "repairable");
  return `everything can be restored, but something is damaged${isRepairable ? ": repair it with lbc verify --repair" : ""}`;
}
