import { ClusterError, errorMessage, isClusterError } from "../errors.ts";

/**
 * Why a request has no answer.
 *
 * | reason | what happened |
 * |---|---|
 * | `connect` | no connection could be made |
 * | `refused` | the peer said that it did not process the request |
 * | `lost` | the connection ended first |
 * | `reset` | the peer gave the request up |
 * | `truncated` | the answer began and did not end |
 * | `timeout` | it took longer than the caller allows |
 */
export type PeerFailure = "connect" | "refused" | "lost" | "reset" | "truncated" | "timeout";

/** Which request failed, and how. */
export interface FailedRequest {
  /** The peer's URL. */
  readonly peer: string;
  readonly method: string;
  readonly path: string;
  readonly reason: PeerFailure;
  /** False: the peer certainly did not process the request, so it is safe to repeat, anywhere. */
  readonly sent: boolean;
  /** True if TLS was agreed: somebody serves there, and may not want us. */
  readonly isSecured?: boolean;
  readonly cause?: unknown;
}

/** Methods that change nothing at the peer (RFC 9110 §9.2.1), among those that the library uses. */
const SAFE_METHODS: readonly string[] = ["GET", "HEAD"];

const REASONS: Readonly<Record<PeerFailure, string>> = {
  connect: "no connection to the peer",
  refused: "the peer refused it unprocessed",
  lost: "the connection was lost",
  reset: "the peer reset it",
  truncated: "the answer was cut short",
  timeout: "it timed out",
};

/**
 * The error of a request without a whole answer: `unavailable` `peer_unreachable` if it was never sent,
 * `outcome_unknown` `peer_lost` if it was; the latter is only `unavailable` for methods that are safe to repeat.
 */
export function peerError(failed: FailedRequest): ClusterError {
  const { peer, method, path, reason, sent, isSecured = false, cause } = failed;
  const kind = sent && !SAFE_METHODS.includes(method) ? "outcome_unknown" : "unavailable";
  const why = cause === undefined ? "" : ` (${errorMessage(cause)})`;
  const what = sent ? "was sent to" : "did not reach";
  // Without the query: it may hold what does not belong into a log.
  const target = path.split("?", 1)[0];
  return new ClusterError(
    kind,
    sent ? "peer_lost" : "peer_unreachable",
    `${method} ${target} ${what} ${peer} and has no answer: ${REASONS[reason]}${why}`,
    { peer, method, path: target, reason, sent, ...(isSecured ? { isSecured } : {}) },
    cause === undefined ? undefined : { cause },
  );
}

/** What the runtimes call a connection that the other side refuses or resets while it is made. */
const REFUSALS: readonly unknown[] = ["ECONNREFUSED", "ECONNRESET", "EPIPE"];

/**
 * True if no connection could be made because the address refused it, reset it, or closed it before it had spoken
 * HTTP/2: nobody serves there. False for everything that says nothing about who serves there, such as a time-out, an
 * unreachable network, an unknown name, a certificate that does not fit, and for requests that were lost later.
 */
export function isRefused(error: unknown): boolean {
  if (!isClusterError(error) || error.details["reason"] !== ("connect" satisfies PeerFailure)) return false;
  // Under TLS 1.3 a server that refuses our certificate does so after our side of the handshake, some without an error.
  if (error.details["isSecured"] === true) return false;
  // All three runtimes close some of these without an error, Bun 1.4.5 even a reset.
  return error.cause === undefined || REFUSALS.includes((error.cause as { code?: unknown }).code);
}
