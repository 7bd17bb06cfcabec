/** What a command that failed says, and what the process ends with. */
import { CommanderError } from "commander";
import { ClusterError, type ErrorKind, errorMessage, isClusterError } from "../errors.ts";
import { type CliContext, OutputClosed } from "./context.ts";
import { EXIT, type ExitCode } from "./exit-codes.ts";
import { Interrupted } from "./process-context.ts";
import { printable } from "./text.ts";

const USAGE_CODES: readonly string[] = [
  "usage",
  "no_store",
  "bad_store_url",
  "no_credentials",
  "bad_credentials",
  "bad_configuration",
  "bad_address",
  "bad_point",
  "bad_range",
  "same_cluster_id",
  "confirmation_needed",
];

const NOT_FOUND_CODES: readonly string[] = [
  "not_initialized",
  "point_in_future",
  "point_before_history",
  "point_not_found",
];

const EXIT_BY_KIND: Readonly<Partial<Record<ErrorKind, ExitCode>>> = {
  unavailable: EXIT.unavailable,
  overloaded: EXIT.unavailable,
  not_leader: EXIT.unavailable,
  fenced: EXIT.unavailable,
  outcome_unknown: EXIT.outcomeUnknown,
};

/** What to do next, where the library's message cannot know that its caller is a command. */
const HINTS: Readonly<Record<string, string>> = {
  not_initialized: "make one with: lbc init --id NAME",
  already_initialized: "see what is there with: lbc status",
  no_store: "for example --store file:///var/lib/jobs or --store 's3://bucket/prefix?region=eu-central-1'",
  no_credentials: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
  wrong_cluster: "leave --id out: it is read from the store",
  point_before_history: "see what there is with: lbc status",
  point_in_future: "see what there is with: lbc status",
  store_not_atomic: "look closer with: lbc doctor",
  peer_unreachable: "is the address right, does the node run, and does it speak TLS (--tls, --ca)?",
  output_failed: "is the disk full?",
  no_leader: "the cluster goes on as soon as a node leads; see what there is with: lbc status",
  not_leader: "the leadership has just moved: try again",
};

const HINT_BY_KIND: Readonly<Partial<Record<ErrorKind, string>>> = {
  unavailable: "try again later",
  overloaded: "try again later",
  fenced: "nothing was written: try again",
  outcome_unknown: "look what happened with: lbc log",
  corrupt: "see how much is damaged with: lbc verify",
};

/** A wrong command line. */
export function usageError(message: string, code: string = "usage"): ClusterError {
  return new ClusterError("invalid", code, message);
}

/** The history has no epoch for the point. */
export function pointNotFound(point: string): ClusterError {
  return new ClusterError("invalid", "point_not_found", `the history has nothing for the point ${point}`, { point });
}

/** Tells of the failure on standard error; gives the exit code. Never rejects. */
export async function reportFailure(context: CliContext, thrown: unknown, isJson: boolean): Promise<ExitCode> {
  const error = context.signal.aborted ? context.signal.reason : thrown;
  if (error instanceof OutputClosed) return EXIT.ok;
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
  const { exitCode, hint, failure } = describe(error);
  const { colors } = context.stderr;
  const text = isJson
    ? JSON.stringify({ ...failure.toJSON(), ...(hint === undefined ? {} : { hint }) })
    : `${colors.red("lbc:")} ${printable(failure.message, true)}${hint === undefined ? "" : `\n     ${colors.dim(hint)}`}`;
  await context.stderr.write(`${text}\n`).catch(() => {});
  return exitCode;
}

interface Failure {
  readonly exitCode: ExitCode;
  readonly hint: string | undefined;
  readonly failure: ClusterError;
}

function describe(error: unknown): Failure {
  if (error instanceof Interrupted) {
    return {
      exitCode: error.exitCode,
      hint: undefined,
      failure: new ClusterError("closed", "interrupted", error.message),
    };
  }
  if (error instanceof CommanderError) {
    const message = error.message.replace(/^error: /, "");
    return { exitCode: EXIT.usage, hint: "see: lbc help", failure: usageError(message) };
  }
  if (isClusterError(error))
    return { exitCode: exitCodeOf(error), hint: hintOf(error), failure: error as ClusterError };
  const failure = new ClusterError("invalid", systemCodeOf(error), errorMessage(error));
  return { exitCode: EXIT.failed, hint: undefined, failure };
}

function exitCodeOf(error: ClusterError): ExitCode {
  if (USAGE_CODES.includes(error.code)) return EXIT.usage;
  if (NOT_FOUND_CODES.includes(error.code)) return EXIT.notFound;
  return EXIT_BY_KIND[error.kind] ?? EXIT.failed;
}

function hintOf(error: ClusterError): string | undefined {
  return HINTS[error.code] ?? HINT_BY_KIND[error.kind];
}

/** E.g. `enoent` of a file that is not there. */
function systemCodeOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code.toLowerCase() : "failed";
}
