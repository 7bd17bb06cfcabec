import { type ClientHttp2Session, connect, type SecureClientSessionOptions } from "node:http2";
import type { Socket } from "node:net";
import { setImmediate } from "node:timers";
import type { Cancel } from "../base/clock.ts";
import { Exchange, type ExchangeConnection, type ExchangeHandlers, type PreparedRequest } from "./exchange.ts";
import { cutSession, HTTP2_SESSION_MEMORY_MB, HTTP2_WINDOW_BYTES, keepAlive } from "./http2-session.ts";
import { guardSession } from "./session-guard.ts";
import type { ClientTls } from "./tls.ts";
import type { Connection, ConnectionState, ConnectOptions } from "./transport.ts";

/** One HTTP/2 connection to a peer, from the attempt to the loss. */
export class PeerSession implements Connection, ExchangeConnection {
  readonly session: ClientHttp2Session;
  lastProcessedStreamId: number = Number.POSITIVE_INFINITY;
  readonly #options: ConnectOptions;
  readonly #exchanges: Set<Exchange> = new Set();
  #state: ConnectionState = "connecting";
  #cause: unknown;
  #isConnected = false;
  readonly #beganMs: number;
  /** What the peer allows, and we do. */
  #inFlightMax = 0;
  /** Requests would be lost, whatever the session says. */
  #socketGone = false;
  #cancelTimer: Cancel = () => {};
  #stopPings: Cancel = () => {};

  constructor(options: ConnectOptions) {
    this.#options = options;
    this.#beganMs = options.clock.monotonicMs();
    this.session = guardSession(connect(options.url, connectOptions(options.tls)));
    this.#listen();
    this.#cancelTimer = options.clock.after(options.limits.connectTimeoutMs, () =>
      this.destroy(new Error(`no HTTP/2 settings within ${options.limits.connectTimeoutMs} ms`)),
    );
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get elapsedMs(): number {
    return this.#options.clock.monotonicMs() - this.#beganMs;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get cause(): unknown {
    return this.#cause;
  }

  get inFlight(): number {
    return this.#exchanges.size;
  }

  get hasRoom(): boolean {
    return this.#state === "open" && !this.#socketGone && this.#exchanges.size < this.#inFlightMax;
  }

  send(request: PreparedRequest, handlers: ExchangeHandlers): Exchange {
    const exchange = new Exchange(request, this, {
      onAnswer: (response) => handlers.onAnswer(response),
      onFailed: (error) => handlers.onFailed(error),
      onOver: () => {
        this.#exchanges.delete(exchange);
        handlers.onOver();
        if (this.#state === "draining" && this.#exchanges.size === 0) this.destroy(undefined);
        this.#options.onChange(this);
      },
    });
    this.#exchanges.add(exchange);
    return exchange;
  }

  drain(timeoutMs: number): void {
    if (this.#state === "draining" || this.#state === "lost") return;
    if (this.#state === "connecting" || this.#exchanges.size === 0) {
      this.destroy(undefined);
      return;
    }
    this.#state = "draining";
    this.#stopPings();
    this.#cancelTimer = this.#options.clock.after(timeoutMs, () => this.destroy(new Error("the drain timed out")));
    this.session.close();
    this.#options.onChange(this);
  }

  destroy(cause: unknown): void {
    if (this.#state === "lost") return;
    this.#cause ??= cause;
    if (this.#exchanges.size === 0) this.session.destroy();
    else cutSession(this.session, cause);
    this.#lose();
  }

  #listen(): void {
    const { session } = this;
    session.on("error", (error) => {
      this.#cause ??= error;
    });
    session.on("close", () => this.#lose());
    session.on("connect", (_session, socket) => {
      this.#isConnected = true;
      this.#watchSocket(socket);
    });
    session.on("goaway", (_code, lastStreamId) => this.#onGoaway(lastStreamId));
    // 'connect' is only TCP and TLS; the first SETTINGS frame proves that the peer speaks HTTP/2 and is alive.
    session.on("remoteSettings", ({ maxConcurrentStreams }) => {
      const { requestsInFlightMax } = this.#options.limits;
      this.#inFlightMax = Math.min(maxConcurrentStreams ?? Number.POSITIVE_INFINITY, requestsInFlightMax);
      this.#onReady();
    });
  }

  #onReady(): void {
    if (this.#state !== "connecting") return;
    this.#cancelTimer();
    this.#state = "open";
    this.session.setLocalWindowSize(HTTP2_WINDOW_BYTES);
    const { clock, limits } = this.#options;
    const { pingIntervalMs, pingTimeoutMs } = limits;
    this.#stopPings = keepAlive(this.session, { pingIntervalMs, pingTimeoutMs, clock }, () =>
      this.destroy(new Error(`no answer to pings for ${pingTimeoutMs} ms`)),
    );
    this.#options.onChange(this);
  }

  #onGoaway(lastStreamId: number | undefined): void {
    if (lastStreamId !== undefined) this.lastProcessedStreamId = Math.min(this.lastProcessedStreamId, lastStreamId);
    this.drain(this.#options.limits.drainTimeoutMs);
  }

  /**
   * The socket knows of a loss first, and at times alone. Node 20 and 24: a client certificate that is refused under
   * TLS 1.3 destroys the session after its handshake, without 'error' or 'close'. Deno 2.9.6 closes the session of a
   * lost socket instead of destroying it, so a request that is sent in that moment would wait for ever.
   */
  #watchSocket(socket: Socket): void {
    const onGone = (): void => {
      this.#socketGone = true;
      setImmediate(() => this.destroy(this.#cause));
    };
    socket.on("error", (error) => {
      this.#cause ??= error;
      onGone();
    });
    socket.on("end", () => {
      this.#socketGone = true;
    });
    socket.on("close", onGone);
  }

  /** Not every runtime emits 'close' for every loss, and some losses have several signs: the first one counts. */
  #lose(): void {
    if (this.#state === "lost") return;
    this.#state = "lost";
    this.#cancelTimer();
    this.#stopPings();
    // After this turn: streams that still learn their own end in it know better.
    setImmediate(() => {
      for (const exchange of this.#exchanges) exchange.connectionLost(this.#cause ?? new Error("connection closed"));
    });
    this.#options.onChange(this);
  }
}

function connectOptions(tls: ClientTls | undefined): SecureClientSessionOptions {
  return {
    maxSessionMemory: HTTP2_SESSION_MEMORY_MB,
    settings: { enablePush: false, initialWindowSize: HTTP2_WINDOW_BYTES },
    ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls?.key === undefined ? {} : { key: tls.key }),
    ...(tls?.serverName === undefined ? {} : { servername: tls.serverName }),
  };
}
