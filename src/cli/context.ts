/** What a command of `lbc` has of the world: nothing else of the process is touched by commands. */
import type { Readable, Writable } from "node:stream";
import type { Command } from "commander";
import type { createColors } from "picocolors";
import type { ByteProgress } from "../history/progress.ts";
import type { Environment } from "../store/s3-credentials.ts";
import type { ObjectStore } from "../store/store.ts";
import type { ExitCode } from "./exit-codes.ts";

/** Colours of one output; they do nothing where that is no terminal. */
export type Colors = ReturnType<typeof createColors>;

/** Standard output or standard error. */
export interface TextOutput {
  readonly isTerminal: boolean;
  /** Width of the terminal; 80 where there is none. */
  readonly columns: number;
  readonly colors: Colors;
  /** For libraries that draw by themselves. */
  readonly stream: Writable;
  /**
   * Resolves when more may be written.
   *
   * @throws OutputClosed when nobody reads any more, as in `lbc log | head`
   */
  write(text: string): Promise<void>;
}

/** Standard input. */
export interface TextInput {
  readonly isTerminal: boolean;
  readonly stream: Readable;
  /** All of it, as UTF-8. */
  readAll(): Promise<string>;
}

/** Somebody closed standard output: the command ends without a word. */
export class OutputClosed extends Error {
  override readonly name: string = "OutputClosed";
}

/** How a piece of long work is shown while it runs. */
export interface ProgressBar {
  /** Takes what the library's `onProgress` tells. */
  readonly onProgress: (progress: ByteProgress) => void;
  /** Removes it; safe twice. */
  end(): void;
}

/** Options that every command has. */
export interface GlobalOptions {
  /** URL of the store, if given as an option. */
  readonly store: string | undefined;
  /** The cluster's id, if given as an option. */
  readonly id: string | undefined;
  /** One JSON document on standard output instead of text; errors as JSON on standard error. */
  readonly json: boolean;
}

export interface CliContext {
  /** For data only. */
  readonly stdout: TextOutput;
  /** For everything that is not data: progress, questions, errors, what was done. */
  readonly stderr: TextOutput;
  readonly stdin: TextInput;
  readonly environment: Environment;
  /** Aborts at Ctrl-C, at SIGTERM, and when standard output is closed. */
  readonly signal: AbortSignal;
  /** What the process ends with unless the command throws. */
  exitCode: ExitCode;
  /**
   * The store by URL, or else by `LBC_STORE`.
   *
   * @throws ClusterError `invalid`/`no_store` if neither is given, and what `openStore` throws
   */
  openStore(url: string | undefined): ObjectStore;
  /** A bar with bytes and rate on standard error, if that is a terminal; otherwise nothing is shown. */
  progress(label: string): ProgressBar;
  /**
   * Runs what `signal` cannot interrupt because it is synchronous: Ctrl-C ends the process at once meanwhile. Throws the
   * signal's reason if that came before.
   */
  interruptibly<T>(work: () => T): Promise<T>;
}

/** The options of `command` that every command has. */
export function globalOptions(command: Command): GlobalOptions {
  const { store, id, json } = command.optsWithGlobals<Partial<GlobalOptions>>();
  return { store, id, json: json === true };
}

/** Runs long work under a progress bar, which is gone when it ends. */
export async function withProgress<T>(
  context: CliContext,
  label: string,
  work: (options: { signal: AbortSignal; onProgress: ProgressBar["onProgress"] }) => Promise<T>,
): Promise<T> {
  const bar = context.progress(label);
  try {
    return await work({ signal: context.signal, onProgress: bar.onProgress });
  } finally {
    bar.end();
  }
}
