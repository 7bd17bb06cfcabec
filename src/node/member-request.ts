/** One request to another member, or to this node itself, as often as it has to be sent: what all clients share. */
import type { Clock } from "../base/clock.ts";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import { type FetchInput, type FetchRequest, readFetch } from "../net/fetch-request.ts";
import { peerError } from "../net/peer-error.ts";
import type { PeerResponse } from "../net/peer-response.ts";
import { mayHaveBody } from "../net/request-body.ts";
import { MISDIRECTED_HEADER, REPEATABLE_METHODS } from "./apps.ts";
import { FROM_HEADER, type NodeTarget, TO_HEADER } from "./node-requests.ts";
import type { NodeParts } from "./parts.ts";
import type { PeerPool } from "./peer-pool.ts";

/** *Default* limit of a request, the waiting for a node that can answer it included. */
export const MEMBER_REQUEST_TIMEOUT_MS = 10_000;
/** A request's body is held in memory, so that it can be sent again: 16 MiB at most. */
export const MEMBER_REQUEST_BYTES_MAX = 16_777_216;
/** Pause before nodes are asked again after none could answer. */
export const RETRY_PAUSE_MS = 50;

/** Options of a request to a member: those of `fetch`, and what it may take. */
export interface MemberRequestInit extends RequestInit {
  /** Until the answer begins, waiting for a node that can give it included; *default* 10 s. */
  readonly timeoutMs?: number;
  /** From the beginning of the answer to its end; `Infinity` for an answer without end; *default* 30 s. */
  readonly bodyTimeoutMs?: number;
  /** True if the request may be sent again though it may have taken effect. *Default*: GET, HEAD, PUT, DELETE and OPTIONS may. */
  readonly idempotent?: boolean;
  /** Signs the request with the cluster's secret, for routes behind `clusterAuth()`. *Default* false. */
  readonly authenticate?: boolean;
}

/** The standard's `fetch`; of a URL only path and query count. Needs no `this`. */
export type MemberFetch = (input: FetchInput, init?: MemberRequestInit) => Promise<Response>;

/** What a client of members needs. */
export interface MemberClientParts {
  readonly parts: NodeParts;
  readonly pool: PeerPool;
  /** Of this node. */
  readonly uuid: string;
  /** Serves a request on this node. */
  serve(request: Request): Response | Promise<Response>;
  /** Headers that prove where a request comes from; anew for each attempt. */
  sign(method: string, path: string, body: Uint8Array | string, to: string): Readonly<Record<string, string>>;
}

const EMPTY_BODY = new Uint8Array(0);

/** A request and the time that is left for it. */
export class MemberRequest {
  readonly timeoutMs: number;
  readonly #members: MemberClientParts;
  readonly #request: FetchRequest;
  readonly #init: MemberRequestInit;
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  #lastError: unknown;

  /** @throws ClusterError `invalid`; the signal's reason */
  static async read(members: MemberClientParts, input: FetchInput, init: MemberRequestInit): Promise<MemberRequest> {
    const beganMs = members.parts.settings.clock.monotonicMs();
    return new MemberRequest(members, await readFetch(input, init, MEMBER_REQUEST_BYTES_MAX), init, beganMs);
  }

  private constructor(members: MemberClientParts, request: FetchRequest, init: MemberRequestInit, beganMs: number) {
    this.timeoutMs = init.timeoutMs ?? MEMBER_REQUEST_TIMEOUT_MS;
    this.#members = members;
    this.#request = request;
    this.#init = init;
    this.#clock = members.parts.settings.clock;
    this.#deadlineMs = beganMs + this.timeoutMs;
  }

  get signal(): AbortSignal | undefined {
    return this.#request.signal;
  }

  /** Why the last attempt failed. */
  get lastError(): unknown {
    return this.#lastError;
  }

  get leftMs(): number {
    return this.#deadlineMs - this.#clock.monotonicMs();
  }

