import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import type { TLSSocket } from "node:tls";

/** What `@hono/node-server` hands to a fetch callback. */
export interface NodeBindings {
  readonly incoming: IncomingMessage | Http2ServerRequest;
  readonly outgoing: ServerResponse | Http2ServerResponse;
}

/**
 * Where a request comes from. In Hono it is `c.env`; `incoming` and `outgoing` are there for the helpers of
 * `@hono/node-server`, such as `getConnInfo`.
 */
export interface ConnectionInfo extends NodeBindings {
  /** Empty once the client has gone. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly protocol: "http/1.1" | "h2";
  /** True over TLS. */
  readonly encrypted: boolean;
  /** True if the client showed a certificate that our authorities signed. */
  readonly authorized: boolean;
}

/**
 * The information about one request's connection.
 *
 * @param mutualTls whether the listener demands clients' certificates. Without that Deno 2.9.6 calls every client
 * authorized, also one that showed nothing.
 */
export function connectionInfo(bindings: NodeBindings, mutualTls: boolean): ConnectionInfo {
  const { incoming, outgoing } = bindings;
  return {
    incoming,
    outgoing,
    get remoteAddress() {
      return incoming.socket?.remoteAddress ?? "";
    },
    get remotePort() {
      return incoming.socket?.remotePort ?? 0;
    },
    protocol: isHttp2(bindings) ? "h2" : "http/1.1",
    get encrypted() {
      return (incoming.socket as TLSSocket | undefined)?.encrypted === true;
    },
    get authorized() {
      return mutualTls && (incoming.socket as TLSSocket | undefined)?.authorized === true;
    },
  };
}

/** True if the request came over HTTP/2. */
export function isHttp2(bindings: NodeBindings): boolean {
  return bindings.incoming.httpVersionMajor === 2;
}
