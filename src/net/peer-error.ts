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
  /** True if the address took the connection, and TLS was agreed where it is asked for. */
  readonly isConnected?: boolean;
  /** How long the attempt to connect took. */
  readonly elapsedMs?: number;
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
  const { peer, method, path, reason, sent, isConnected = false, elapsedMs = 0, cause } = failed;
  const kind = sent && !SAFE_METHODS.includes(method) ? "outcome_unknown" : "unavailable";
  const why = cause === undefined ? "" : ` (${errorMessage(cause)})`;
  const what = sent ? "was sent to" : "did not reach";
  // Without the query: it may hold what does not belong into a log.
  const target = path.split("?", 1)[0];
  return new ClusterError(
    kind,
    sent ? "peer_lost" : "peer_unreachable",
    `${method} ${target} ${what} ${peer} and has no answer: ${REASONS[reason]}${why}`,
    { peer, method, path: target, reason, sent, isConnected, elapsedMs },
    cause === undefined ? undefined : { cause },
  );
}

/**
 * Who refuses does so within a round trip. Bun 1.4.5 calls a host that nobody answers for (EHOSTUNREACH) ECONNREFUSED
 * too, but that takes about 3 s (docs/workarounds.md).
 */
const REFUSAL_MS_MAX = 1000;
/** What the runtimes call a connection that the other side refuses or resets while it is made. */
const REFUSALS: readonly unknown[] = ["ECONNREFUSED", "ECONNRESET", "EPIPE"];

/**
 * `refused`: the address takes no connection, so nobody listens there. `reset`: it took one and reset or closed it
 * before it had spoken HTTP/2, as a proxy does before a process that died; but so does a TLS server before who does not
 * speak TLS, and under TLS 1.3 one that refuses a certificate, which is therefore not counted.
 */
export type Refusal = "refused" | "reset";

/**
 * Whether, and how, an address refused to be connected to. `undefined` for everything that says nothing about who
 * serves there, such as a time-out, an unreachable network, an unknown name, a certificate that does not fit, and for
 * requests that were lost later.
 */
export function refusalOf(error: unknown): Refusal | undefined {
  if (!isClusterError(error) || error.details["reason"] !== ("connect" satisfies PeerFailure)) return undefined;
  const { isConnected, elapsedMs, peer } = error.details;
  if (Number(elapsedMs) > REFUSAL_MS_MAX) return undefined;
  if (isConnected === true && String(peer).startsWith("https:")) return undefined;
  // All three runtimes close some of these without an error, Bun 1.4.5 even a reset.
  if (error.cause !== undefined && !REFUSALS.includes((error.cause as { code?: unknown }).code)) return undefined;
  return isConnected === true ? "reset" : "refused";
}
