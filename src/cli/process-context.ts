/** The process that `lbc` runs in, as a {@link CliContext}. */
import { setMaxListeners } from "node:events";
import process from "node:process";
import type { Readable, Writable } from "node:stream";
import pico from "picocolors";
import { ClusterError } from "../errors.ts";
import { openStore } from "../store/open-store.ts";
import type { Environment } from "../store/s3-credentials.ts";
import type { ObjectStore } from "../store/store.ts";
import { type CliContext, OutputClosed, type TextOutput } from "./context.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { progressBar } from "./progress.ts";

/** Where there is no terminal to ask. */
const COLUMNS = 80;

/** The reason of {@link CliContext.signal} after Ctrl-C or SIGTERM. */
export class Interrupted extends Error {
  override readonly name: string = "Interrupted";
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode) {
    super(exitCode === EXIT.interrupted ? "interrupted" : "terminated");
    this.exitCode = exitCode;
  }
}

/** A terminal's stream, or that of a file or a pipe. */
export type InputStream = Readable & { readonly isTTY?: boolean };
export type OutputStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** What a context is made of. */
export interface ContextParts {
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly environment: Environment;
  /** Ends the command. */
  readonly ending: AbortController;
  readonly interruptibly: CliContext["interruptibly"];
}

export function makeContext(parts: ContextParts): CliContext {
  const { stdin, environment, ending, interruptibly } = parts;
  // Every request to the store listens, however many are under way.
  setMaxListeners(0, ending.signal);
  const hasColors = allowsColors(environment);
  const stderr = textOutput(parts.stderr, hasColors, undefined);
  return {
    stdout: textOutput(parts.stdout, hasColors, ending),
    stderr,
    stdin: { isTerminal: stdin.isTTY === true, stream: stdin, readAll: () => readAll(stdin) },
    environment,
    signal: ending.signal,
    exitCode: EXIT.ok,
    openStore: (url) => openNamedStore(url, environment),
    progress: (label) => progressBar(stderr, label),
    interruptibly,
  };
}

/** Made once, by `main`. */
export function processContext(): CliContext {
  const ending = new AbortController();
  const onSignal = handleSignals(ending);
  const { stdin, stdout, stderr, env: environment } = process;
  const interruptibly = async <T>(work: () => T): Promise<T> => {
    // A signal that has arrived is told to its listener only when the event loop gets its turn.
    await new Promise((resolve) => setImmediate(resolve));
    ending.signal.throwIfAborted();
    process.off("SIGINT", onSignal.interrupt);
    try {
      return work();
    } finally {
      process.on("SIGINT", onSignal.interrupt);
    }
  };
  return makeContext({ stdin, stdout, stderr, environment, ending, interruptibly });
}

/** The first Ctrl-C lets the command end in order, the second ends the process. */
function handleSignals(ending: AbortController): { readonly interrupt: () => void } {
  const end = (exitCode: ExitCode) => {
    if (ending.signal.aborted) process.exit(exitCode);
    ending.abort(new Interrupted(exitCode));
  };
  const interrupt = () => end(EXIT.interrupted);
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", () => end(EXIT.terminated));
  return { interrupt };
}

/** @param ending aborted when the output cannot be written any more */
function textOutput(stream: OutputStream, hasColors: boolean, ending: AbortController | undefined): TextOutput {
  const isTerminal = stream.isTTY === true;
  let failure: Error | undefined;
  const fail = (error: Error): Error => {
    failure ??= outputFailure(error);
    ending?.abort(failure);
    return failure;
  };
  // Without a listener the process would end with a stack trace.
  stream.on("error", fail);
  return {
    isTerminal,
    get columns(): number {
      return stream.columns ?? COLUMNS;
    },
    colors: pico.createColors(isTerminal && hasColors),
    stream,
    write(text: string): Promise<void> {
      if (failure !== undefined) return Promise.reject(failure);
      return new Promise((resolve, reject) => {
        try {
          stream.write(text, (error) => (error ? reject(fail(error)) : resolve()));
        } catch (error) {
          // Deno's throws.
          reject(fail(error as Error));
        }
      });
    },
  };
}

/** A reader that has enough is no failure; a full disk is one. */
function outputFailure(error: Error): Error {
  if ((error as { code?: unknown }).code === "EPIPE") return new OutputClosed();
  const message = `the output could not be written: ${error.message}`;
  return new ClusterError("invalid", "output_failed", message, {}, { cause: error });
}

/** https://no-color.org */
function allowsColors(environment: Environment): boolean {
  return (environment["NO_COLOR"] ?? "") === "" && environment["TERM"] !== "dumb";
}

async function readAll(stream: Readable): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) text += decoder.decode(chunk as Uint8Array, { stream: true });
  return text + decoder.decode();
}

function openNamedStore(url: string | undefined, environment: Environment): ObjectStore {
  const named = url ?? environment["LBC_STORE"];
  if (named !== undefined && named !== "") return openStore(named, environment);
  throw new ClusterError("invalid", "no_store", "which store? Give --store URL, or set LBC_STORE");
}
