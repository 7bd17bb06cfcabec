import { ClusterError } from "../errors.ts";
import type { PreparedRequest } from "./exchange.ts";
import { headerRecord } from "./header-record.ts";
import { canonicalPath } from "./path.ts";
import type { PeerLimits } from "./peer-limits.ts";

/** A request to a peer. */
export interface PeerRequest {
  /** *Default* `GET`. */
  readonly method?: string | undefined;
  /** Begins with `/`; may have a query. */
  readonly path: string;
  readonly headers?: HeadersInit | undefined;
  readonly body?: Uint8Array | string | undefined;
  /** Ends the request early, its answer's body included; it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Until the head of the answer (the whole of it, if it announces a short one), the wait for a connection included;
   * *default* `requestTimeoutMs` of the peer.
   */
  readonly timeoutMs?: number | undefined;
  /** From the head to the end of the answer; `Infinity` for an answer without end; *default* `bodyTimeoutMs`. */
  readonly bodyTimeoutMs?: number | undefined;
}

/** What HTTP/2 itself says, or forbids (RFC 9113 §8.2.2). */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "host",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
const METHOD = /^[A-Z][A-Z-]*$/;
const EMPTY_BODY = new Uint8Array(0);
const encoder = new TextEncoder();

/**
 * The request as it goes on the wire.
 *
 * @throws ClusterError `invalid` `bad_path`, `bad_method`, `bad_header`
 */
export function prepareRequest(peer: string, request: PeerRequest, limits: PeerLimits): PreparedRequest {
  const method = (request.method ?? "GET").toUpperCase();
  if (!METHOD.test(method) || method === "CONNECT") {
    throw new ClusterError("invalid", "bad_method", `cannot send a request with the method ${JSON.stringify(method)}`);
  }
  const path = canonicalPath(request.path);
  const headers = headerRecord(request.headers);
  for (const name in headers) if (OWN_HEADERS.has(name)) delete headers[name];
  const { answerBytesMax } = limits;
  return { peer, method, path, headers, body: bodyBytes(method, request.body), answerBytesMax };
}

function bodyBytes(method: string, body: Uint8Array | string | undefined): Uint8Array | undefined {
  if (typeof body === "string") return encoder.encode(body);
  if (body !== undefined) return body;
  // Announced as empty: a body without a length has to be counted by the server.
  return method === "GET" || method === "HEAD" ? undefined : EMPTY_BODY;
}
