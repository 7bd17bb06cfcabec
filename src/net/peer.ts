import type { Cancel, Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { ClusterError } from "../errors.ts";
import { systemClock, systemRandom } from "../platform/system.ts";
import { backoffMs } from "./backoff.ts";
import { readFetch } from "./fetch-request.ts";
import { PeerCall } from "./peer-call.ts";
import { peerError } from "./peer-error.ts";
import { PEER_CLOSE_GRACE_MS, PEER_LIMITS, type PeerLimits } from "./peer-limits.ts";
import { type PeerRequest, prepareRequest } from "./peer-request.ts";
import type { PeerResponse } from "./peer-response.ts";
import type { ClientTls } from "./tls.ts";
import { type Connection, systemTransport, type Transport } from "./transport.ts";

export { PEER_CLOSE_GRACE_MS, PEER_LIMITS, type PeerLimits } from "./peer-limits.ts";
export type { PeerRequest } from "./peer-request.ts";
export type { PeerResponse } from "./peer-response.ts";

/**
 * | state | |
 * |---|---|
 * | `idle` | no connection; the next request makes one |
 * | `connecting` | a connection is being made, or waits for its next attempt |
 * | `open` | requests are sent at once |
 * | `draining` | the peer asked us to go; answers in flight still arrive, the next request makes a new connection |
 * | `closed` | by {@link Peer.close}, for ever |
 */
export type PeerState = "idle" | "connecting" | "open" | "draining" | "closed";

/** What happened to the connection. */
export interface PeerEvent {
  readonly type: "open" | "draining" | "lost" | "connect_failed";
  readonly cause?: unknown;
}

/** Settings and components of a {@link Peer}. */
export interface PeerOptions {
  /** Keep a connection open without requests, and make a new one when it is lost. *Default* false. */
  readonly keepOpen?: boolean;
  /** What differs from {@link PEER_LIMITS}. */
  readonly limits?: Partial<PeerLimits>;
  /** For `https://`. */
  readonly tls?: ClientTls;
  /** Told of every change of the connection; must not throw. */
  readonly onEvent?: (event: PeerEvent) => void;
  /** *Default* HTTP/2 over the machine's network. */
  readonly transport?: Transport;
  readonly clock?: Clock;
  /** For the jitter of the backoff. */
  readonly random?: Random;
}

/** What {@link Peer.fetch} understands besides the standard's fields. */
export interface PeerFetchInit extends RequestInit {
  readonly timeoutMs?: number;
  readonly bodyTimeoutMs?: number;
}

/**
 * An HTTP/2 client of one address: one connection, any number of requests on it at once.
 *
 * What keeps the process alive: an open connection (also without requests, until `close`), a pending attempt, and the
 * time-outs of requests. A peer that is `idle` or `closed` holds nothing.
 *
 * ```ts
 * const peer = new Peer("http://10.0.0.2:7000");
 * const response = await peer.request({ method: "POST", path: "/jobs", body: "{}" });
 * await peer.close();
 * ```
 */
export class Peer {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  readonly #options: PeerOptions;
  readonly #limits: PeerLimits;
  readonly #clock: Clock;
  /** The connection that takes requests, or will. */
  #current: Connection | undefined;
  #openedAtMs: number | undefined;
  /** Connections that only wait for their last answers. */
  readonly #draining: Set<Connection> = new Set();
  /** Calls that wait for a connection or for room, oldest first. */
  readonly #queue: Set<PeerCall> = new Set();
  readonly #openWaiters: Set<{ resolve: () => void; reject: (error: unknown) => void }> = new Set();
  #failures = 0;
  #nextAttemptMs = 0;
  #cancelAttempt: Cancel | undefined;
  #closed = false;
  readonly #onEmpty: Set<() => void> = new Set();

  /** @throws ClusterError `invalid` `bad_address` */
  constructor(url: string, options: PeerOptions = {}) {
    this.url = originOf(url);
    this.#options = options;
    this.#limits = { ...PEER_LIMITS, ...options.limits };
    this.#clock = options.clock ?? systemClock;
    this.#connectIfWanted();
  }

  get state(): PeerState {
    if (this.#closed) return "closed";
    if (this.#current?.state === "open") return "open";
    if (this.#current !== undefined || this.#cancelAttempt !== undefined) return "connecting";
    return this.#draining.size > 0 ? "draining" : "idle";
  }

  /** Requests that were sent and whose answers are not over. */
  get inFlight(): number {
    let count = this.#current?.inFlight ?? 0;
    for (const session of this.#draining) count += session.inFlight;
    return count;
  }

  /** Requests that wait for a connection or for room. */
  get queued(): number {
    return this.#queue.size;
  }

  /**
   * Resolves when the connection is open; makes one if there is none.
   *
   * @throws ClusterError `unavailable` `peer_unreachable` if the attempt fails, `closed` `peer_closed`
   */
  connect(): Promise<void> {
    if (this.#closed) return Promise.reject(this.#closedError());
    if (this.#current?.state === "open") return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#openWaiters.add({ resolve, reject });
      this.#connectIfWanted();
    });
  }

  /**
   * Sends a request; resolves with the head of the answer. It waits for a connection, or for room on it, within its
   * time-out; an attempt to connect that fails meanwhile fails it.
   *
   * @throws ClusterError
   * - `unavailable` `peer_unreachable`: never processed by the peer, so safe to repeat anywhere (`details.sent` false)
   * - `outcome_unknown` `peer_lost`: sent, and the answer is lost; `unavailable` for GET and HEAD (`details.sent` true)
   * - `overloaded` `peer_queue_full`, `invalid` `bad_path` or `bad_method`, `closed` `peer_closed`
   * - the signal's reason if that aborts
   */
  async request(request: PeerRequest): Promise<PeerResponse> {
    const { signal } = request;
    if (this.#closed) throw this.#closedError();
    signal?.throwIfAborted();
    const prepared = prepareRequest(this.url, request, this.#limits);
    const hasRoom = this.#queue.size === 0 && this.#current?.hasRoom === true;
    if (!hasRoom && this.#queue.size >= this.#limits.requestsQueuedMax) throw this.#overloadedError();
    const call = new PeerCall({
      request: prepared,
      signal,
      timeoutMs: request.timeoutMs ?? this.#limits.requestTimeoutMs,
      bodyTimeoutMs: request.bodyTimeoutMs ?? this.#limits.bodyTimeoutMs,
      clock: this.#clock,
      onLeave: (left) => this.#queue.delete(left),
    });
    this.#queue.add(call);
    this.#sendQueued();
    this.#connectIfWanted();
    return call.response;
  }

  /**
   * {@link Peer.request} in the shape of the standard's `fetch`. The answer's body streams; a request's body is read
   * into memory first. Rejects with the errors of `request`, not with `TypeError`.
   */
  async fetch(path: string, init: PeerFetchInit = {}): Promise<Response> {
    const { timeoutMs, bodyTimeoutMs } = init;
    const request = await readFetch(path, init, Number.POSITIVE_INFINITY);
    const response = await this.request({ ...request, timeoutMs, bodyTimeoutMs });
    return response.toResponse();
  }

  /**
   * Takes no more requests, fails those that were not sent, waits `graceMs` at most (*default*
   * {@link PEER_CLOSE_GRACE_MS}) for the answers in flight, and ends the connection. Safe to call twice.
   */
  async close(graceMs: number = PEER_CLOSE_GRACE_MS): Promise<void> {
    this.#closed = true;
    this.#cancelAttempt?.();
    this.#cancelAttempt = undefined;
    this.#failWaiting(() => this.#closedError());
    this.#current?.drain(graceMs);
    if (this.#current === undefined && this.#draining.size === 0) return;
    const cancelCut = this.#clock.after(graceMs, () => {
      this.#current?.destroy(this.#closedError());
      for (const session of this.#draining) session.destroy(this.#closedError());
    });
    await new Promise<void>((resolve) => this.#onEmpty.add(resolve));
    cancelCut();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #connectIfWanted(): void {
    const wanted = this.#options.keepOpen === true || this.#queue.size > 0 || this.#openWaiters.size > 0;
    if (!wanted || this.#closed || this.#current !== undefined || this.#cancelAttempt !== undefined) return;
    const waitMs = this.#nextAttemptMs - this.#clock.monotonicMs();
    if (waitMs <= 0) {
      this.#connect();
      return;
    }
    this.#cancelAttempt = this.#clock.after(waitMs, () => {
      this.#cancelAttempt = undefined;
      this.#connect();
    });
  }

  #connect(): void {
    this.#openedAtMs = undefined;
    this.#current = (this.#options.transport ?? systemTransport).connect({
      url: this.url,
      limits: this.#limits,
      clock: this.#clock,
      tls: this.#options.tls,
      onChange: (session) => this.#onChange(session),
    });
  }

  #onChange(session: Connection): void {
    if (session.state === "open" && this.#openedAtMs === undefined) this.#onOpen();
    if (session.state === "draining" && session === this.#current) this.#onDraining(session);
    if (session.state === "lost") this.#onLost(session);
    this.#sendQueued();
    this.#connectIfWanted();
  }

  #onOpen(): void {
    this.#openedAtMs = this.#clock.monotonicMs();
    for (const waiter of this.#openWaiters) waiter.resolve();
    this.#openWaiters.clear();
    this.#options.onEvent?.({ type: "open" });
  }

  #onDraining(session: Connection): void {
    this.#current = undefined;
    this.#draining.add(session);
    this.#planAttempt();
    this.#options.onEvent?.({ type: "draining" });
  }

  #onLost(session: Connection): void {
    const { cause, isConnected, elapsedMs } = session;
    if (session === this.#current) {
      const opened = this.#openedAtMs !== undefined;
      this.#current = undefined;
      this.#planAttempt();
      if (!opened) {
        this.#failWaiting((method, path) =>
          peerError({ peer: this.url, method, path, reason: "connect", sent: false, isConnected, elapsedMs, cause }),
        );
      }
      this.#options.onEvent?.({ type: opened ? "lost" : "connect_failed", cause });
    } else if (this.#draining.delete(session)) {
      this.#options.onEvent?.({ type: "lost", cause });
    }
    if (this.#current !== undefined || this.#draining.size > 0) return;
    for (const resolve of this.#onEmpty) resolve();
    this.#onEmpty.clear();
  }

  /**
   * Decides when to try again after the current connection ended. One that held for a while is replaced at once; a
   * peer that accepts connections and drops them is backed off from like one that refuses them.
   */
  #planAttempt(): void {
    const nowMs = this.#clock.monotonicMs();
    const opened = this.#openedAtMs !== undefined;
    const held = this.#openedAtMs !== undefined && nowMs - this.#openedAtMs >= this.#limits.backoffMaxMs;
    if (held) this.#failures = 0;
    if (!opened) this.#failures += 1;
    const backoff = { firstMs: this.#limits.backoffFirstMs, maxMs: this.#limits.backoffMaxMs };
    const fraction = (this.#options.random ?? systemRandom).fraction();
    this.#nextAttemptMs = nowMs + backoffMs(this.#failures, backoff, fraction);
    if (opened && !held) this.#failures += 1;
  }

  #sendQueued(): void {
    for (const call of this.#queue) {
      if (this.#current === undefined || !this.#current.hasRoom) return;
      this.#queue.delete(call);
      call.start(this.#current);
    }
  }

  /** Ends everything that waits for a connection. */
  #failWaiting(errorOf: (method: string, path: string) => ClusterError): void {
    const calls = [...this.#queue];
    const waiters = [...this.#openWaiters];
    this.#queue.clear();
    this.#openWaiters.clear();
    for (const call of calls) call.fail(errorOf(call.request.method, call.request.path));
    for (const waiter of waiters) waiter.reject(errorOf("CONNECT", "/"));
  }

  #closedError(): ClusterError {
    return new ClusterError("closed", "peer_closed", `the client of ${this.url} is closed`, { peer: this.url });
  }

  #overloadedError(): ClusterError {
    const queuedMax = this.#limits.requestsQueuedMax;
    return new ClusterError(
      "overloaded",
      "peer_queue_full",
      `cannot send to ${this.url}: ${queuedMax} requests wait already`,
      { peer: this.url, queuedMax, sent: false },
    );
  }
}

function originOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === "http:" || parsed?.protocol === "https:") return parsed.origin;
  throw new ClusterError("invalid", "bad_address", `a peer's URL is http://HOST:PORT or https://HOST:PORT`, {});
}
