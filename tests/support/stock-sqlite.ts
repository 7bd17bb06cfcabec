import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { SqlParam } from "./fuzz-sql.ts";
import { commandOf } from "./runtimes.ts";

/** A value with its type in SQLite, which JavaScript's numbers do not tell. */
export type StoredValue =
  | null
  | string
  | { readonly integer: string }
  | { readonly real: string }
  | { readonly blob: string };

/** One thing after the other, whatever there is of it. */
export interface Question {
  /** Another database: a file, or `:memory:`. */
  readonly open?: string;
  readonly script?: string;
  readonly sql?: string;
  readonly params?: readonly StoredValue[];
}

/** Rows, or SQLite's extended result code. */
export type Answer =
  | { readonly rows: readonly (readonly StoredValue[])[] }
  | { readonly errno: number; readonly message: string };

export function storedParam(value: SqlParam): StoredValue {
  if (value === null || typeof value === "string") return value;
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return { integer: String(value) };
  if (typeof value === "number") return { real: String(value) };
  return { blob: Buffer.from(value).toString("hex") };
}

/** A stock SQLite in a process of its own. */
export class StockSqlite {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const [command, ...args] = commandOf("bun", "tests/fuzz/fixtures/stock-sqlite.ts");
    this.#process = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    if (this.#process.stdout === null) throw new Error("there is no stdout");
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  async ask(questions: readonly Question[]): Promise<Answer[]> {
    this.#process.stdin?.write(`${JSON.stringify(questions)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the stock SQLite ended");
    return JSON.parse(value) as Answer[];
  }

  close(): void {
    this.#process.kill();
  }
}