  /**
   * Sends it to one node. `undefined` if that has not processed it, or if it may process it again: it can be sent to
   * another.
   *
   * @throws ClusterError `outcome_unknown`, and everything that another attempt would not change; the signal's reason
   */
  async tryAt(target: NodeTarget): Promise<Response | undefined> {
    try {
      const headers = this.#headersFor(target.uuid);
      if (target.uuid === this.#members.uuid) return await this.#serve(target, headers);
      const response = await this.#send(target, headers);
      if (!response.has(MISDIRECTED_HEADER)) return response.toResponse();
      this.notServed(`${target.address} is another node by now`);
    } catch (error) {
      if (!this.#isWorthRepeating(error)) throw error;
      this.#lastError = error;
    }
    return undefined;
  }

  /** A node answered that it does not serve the request. */
  notServed(reason: string): void {
    this.#lastError = new Error(reason);
  }

  /** Waits for an event, at most `waitMaxMs` and the request's own time. Rejects if its signal aborts. */
  async wait(event: Promise<unknown>, waitMaxMs: number = Number.POSITIVE_INFINITY): Promise<void> {
    const { signal } = this.#request;
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => {
        cancel();
        reject(signal?.reason);
      };
      const done = () => {
        cancel();
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const cancel = this.#clock.after(Math.min(waitMaxMs, Math.max(0, this.leftMs)), done);
      signal?.addEventListener("abort", onAbort, { once: true });
      event.then(done, done);
    });
  }

  /** The error of a request that no node has answered in time. */
  timedOut(code: string, who: string, otherwise: string): ClusterError {
    const { timeoutMs } = this;
    const cause = this.#lastError;
    const why = cause === undefined ? otherwise : errorMessage(cause);
    return new ClusterError(
      "unavailable",
      code,
      `${who} answered within ${timeoutMs} ms: ${why}`,
      { timeoutMs },
      cause === undefined ? undefined : { cause },
    );
  }

  #headersFor(to: string): Record<string, string> {
    const { headers, method, path, body = EMPTY_BODY } = this.#request;
    const own = { ...headers, [FROM_HEADER]: this.#members.uuid, [TO_HEADER]: to };
    return this.#init.authenticate === true ? Object.assign(own, this.#members.sign(method, path, body, to)) : own;
  }

  async #send(target: NodeTarget, headers: Record<string, string>): Promise<PeerResponse> {
    const { method, path, body, signal } = this.#request;
    const { bodyTimeoutMs } = this.#init;
    const peer = this.#members.pool.of(target.address);
    return await peer.request({ method, path, headers, body, signal, timeoutMs: this.leftMs, bodyTimeoutMs });
  }

  /** On this node: without the network, within the same time. */
  async #serve(target: NodeTarget, headers: Record<string, string>): Promise<Response> {
    const { method, path, body, signal } = this.#request;
    const ending = new AbortController();
    const init = {
      method,
      headers,
      signal: ending.signal,
      ...(mayHaveBody(method) ? { body: body ?? EMPTY_BODY } : {}),
    };
    const request = new Request(`http://${target.address}${path}`, init as RequestInit);
    return await new Promise<Response>((resolve, reject) => {
      const end = (error: unknown) => {
        reject(error);
        ending.abort(error);
      };
      const onAbort = () => end(signal?.reason);
      const failed = { peer: `http://${target.address}`, method, path, reason: "timeout", sent: true } as const;
      const cancel = this.#clock.after(Math.max(0, this.leftMs), () => end(peerError(failed)));
      signal?.addEventListener("abort", onAbort, { once: true });
      const served = (async () => await this.#members.serve(request))();
      served.then(resolve, reject).finally(() => {
        cancel();
        signal?.removeEventListener("abort", onAbort);
      });
    });
  }

  #isWorthRepeating(error: unknown): boolean {
    if (!isClusterError(error)) return false;
    // It waited for a connection that was closed because nobody needs it any more: it was not sent.
    if (error.code === "peer_closed") return true;
    if (error.code !== "peer_unreachable" && error.code !== "peer_lost") return false;
    const isRepeatable = this.#init.idempotent ?? REPEATABLE_METHODS.includes(this.#request.method);
    return isRepeatable || error.details["sent"] === false;
  }
}
