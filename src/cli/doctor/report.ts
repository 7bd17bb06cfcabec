/** Findings as text: a table on a terminal, a paragraph each elsewhere. */
import Table from "cli-table3";
import type { Colors, TextOutput } from "../context.ts";
import { bytesText, countText, printable } from "../text.ts";
import type { CheckName, DoctorFinding, DoctorReport, Verdict } from "./finding.ts";

/** Narrower terminals get a table that is wider than they are. */
const TEXT_COLUMNS_MIN = 30;
/** Lines and padding of a table with three columns. */
const FRAME_COLUMNS = 10;

const NAMES: Readonly<Record<CheckName, string>> = {
  provider: "provider",
  access: "access",
  create_race: "create race",
  read_after_write: "read after write",
  list: "list",
  parts: "upload in parts",
  clock: "clock",
  latency: "latency",
  cost: "cost",
  cleanup: "cleaning up",
};

const VERDICT_WIDTH = "warning".length;
const NAME_WIDTH: number = Math.max(...Object.values(NAMES).map((name) => name.length));

/** What people call the check. */
export function checkText(check: CheckName): string {
  return NAMES[check];
}

/** All of it, with a last line that answers the question. */
export function reportText(report: DoctorReport, output: TextOutput): string {
  const findings = output.isTerminal ? tableText(report, output) : plainText(report);
  return `${findings}\n${answerText(report, output.colors)}\n`;
}

function tableText({ findings }: DoctorReport, { colors, columns }: TextOutput): string {
  const textWidth = Math.max(TEXT_COLUMNS_MIN, columns - VERDICT_WIDTH - NAME_WIDTH - FRAME_COLUMNS);
  const table = new Table({
    style: { head: [], border: [] },
    wordWrap: true,
    colWidths: [VERDICT_WIDTH + 2, NAME_WIDTH + 2, textWidth + 2],
  });
  for (const finding of findings) {
    const { verdict, check } = finding;
    table.push([verdictText(verdict, colors), NAMES[check], linesOf(finding).join("\n")]);
  }
  return table.toString();
}

function plainText({ findings }: DoctorReport): string {
  const indent = `\n${" ".repeat(VERDICT_WIDTH + NAME_WIDTH + 4)}`;
  const texts = findings.map((finding) => {
    const { verdict, check } = finding;
    return `${verdict.padEnd(VERDICT_WIDTH)}  ${NAMES[check].padEnd(NAME_WIDTH)}  ${linesOf(finding).join(indent)}`;
  });
  return texts.join("\n");
}

/** What the store said is in it: nothing that a terminal would obey. */
function linesOf({ found, meaning, advice }: DoctorFinding): string[] {
  const lines = [printable(found)];
  if (meaning !== undefined) lines.push(`It means: ${printable(meaning)}`);
  if (advice !== undefined) lines.push(`What to do: ${printable(advice)}`);
  return lines;
}

function verdictText(verdict: Verdict, colors: Colors): string {
  switch (verdict) {
    case "ok":
      return colors.green(verdict);
    case "info":
      return colors.dim(verdict);
    case "warning":
      return colors.yellow(verdict);
    case "bad":
      return colors.red(verdict);
  }
}

const ANSWERS: Readonly<Record<Verdict, string>> = {
  ok: "This store is good enough for a cluster.",
  info: "This store is good enough for a cluster.",
  warning: "A cluster works in this store; see the warnings.",
  bad: "Do not put a cluster in this store as it is.",
};

function answerText({ store, verdict, requests }: DoctorReport, colors: Colors): string {
  const { requests: count, bytesIn, bytesOut } = requests;
  const spent = `${countText(count, "request")}, ${bytesText(bytesOut)} sent, ${bytesText(bytesIn)} received`;
  return `${printable(store)}\n${colors.bold(ANSWERS[verdict])} ${colors.dim(`(Asked with ${spent}.)`)}`;
}
