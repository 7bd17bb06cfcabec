/** What begins with a dot in the shell of `lbc sql`. */
import { ClusterError } from "../../errors.ts";
import { SYSTEM_TABLE } from "../../format/system-rows.ts";
import { POINT_HELP } from "../options.ts";
import type { RowFormat } from "../output.ts";
import { printable } from "../text.ts";
import type { Shell } from "./shell.ts";

interface ShellCommand {
  readonly usage: string;
  readonly help: string;
  run(shell: Shell, argument: string): void | Promise<void>;
}

const FORMATS: readonly RowFormat[] = ["table", "list", "csv", "json"];

const TABLES = `SELECT name, type FROM sqlite_schema
  WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name <> '${SYSTEM_TABLE}' ORDER BY name`;
const SCHEMA = `SELECT sql FROM sqlite_schema
  WHERE sql IS NOT NULL AND (tbl_name = ?1 COLLATE NOCASE OR (?1 = '' AND tbl_name <> '${SYSTEM_TABLE}')) ORDER BY tbl_name, type DESC, name`;

const COMMANDS: Readonly<Record<string, ShellCommand>> = {
  ".tables": {
    usage: ".tables",
    help: "tables and views",
    run: (shell) => shell.print(TABLES),
  },
  ".schema": {
    usage: ".schema [TABLE]",
    help: "the SQL that made them",
    run: printSchema,
  },
  ".mode": {
    usage: `.mode [${FORMATS.join("|")}]`,
    help: "how rows are printed",
    run: setMode,
  },
  ".at": {
    usage: ".at [POINT]",
    help: `look at another point: ${POINT_HELP}`,
    run: (shell, argument) => shell.openAt(argument === "" ? "newest" : argument),
  },
  ".help": { usage: ".help", help: "this", run: printHelp },
  ".quit": { usage: ".quit", help: "end; so does Ctrl-D", run: (shell) => shell.quit() },
};

/** Runs `.name argument`. */
export async function runCommand(shell: Shell, line: string): Promise<void> {
  const [, name = "", argument = ""] = /^(\S+)\s*(.*?)[\s;]*$/.exec(line) ?? [];
  const command = name === ".exit" ? COMMANDS[".quit"] : Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined)
    throw new ClusterError("invalid", "usage", `there is no ${name}: .help tells what there is`);
  await command.run(shell, argument);
}

async function printSchema(shell: Shell, table: string): Promise<void> {
  const { stdout } = shell.context;
  const rows = shell.db.values<[string]>(SCHEMA, [table]);
  if (rows.length === 0 && table !== "") throw new ClusterError("invalid", "no_table", `there is no table ${table}`);
  for (const [sql] of rows) await stdout.write(`${stdout.isTerminal ? printable(sql, true) : sql};\n`);
}

async function setMode(shell: Shell, name: string): Promise<void> {
  const format = FORMATS.find((known) => known === name);
  if (format !== undefined) shell.format = format;
  else if (name === "") await shell.say(`Rows are printed as ${shell.format}.`);
  else throw new ClusterError("invalid", "usage", `.mode is one of ${FORMATS.join(", ")}`);
}

async function printHelp(shell: Shell): Promise<void> {
  const width = Math.max(...Object.values(COMMANDS).map(({ usage }) => usage.length));
  const lines = Object.values(COMMANDS).map(({ usage, help }) => `${usage.padEnd(width)}  ${help}`);
  await shell.say(
    [...lines, "Everything else is SQL, which ends with a semicolon. Ctrl-C drops what was typed."].join("\n"),
  );
}
