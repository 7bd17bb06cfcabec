import { lookup } from "node:dns/promises";
import { createServer as createHttp1Server, type Server as Http1Server } from "node:http";
import {
  createServer as createHttp2Server,
  createSecureServer,
  type Http2SecureServer,
  type Http2Server,
  type ServerHttp2Session,
} from "node:http2";
import { type AddressInfo, createServer, isIP, type Server, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { getRequestListener } from "@hono/node-server";
import type { Clock } from "../base/clock.ts";
import { type Log, silent } from "../base/log.ts";
import { systemClock } from "../platform/system.ts";
import { isHttp2, type NodeBindings } from "./connection-info.ts";
import { Http1Connections } from "./http1-connections.ts";
import { cutSession, HTTP2_SESSION_MEMORY_MB, HTTP2_WINDOW_BYTES, keepAlive } from "./http2-session.ts";
import { listenError } from "./listen-error.ts";
import { type FetchHandler, RequestServer } from "./serve-request.ts";
import { CLOSE_GRACE_MS, SERVER_LIMITS, type ServerLimits } from "./server-limits.ts";
import { guardSession } from "./session-guard.ts";
import { sniffProtocol, type WireProtocol } from "./sniff.ts";
import type { ServerTls } from "./tls.ts";

export type { ConnectionInfo } from "./connection-info.ts";
export type { FetchHandler } from "./serve-request.ts";
export { CLOSE_GRACE_MS, SERVER_LIMITS, type ServerLimits } from "./server-limits.ts";

/** Settings and components of {@link listen}. */
export interface ListenOptions {
  /** IP address or name to listen on; `0.0.0.0` for every IPv4 interface. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly fetch: FetchHandler;
  /** What differs from {@link SERVER_LIMITS}. */
  readonly limits?: Partial<ServerLimits>;
  /** HTTP/2 and HTTP/1.1 over TLS instead of in clear. */
  readonly tls?: ServerTls;
  readonly clock?: Clock;
  readonly log?: Log;
}

/** A port that is being served. It keeps the process alive until it is closed. */
export interface Listener {
  readonly host: string;
  /** The port itself, also if 0 was asked for. */
  readonly port: number;
  /**
   * Stops: refuses connections, tells HTTP/2 clients to go elsewhere (GOAWAY), lets answers in flight finish, and cuts
   * off what is left after `graceMs` (*default* {@link CLOSE_GRACE_MS}). Resolves when every connection has ended. A
   * second call waits for the first; its grace counts if it ends earlier.
   */
  close(graceMs?: number): Promise<void>;
}

/**
 * Serves HTTP/1.1 and HTTP/2 on one port: in clear (HTTP/2 with prior knowledge), or over TLS (by ALPN).
 *
 * The handler's `request.signal` aborts when the client goes away. A handler that throws, or returns no `Response`,
 * answers 500 `{ error }`, and the event `http_handler_failed` is logged.
 *
 * @throws ClusterError `invalid` `address_in_use`, `address_forbidden`, `address_not_available`, `host_unknown`
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const server = new DualServer(options);
  await server.begin();
  return server;
}

class DualServer implements Listener {
  readonly host: string;
  port: number;
  readonly #limits: ServerLimits;
  readonly #clock: Clock;
  /** What accepts connections. */
  readonly #front: Server | Http2SecureServer;
  readonly #http1Connections: Http1Connections;
  readonly #sockets: Set<Socket> = new Set();
  /** Connections that have not yet said what they speak. */
  readonly #undecided: Set<Socket> = new Set();
  readonly #sessions: Set<ServerHttp2Session> = new Set();
  #closed: Promise<void> | undefined;
  #onRemoved: () => void = () => {};

  constructor(options: ListenOptions) {
    this.host = options.host;
    this.port = options.port;
    this.#limits = { ...SERVER_LIMITS, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#http1Connections = new Http1Connections({ idleTimeoutMs: this.#limits.idleTimeoutMs, clock: this.#clock });
    const requests = new RequestServer({
      fetch: options.fetch,
      limits: this.#limits,
      log: options.log ?? silent,
      mutualTls: options.tls?.clientCa !== undefined,
      isClosing: () => this.#closed !== undefined,
    });
    const listener = getRequestListener(
      (request, bindings) => {
        if (!isHttp2(bindings)) this.#http1Connections.begin(bindings.incoming.socket as Socket, bindings.outgoing);
        return requests.serve(request, bindings as NodeBindings);
      },
      // The default replaces the global Response, which breaks Deno.serve and Bun.serve in the same process.
      { overrideGlobalObjects: false },
    );
    this.#front = options.tls ? this.#secureFront(options.tls, listener) : this.#clearFront(listener);
    this.#front.on("connection", (socket: Socket) => this.#onConnection(socket));
  }

  async begin(): Promise<void> {
    const { host, port } = this;
    try {
      // Asked for apart: what Bun 1.4.5 throws for an unknown name has no code.
      const address = isIP(host) ? host : (await lookup(host)).address;
      await new Promise<void>((resolve, reject) => {
        this.#front.once("error", reject);
        this.#front.listen(port, address, () => resolve());
      });
    } catch (error) {
      throw listenError(error, { host, port });
    }
    // From now on an error concerns one connection that could not be accepted.
    this.#front.on("error", () => {});
    this.port = (this.#front.address() as AddressInfo).port;
  }

  close(graceMs: number = CLOSE_GRACE_MS): Promise<void> {
    const cancelCut = this.#clock.after(graceMs, () => this.#cut());
    this.#closed ??= this.#drain();
    return this.#closed.finally(cancelCut);
  }

  #drain(): Promise<void> {
    const refusing = new Promise<void>((resolve) => {
      this.#front.close(() => resolve());
    });
    // Node 20's server.close() leaves sessions open.
    for (const session of this.#sessions) session.close();
    for (const socket of this.#undecided) socket.destroy();
    this.#http1Connections.close();
    return Promise.all([refusing, this.#emptied()]).then(() => {});
  }

  /** Resolves when no connection is left, whatever the runtime's `close()` thinks of those that were handed on. */
  #emptied(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRemoved = () => {
        if (this.#sockets.size === 0 && this.#sessions.size === 0) resolve();
      };
      this.#onRemoved();
    });
  }

  #cut(): void {
    for (const session of this.#sessions) cutSession(session, undefined);
    for (const socket of this.#sockets) socket.destroy();
  }

  #onConnection(socket: Socket): void {
    socket.on("error", () => {});
    if (this.#sockets.size >= this.#limits.connectionsMax) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#onRemoved();
    });
  }

  #clearFront(listener: RequestListener): Server {
    const http1 = createHttp1Server(this.#http1Options(), listener as Parameters<typeof createHttp1Server>[1]);
    const http2 = createHttp2Server(this.#http2Options(), listener as Parameters<typeof createHttp2Server>[1]);
    this.#watchSessions(http2);
    const hand = (socket: Socket, protocol: WireProtocol): void => {
      this.#undecided.delete(socket);
      if (protocol === "http/1.1") this.#http1Connections.add(socket);
      const server: Http1Server | Http2Server = protocol === "h2" ? http2 : http1;
      server.emit("connection", socket);
    };
    return createServer({ noDelay: true }, (socket) => {
      if (socket.destroyed) return;
      this.#undecided.add(socket);
      socket.once("close", () => this.#undecided.delete(socket));
      const sniffing = { timeoutMs: this.#limits.sniffTimeoutMs, clock: this.#clock };
      sniffProtocol(socket, sniffing, (protocol) => hand(socket, protocol));
    });
  }

  #secureFront(tls: ServerTls, listener: RequestListener): Http2SecureServer {
    const options = {
      ...this.#http1Options(),
      ...this.#http2Options(),
      allowHTTP1: true,
      handshakeTimeout: this.#limits.sniffTimeoutMs,
      key: tls.key,
      cert: tls.cert,
      ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
    };
    const server = createSecureServer(options, listener as Parameters<typeof createSecureServer>[1]);
    this.#watchSessions(server);
    server.on("tlsClientError", () => {});
    server.on("secureConnection", (socket: TLSSocket) => {
      if (socket.alpnProtocol !== "h2") this.#http1Connections.add(socket);
    });
    return server;
  }

  #http1Options(): { maxHeaderSize: number; keepAliveTimeout: number } {
    return { maxHeaderSize: this.#limits.headerBytesMax, keepAliveTimeout: this.#limits.idleTimeoutMs };
  }

  #http2Options(): Parameters<typeof createHttp2Server>[0] {
    return {
      maxSessionMemory: HTTP2_SESSION_MEMORY_MB,
      settings: {
        maxConcurrentStreams: this.#limits.streamsMax,
        maxHeaderListSize: this.#limits.headerBytesMax,
        initialWindowSize: HTTP2_WINDOW_BYTES,
      },
    };
  }

  #watchSessions(server: Http2Server | Http2SecureServer): void {
    server.on("sessionError", () => {});
    server.on("session", (session: ServerHttp2Session) => {
      guardSession(session);
      session.on("error", () => {});
      this.#sessions.add(session);
      const { pingIntervalMs, pingTimeoutMs } = this.#limits;
      const stopPings = keepAlive(session, { pingIntervalMs, pingTimeoutMs, clock: this.#clock }, () =>
        cutSession(session, undefined),
      );
      session.once("close", () => {
        stopPings();
        this.#sessions.delete(session);
        this.#onRemoved();
      });
      session.setLocalWindowSize(HTTP2_WINDOW_BYTES);
      if (this.#closed !== undefined) session.close();
    });
  }
}

type RequestListener = ReturnType<typeof getRequestListener>;
