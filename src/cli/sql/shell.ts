/** The interactive shell of `lbc sql`. */
import { errorMessage } from "../../errors.ts";
import type { PastDb } from "../../history/past.ts";
import type { CliContext } from "../context.ts";
import type { RowFormat } from "../output.ts";
import { countText, durationText, printable } from "../text.ts";
import { runCommand } from "./commands.ts";
import { HistoryFile, historyFile } from "./history-file.ts";
import { LineReader } from "./line-reader.ts";
import { runStatement } from "./run.ts";
import { splitSql } from "./split.ts";

export interface ShellParts {
  readonly context: CliContext;
  /** The cluster's id. */
  readonly id: string;
  readonly format: RowFormat;
  /** The database at a point; whoever opens it closes it. */
  open(point: string, signal: AbortSignal): Promise<PastDb>;
}

/** Reads and runs until the end is asked for. */
export async function runShell(parts: ShellParts, first: PastDb): Promise<void> {
  const shell = new Shell(parts, first);
  try {
    await shell.run();
  } finally {
    shell.close();
  }
}

export class Shell {
  readonly context: CliContext;
  format: RowFormat;
  readonly #parts: ShellParts;
  readonly #lines: LineReader;
  #db: PastDb;
  /** Of a statement that has not ended yet. */
  #pending = "";
  #isOver = false;

  constructor(parts: ShellParts, db: PastDb) {
    this.context = parts.context;
    this.format = parts.format;
    this.#parts = parts;
    this.#db = db;
    this.#lines = new LineReader(parts.context, new HistoryFile(historyFile(parts.context.environment)));
    parts.context.signal.addEventListener("abort", () => this.#lines.close(), { once: true });
  }

  get db(): PastDb {
    return this.#db;
  }

  async run(): Promise<void> {
    await this.say(`${this.#where()}. Reads only. .help tells what else there is, .quit or Ctrl-D ends.`);
    while (!this.#isOver) {
      const typed = await this.#lines.read(this.#prompt());
      this.context.signal.throwIfAborted();
      if (typed === "ended") break;
      if (typed === "interrupted") await this.#startOver();
      else await this.#take(typed.line);
    }
  }

  /** Tells the person, not whoever reads the data. */
  async say(text: string): Promise<void> {
    const { stderr } = this.context;
    await stderr.write(`${stderr.colors.dim(printable(text, true))}\n`);
  }

  /** Shows another point from now on. */
  async openAt(point: string): Promise<void> {
    const ending = new AbortController();
    const signal = AbortSignal.any([this.context.signal, ending.signal]);
    const db = await this.#lines.during(
      () => this.#parts.open(point, signal),
      () => ending.abort(new Error("given up")),
    );
    this.#db.close();
    this.#db = db;
    await this.say(this.#where());
  }

  async print(sql: string): Promise<void> {
    const apart = <T>(work: () => T): T => this.#lines.apart(work);
    const { rows, elapsedMs } = await runStatement(this.context, this.#db, sql, this.format, apart);
    await this.say(`${countText(rows, "row")}, ${durationText(elapsedMs)}`);
  }

  quit(): void {
    this.#isOver = true;
  }

  close(): void {
    this.#lines.close();
    this.#db.close();
  }

  async #take(line: string): Promise<void> {
    try {
      if (this.#pending === "" && line.trim().startsWith(".")) return await runCommand(this, line.trim());
      const { statements, rest } = splitSql(`${this.#pending}${line}\n`);
      this.#pending = rest === "" ? "" : `${rest}\n`;
      for (const statement of statements) await this.print(statement);
    } catch (error) {
      this.#pending = "";
      this.context.signal.throwIfAborted();
      const { stderr } = this.context;
      await stderr.write(`${stderr.colors.red(printable(errorMessage(error), true))}\n`);
    }
  }

  async #startOver(): Promise<void> {
    const { stderr } = this.context;
    this.#pending = "";
    this.#lines.clearLine();
    await stderr.write("\n");
  }

  #where(): string {
    const { epoch, lastUpdate } = this.#db;
    return `Epoch ${epoch} of cluster ${this.#parts.id}${lastUpdate === undefined ? "" : `, ${lastUpdate}`}`;
  }

  #prompt(): string {
    if (this.#pending !== "") return "   ...> ";
    return `${printable(this.#parts.id)}@${this.#db.epoch}> `;
  }
}
