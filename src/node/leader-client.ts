/** Requests to whoever leads, over one open connection that moves with the leadership. */
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import { Peer } from "../net/peer.ts";
import { sleep } from "../platform/sleep.ts";
import type { Watch } from "../platform/watch.ts";
import { NOT_LEADER_HEADER } from "./apps.ts";
import type { NodeParts } from "./parts.ts";

/** *Default* limit of a request to the leader, the waiting for one included. */
export const LEADER_REQUEST_TIMEOUT_MS = 10_000;
/** Pause before the leader is asked again after it could not be reached or did not lead. */
const RETRY_PAUSE_MS = 50;
const REPEATABLE: readonly string[] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];

/** Options of a request to the leader: those of `fetch`, and what it may take. */
export interface LeaderRequestInit extends RequestInit {
  /** Waiting for a leader and for its answer; *default* 10 s. */
  readonly timeoutMs?: number;
  /** True if the request may be sent again though it may have taken effect. *Default*: GET, HEAD, PUT, DELETE and OPTIONS may. */
  readonly idempotent?: boolean;
}

export interface LeaderClientParts {
  readonly parts: NodeParts;
  readonly leader: Watch<Leader | undefined>;
  isSelf(leader: Leader): boolean;
  /** Serves a request on this node, when it leads itself. */
  serve(request: Request): Response | Promise<Response>;
}

export class LeaderClient {
  readonly #parts: LeaderClientParts;
  #peer: Peer | undefined;
  #peerAddress = "";
  #isClosed = false;

  constructor(parts: LeaderClientParts) {
    this.#parts = parts;
  }

  /**
   * Sends the request to the leader, waiting for one if there is none. Answers
   * of a node that does not lead any more are asked again; so is what was lost
   * on the way, if that is safe.
   *
   * @param path begins with `/`; may have a query
   * @throws ClusterError `unavailable` if no leader answered in time, `outcome_unknown` if the request was sent
   *   and its answer lost and it must not be repeated
   */
  fetch(path: string, init: LeaderRequestInit = {}): Promise<Response> {
    return this.fetchSigned(path, init, () => ({}));
  }

  /** The same with headers that are made anew for every attempt: a signature is good for one. */
  async fetchSigned(path: string, init: LeaderRequestInit, sign: () => Record<string, string>): Promise<Response> {
    const { timeoutMs = LEADER_REQUEST_TIMEOUT_MS, idempotent, ...standard } = init;
    const { clock } = this.#parts.parts.settings;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    const body = standard.body === undefined || standard.body === null ? undefined : await bodyBytes(standard.body);
    const isRepeatable = idempotent ?? REPEATABLE.includes((standard.method ?? "GET").toUpperCase());
    let lastError: unknown;
    while (!this.#isClosed) {
      standard.signal?.throwIfAborted();
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs <= 0) throw this.#timedOut(timeoutMs, lastError);
      const leader = this.#parts.leader.current;
      if (leader !== undefined) {
        try {
          const headers = new Headers(standard.headers);
          for (const [name, value] of Object.entries(sign())) headers.set(name, value);
          const response = await this.send(
            leader,
            path,
            { ...standard, ...(body === undefined ? {} : { body }), headers },
            leftMs,
          );
          if (!response.headers.has(NOT_LEADER_HEADER)) return response;
          lastError = new ClusterError("not_leader", "not_leader", `${leader.address} does not lead`);
          await response.body?.cancel();
        } catch (error) {
          if (!isWorthRepeating(error, isRepeatable)) throw error;
          lastError = error;
        }
      }
      await this.#pause(Math.min(RETRY_PAUSE_MS, leftMs), standard.signal ?? undefined);
    }
    throw new ClusterError("closed", "node_closed", "the node was shut down");
  }

  /** Lets answers in flight finish for so long; safe twice, the shorter time counts. */
  async close(graceMs?: number): Promise<void> {
    this.#isClosed = true;
    await this.#peer?.close(graceMs);
  }

  /** One attempt, with this leader. */
  async send(leader: Leader, path: string, init: RequestInit, timeoutMs: number): Promise<Response> {
    if (this.#isClosed) throw new ClusterError("closed", "node_closed", "the node was shut down");
    if (this.#parts.isSelf(leader)) return this.#parts.serve(new Request(`http://${leader.address}${path}`, init));
    return await this.#peerOf(leader).fetch(path, { ...init, timeoutMs });
  }

  #peerOf(leader: Leader): Peer {
    if (this.#peer !== undefined && this.#peerAddress === leader.address) return this.#peer;
    void this.#peer?.close();
    const { clock, random } = this.#parts.parts.settings;
    this.#peerAddress = leader.address;
    this.#peer = new Peer(`http://${leader.address}`, { clock, random });
    return this.#peer;
  }

  /** Ends early when another node leads. */
  async #pause(pauseMs: number, signal: AbortSignal | undefined): Promise<void> {
    const abort = new AbortController();
    const onAbort = () => abort.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const changed = this.#parts.leader.changed({ signal: abort.signal }).catch(() => {});
    const { clock } = this.#parts.parts.settings;
    await Promise.race([changed, sleep(clock, pauseMs, abort.signal).catch(() => {})]);
    signal?.removeEventListener("abort", onAbort);
    abort.abort();
  }

  #timedOut(timeoutMs: number, cause: unknown): ClusterError {
    const why = cause === undefined ? "nobody leads" : errorMessage(cause);
    return new ClusterError(
      "unavailable",
      "no_leader",
      `no leader answered within ${timeoutMs} ms: ${why}`,
      { timeoutMs },
      { cause },
    );
  }
}

function isWorthRepeating(error: unknown, isRepeatable: boolean): boolean {
  if (!isClusterError(error)) return false;
  // It waited for a connection to a leader that another has replaced: it was not sent.
  if (error.code === "peer_closed") return true;
  if (error.kind !== "unavailable" && error.kind !== "outcome_unknown") return false;
  return isRepeatable || error.details["sent"] === false;
}

async function bodyBytes(body: NonNullable<RequestInit["body"]>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(body).arrayBuffer());
}
