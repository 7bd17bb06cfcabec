/** Lines from a terminal, with editing and history. */
import { createInterface, type Interface } from "node:readline";
import type { ReadStream } from "node:tty";
import type { CliContext } from "../context.ts";
import { HISTORY_LINES_MAX, type HistoryFile } from "./history-file.ts";

/** What was typed: a line, Ctrl-C, or the end (Ctrl-D). */
export type Typed = { readonly line: string } | "interrupted" | "ended";

export class LineReader {
  readonly #interface: Interface;
  readonly #input: ReadStream;
  /** Lines that were pasted together arrive at once. */
  readonly #typed: Typed[] = [];
  #waiting: ((typed: Typed) => void) | undefined;
  /** While something runs, Ctrl-C ends that. */
  #onInterrupt: (() => void) | undefined;

  constructor({ stdin, stderr }: CliContext, history: HistoryFile) {
    this.#input = stdin.stream as ReadStream;
    this.#interface = createInterface({
      input: stdin.stream,
      output: stderr.stream,
      terminal: stderr.isTerminal,
      history: history.load().reverse(),
      historySize: HISTORY_LINES_MAX,
      removeHistoryDuplicates: true,
    });
    this.#interface.on("line", (line) => {
      history.add(line);
      this.#take({ line });
    });
    this.#interface.on("close", () => this.#take("ended"));
    this.#interface.on("SIGINT", () => {
      if (this.#onInterrupt !== undefined) this.#onInterrupt();
      else this.#take("interrupted");
    });
  }

  /** The next line. */
  async read(prompt: string): Promise<Typed> {
    const before = this.#typed.shift();
    if (before !== undefined) return before;
    this.#interface.setPrompt(prompt);
    this.#interface.prompt();
    return await new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  /** Drops what is on the line. */
  clearLine(): void {
    this.#interface.write(null, { ctrl: true, name: "e" });
    this.#interface.write(null, { ctrl: true, name: "u" });
  }

  /** Runs something; Ctrl-C calls `onInterrupt` meanwhile. */
  async during<T>(work: () => Promise<T>, onInterrupt: () => void): Promise<T> {
    this.#onInterrupt = onInterrupt;
    try {
      return await work();
    } finally {
      this.#onInterrupt = undefined;
    }
  }

  /** Runs something synchronous as if nobody read the terminal: Ctrl-C is a signal again. */
  apart<T>(work: () => T): T {
    this.#input.setRawMode?.(false);
    try {
      return work();
    } finally {
      this.#input.setRawMode?.(true);
    }
  }

  close(): void {
    this.#interface.close();
  }

  #take(typed: Typed): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#typed.push(typed);
    else waiting(typed);
  }
}
