/**
 * What the caller should do about an error.
 *
 * | kind | meaning | what to do |
 * |---|---|---|
 * | `not_leader` | this node does not lead | go to `details.leader` |
 * | `unavailable` | the store, the leader or this node cannot serve now | retry later |
 * | `overloaded` | a queue is full | slow down, then retry |
 * | `fenced` | another leader took over; the write was **not** written | retry on the new leader |
 * | `outcome_unknown` | the write may or may not be written | read back before repeating |
 * | `invalid` | the call, the configuration or the SQL is wrong | fix it; a retry fails again |
 * | `corrupt` | stored bytes are not what was written | see `details`: what, where, expected, found |
 * | `closed` | the node was shut down | stop using it |
 */
export type ErrorKind =
  | "not_leader"
  | "unavailable"
  | "overloaded"
  | "fenced"
  | "outcome_unknown"
  | "invalid"
  | "corrupt"
  | "closed";

/** The only error class that this library throws. Branch on `kind` or `code`, never on the text. */
export class ClusterError extends Error {
  override readonly name: string = "ClusterError";
  /** What the caller should do. */
  readonly kind: ErrorKind;
  /** Stable identifier of the cause, in snake_case; SQLite's own errors use SQLite's names, e.g. `SQLITE_CONSTRAINT_UNIQUE`. */
  readonly code: string;
  /** Values that belong to the error: object keys, epochs, limits. Never row data, never a secret. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    kind: ErrorKind,
    code: string,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.kind = kind;
    this.code = code;
    this.details = details;
  }

  /** What an HTTP answer or a log line may show of the error. */
  toJSON(): { error: string; kind: ErrorKind; code: string; details: Readonly<Record<string, unknown>> } {
    return { error: this.message, kind: this.kind, code: this.code, details: this.details };
  }
}

/** True for errors of this library, also across two loaded copies of it. */
export function isClusterError(error: unknown): error is ClusterError {
  return error instanceof Error && error.name === "ClusterError" && "kind" in error && "code" in error;
}

/** One line for logs and messages, whatever was thrown. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
