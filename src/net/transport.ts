/** What carries requests between nodes: HTTP/2 over sockets, or a simulated network. */
import type { Clock } from "../base/clock.ts";
import type { ExchangeHandlers, PreparedRequest } from "./exchange.ts";
import type { PeerFailure } from "./peer-error.ts";
import type { PeerLimits } from "./peer-limits.ts";
import { PeerSession } from "./peer-session.ts";
import { type Listener, type ListenOptions, listen } from "./server.ts";
import type { ClientTls } from "./tls.ts";

/**
 * ```
 * connecting ──SETTINGS──► open ──GOAWAY──► draining ──► lost
 *      └───────────────────┴─────────────────────────────►
 * ```
 */
export type ConnectionState = "connecting" | "open" | "draining" | "lost";

/** A request on its way, or its answer. */
export interface SentRequest {
  /** The caller gives up: with `error`, both here and for who reads the body. */
  cancel(error: unknown): void;
  /** The error that it has if it ends now for `reason`. */
  errorFor(reason: PeerFailure, sent: boolean): unknown;
}

/** One connection to a peer, from the attempt to the loss. */
export interface Connection {
  readonly state: ConnectionState;
  /** Since the attempt to connect began. */
  readonly elapsedMs: number;
  /** The address took the connection, and TLS was agreed where it is asked for. */
  readonly isConnected: boolean;
  /** Why it was lost. */
  readonly cause: unknown;
  /** Requests whose answers are not over. */
  readonly inFlight: number;
  /** True if a request can be sent now. */
  readonly hasRoom: boolean;
  send(request: PreparedRequest, handlers: ExchangeHandlers): SentRequest;
  /** Takes no more requests; ends when those in flight have, or after `timeoutMs`. */
  drain(timeoutMs: number): void;
  /** Ends the connection now; what is in flight is lost. */
  destroy(cause: unknown): void;
}

/** What an attempt to connect needs. */
export interface ConnectOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  readonly limits: PeerLimits;
  readonly clock: Clock;
  readonly tls: ClientTls | undefined;
  /** The state has changed, or a stream has become free. Not called before `connect` has returned. */
  readonly onChange: (connection: Connection) => void;
}

export interface Transport {
  listen(options: ListenOptions): Promise<Listener>;
  /** Begins an attempt. */
  connect(options: ConnectOptions): Connection;
}

/** HTTP/2 over the machine's network. */
export const systemTransport: Transport = { listen, connect: (options) => new PeerSession(options) };
