/** What the example prints. */
import process from "node:process";
import Table from "cli-table3";
import pico from "picocolors";
import type { Leader, Log, Member } from "../../src/mod.ts";

const colors = pico.createColors(process.stdout.isTTY === true && process.env["NO_COLOR"] === undefined);

/** A line of what happens. */
export function say(text: string): void {
  process.stdout.write(`${colors.dim(new Date().toISOString())} ${text}\n`);
}

/** The same with a table of members below. */
export function sayMembers(text: string, members: readonly Member[], selfUuid: string): void {
  say(text);
  const table = newTable([["*", `UUID(${members.length})`, "Address", "AZ", "Roles"]]);
  for (const { uuid, address, az, roles } of members) {
    table.push([uuid === selfUuid ? colors.green("*") : "", uuid, address, az, roles.join(", ")]);
  }
  process.stdout.write(`${table.toString()}\n`);
}

/** Who leads now. */
export function sayLeader(leader: Leader | undefined, members: readonly Member[], selfUuid: string): void {
  if (leader === undefined) {
    say("Leader changed: nobody leads");
    return;
  }
  const roles = members.find(({ uuid }) => uuid === leader.uuid)?.roles ?? [];
  const table = newTable([["*", "UUID(1)", "Address", "AZ", "Roles"]]);
  table.push([
    leader.uuid === selfUuid ? colors.green("*") : "",
    leader.uuid,
    leader.address,
    leader.az,
    roles.join(", "),
  ]);
  say("Leader changed:");
  process.stdout.write(`${table.toString()}\n`);
}

/** A line on standard error for each event of the library. */
export const logEvents: Log = ({ level, event, ...fields }) => {
  const rest = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  process.stderr.write(`${new Date().toISOString()} ${level.toUpperCase().padEnd(5)} ${event} ${rest.join(" ")}\n`);
};

function newTable(rows: string[][]): Table.Table {
  const table = new Table({ style: { head: [], border: [], compact: true } });
  table.push(...rows.map((row) => row.map((cell) => colors.bold(cell))));
  return table;
}
