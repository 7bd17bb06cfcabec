/** What commands print on standard output: a table, a record, one JSON document, or CSV. */
import Table from "cli-table3";
import { stringify } from "csv-stringify/sync";
import type { CliContext, TextOutput } from "./context.ts";
import { printable } from "./text.ts";

/** What can stand in a cell. A BLOB is base64 in JSON and an SQL literal in text. */
export type Cell = null | undefined | boolean | number | bigint | string | Uint8Array;

/** How rows are printed. */
export type RowFormat = "table" | "list" | "json" | "csv";

/** Text is written in pieces of about this size. */
const PIECE_CHARACTERS = 65_536;

/** One JSON document, indented on a terminal. */
export async function printJson(context: CliContext, value: unknown): Promise<void> {
  const { stdout } = context;
  await stdout.write(`${JSON.stringify(value, jsonValue, stdout.isTerminal ? 2 : undefined)}\n`);
}

/** A field is there, `null` if there is no value, rather than missing. */
function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : (value ?? null);
}

/** One JSON document with an array, an element a line, written as they come. */
export async function printJsonList(output: TextOutput, values: AsyncIterable<unknown>): Promise<void> {
  const writer = new PieceWriter(output);
  let before = "[";
  for await (const value of values) {
    await writer.add(`${before}\n${JSON.stringify(value, jsonValue)}`);
    before = ",";
  }
  await writer.add(before === "[" ? "[]\n" : "\n]\n");
  await writer.end();
}

/** A record as `name  value` lines; a value that is `undefined` is left out. */
export async function printRecord(
  context: CliContext,
  fields: readonly (readonly [name: string, value: string | undefined])[],
): Promise<void> {
  const { colors } = context.stdout;
  const shown = fields.filter((field): field is readonly [string, string] => field[1] !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  const lines = shown.map(([name, value]) => `${colors.dim(name.padEnd(width))}  ${printable(value)}\n`);
  await context.stdout.write(lines.join(""));
}

/** Rows under their columns' names, as they come; only a table waits for all of them. */
export async function printRows(
  output: TextOutput,
  format: RowFormat,
  columns: readonly string[],
  rows: Iterable<readonly Cell[]> | AsyncIterable<readonly Cell[]>,
): Promise<void> {
  if (format === "table") {
    const all: (readonly Cell[])[] = [];
    for await (const row of rows) all.push(row);
    await output.write(`${tableText(output, columns, all)}\n`);
    return;
  }
  const writer = new PieceWriter(output);
  if (format === "json") await writeJsonRows(writer, columns, rows);
  else if (format === "csv") await writeCsvRows(writer, output, columns, rows);
  else await writeListRows(writer, output, rows);
  await writer.end();
}

async function writeJsonRows(
  writer: PieceWriter,
  columns: readonly string[],
  rows: Iterable<readonly Cell[]> | AsyncIterable<readonly Cell[]>,
): Promise<void> {
  const names = uniqueNames(columns).map((name) => JSON.stringify(name));
  let before = "[";
  for await (const row of rows) {
    const fields = names.map((name, index) => `${name}:${cellJson(row[index])}`);
    await writer.add(`${before}\n{${fields.join(",")}}`);
    before = ",";
  }
  await writer.add(before === "[" ? "[]\n" : "\n]\n");
}

async function writeListRows(
  writer: PieceWriter,
  output: TextOutput,
  rows: Iterable<readonly Cell[]> | AsyncIterable<readonly Cell[]>,
): Promise<void> {
  for await (const row of rows) await writer.add(`${row.map((cell) => cellFor(output, cell)).join("|")}\n`);
}

async function writeCsvRows(
  writer: PieceWriter,
  output: TextOutput,
  columns: readonly string[],
  rows: Iterable<readonly Cell[]> | AsyncIterable<readonly Cell[]>,
): Promise<void> {
  await writer.add(stringify([[...columns]]));
  for await (const row of rows) await writer.add(stringify([row.map((cell) => cellFor(output, cell))]));
}

/** Columns may have one name: in JSON the second `a` is `a:1`, as SQLite names them in a view. */
function uniqueNames(columns: readonly string[]): string[] {
  const taken = new Set<string>();
  return columns.map((column) => {
    let name = column;
    for (let suffix = 1; taken.has(name); suffix++) name = `${column}:${suffix}`;
    taken.add(name);
    return name;
  });
}

/** RFC 8259 has no limit for integers and none for exponents: nothing is lost, and `1e999` is read as infinity. */
function cellJson(cell: Cell): string {
  if (typeof cell === "bigint") return cell.toString();
  if (cell === Number.POSITIVE_INFINITY) return "1e999";
  if (cell === Number.NEGATIVE_INFINITY) return "-1e999";
  if (cell instanceof Uint8Array) return JSON.stringify(base64(cell));
  return JSON.stringify(cell ?? null);
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** Other programs get a text as it is, a terminal without what it would obey. */
function cellFor(output: TextOutput, cell: Cell): string {
  return typeof cell === "string" && output.isTerminal ? printable(cell, true) : cellText(cell);
}

/** As text; a BLOB as the literal that SQL would take. */
function cellText(cell: Cell): string {
  if (cell === null || cell === undefined) return "";
  if (cell instanceof Uint8Array) {
    let digits = "";
    for (const byte of cell) digits += byte.toString(16).padStart(2, "0");
    return `x'${digits}'`;
  }
  return String(cell);
}

const NO_LINES = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

/** With lines around the cells on a terminal; without them elsewhere, where other programs cut it into columns. */
function tableText(output: TextOutput, columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const { colors, isTerminal } = output;
  const isNumber = columns.map((_, index) => rows.some((row) => isNumeric(row[index])));
  const table = new Table({
    head: columns.map((column) => colors.bold(printable(column))),
    colAligns: isNumber.map((right) => (right ? "right" : "left")),
    style: isTerminal
      ? { head: [], border: [], compact: true }
      : { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    ...(isTerminal ? {} : { chars: NO_LINES }),
  });
  for (const row of rows) {
    table.push(columns.map((_, index) => tableCell(output, row[index])));
  }
  const text = table.toString();
  return isTerminal ? text : text.replace(/ +$/gm, "");
}

/** A line break stays one on a terminal, where the cell has lines around it. */
function tableCell({ colors, isTerminal }: TextOutput, cell: Cell): string {
  if (cell === null) return colors.dim("NULL");
  return printable(cellText(cell), isTerminal);
}

function isNumeric(cell: Cell): boolean {
  return typeof cell === "number" || typeof cell === "bigint";
}

/** Gathers text: a call for each row would be most of the time that the rows take. */
class PieceWriter {
  readonly #output: TextOutput;
  #piece = "";

  constructor(output: TextOutput) {
    this.#output = output;
  }

  async add(text: string): Promise<void> {
    this.#piece += text;
    if (this.#piece.length >= PIECE_CHARACTERS) await this.end();
  }

  async end(): Promise<void> {
    const piece = this.#piece;
    this.#piece = "";
    if (piece !== "") await this.#output.write(piece);
  }
}
