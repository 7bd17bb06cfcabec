/** Requests to whoever leads, over one open connection that moves with the leadership. */
import { ClusterError } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import type { FetchInput } from "../net/fetch-request.ts";
import type { Watch } from "../platform/watch.ts";
import { NOT_LEADER_HEADER } from "./apps.ts";
import {
  type MemberClientParts,
  type MemberFetch,
  MemberRequest,
  type MemberRequestInit,
  RETRY_PAUSE_MS,
} from "./member-request.ts";
import { NextChange } from "./next-change.ts";

export interface LeaderClientParts extends MemberClientParts {
  readonly leader: Watch<Leader | undefined>;
}

/** Limits of a request that the library makes itself. */
export interface InternalLimits {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Sends requests to the node that leads. */
export class LeaderClient {
  readonly #parts: LeaderClientParts;
  readonly #closing = new AbortController();
  readonly #next: NextChange;

  constructor(parts: LeaderClientParts) {
    this.#parts = parts;
    this.#next = new NextChange(parts.leader, parts.parts.settings.clock, this.#closing.signal);
  }

  /**
   * Sends the request to the leader, waiting for one if there is none. Answers of a node that does not lead any more
   * are asked again; so is what was lost on the way, if that is safe. Needs no `this`, so that typed clients can use
   * it: `hc<typeof leaderApp>("http://leader", { fetch: node.leaderClient.fetch })`.
   *
   * @param input a path, or a URL, whose path and query count
   * @throws ClusterError `unavailable` `no_leader` if no leader answered in time, `outcome_unknown` if the request was
   *   sent and its answer lost and it must not be repeated, `invalid`, `closed`
   */
  readonly fetch: MemberFetch = async (input: FetchInput, init: MemberRequestInit = {}): Promise<Response> => {
    const request = await MemberRequest.read(this.#parts, input, init);
    while (!this.#closing.signal.aborted) {
      if (request.leftMs <= 0) throw request.timedOut("no_leader", "no leader", "nobody leads");
      const leader = this.#parts.leader.current;
      if (leader !== undefined) {
        const response = await request.tryAt(leader);
        if (response !== undefined && !response.headers.has(NOT_LEADER_HEADER)) return response;
        if (response !== undefined) {
          request.notServed(`${leader.address} does not lead`);
          await response.body?.cancel();
        }
      }
      if (this.#parts.leader.current === leader) {
        await request.wait(leader === undefined ? this.#next.change() : this.#next.changeOrPause(RETRY_PAUSE_MS));
      }
    }
    throw new ClusterError("closed", "node_closed", "the node was shut down");
  };

  /** Posts a signed request of the library's own, which may be repeated; gives the JSON of its answer. */
  async postForJson<T>(path: string, { signal, timeoutMs }: InternalLimits): Promise<T> {
    const limits = { ...(signal === undefined ? {} : { signal }), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
    const response = await this.fetch(path, { method: "POST", idempotent: true, authenticate: true, ...limits });
    if (response.ok) return (await response.json()) as T;
    const { status } = response;
    const text = await response.text();
    throw new ClusterError("unavailable", "request_refused", `the leader answered ${status} to ${path}: ${text}`, {
      status,
    });
  }

  /** Ends the requests that wait for a leader; those in flight end with the connections. Safe twice. */
  async close(): Promise<void> {
    this.#closing.abort();
  }
}
