/** Requests to the members that have a role, in turn. */
import type { Clock } from "../base/clock.ts";
import { ClusterError } from "../errors.ts";
import { backoffMs } from "../net/backoff.ts";
import type { FetchInput } from "../net/fetch-request.ts";
import type { Watch } from "../platform/watch.ts";
import type { Member } from "../protocol/roster.ts";
import {
  type MemberClientParts,
  type MemberFetch,
  MemberRequest,
  type MemberRequestInit,
  RETRY_PAUSE_MS,
} from "./member-request.ts";
import { NextChange } from "./next-change.ts";

/** A connection to a member is waited for so long while others could answer. */
const CONNECT_PATIENCE_MS = 1_000;
/** How long a member that could not be reached is left aside. */
const ASIDE = { firstMs: 100, maxMs: 5_000 } as const;

/** Options of `connectToRole`. */
export interface RoleClientOptions {
  /** Members of the own zone first; others only when none of it answers. *Default* true. */
  readonly sameAz?: boolean | undefined;
}

export interface RoleClientParts extends MemberClientParts {
  readonly members: Watch<readonly Member[]>;
  /** Zone of this node. */
  readonly az: string;
  onClosed(): void;
}

/** Sends requests to the members with a role, this node included if it has the role. Made by `connectToRole`. */
export class RoleClient {
  readonly role: string;
  readonly #parts: RoleClientParts;
  readonly #sameAz: boolean;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #nextChange: NextChange;
  readonly #aside: Map<string, { readonly failures: number; readonly untilMs: number }> = new Map();
  /** What `#candidates` was made of. */
  #roster: readonly Member[] | undefined;
  #candidates: readonly Member[] = [];
  #turn = 0;

  constructor(parts: RoleClientParts, role: string, options: RoleClientOptions = {}) {
    this.role = role;
    this.#parts = parts;
    this.#sameAz = options.sameAz ?? true;
    this.#clock = parts.parts.settings.clock;
    this.#nextChange = new NextChange(parts.members, this.#clock, this.#closing.signal);
  }

  /** The members that have the role now, reachable or not. */
  get members(): readonly Member[] {
    const roster = this.#parts.members.current;
    if (roster === this.#roster) return this.#candidates;
    this.#roster = roster;
    this.#candidates = roster.filter(({ roles }) => roles.includes(this.role));
    const known = new Set(this.#candidates.map(({ uuid }) => uuid));
    for (const uuid of this.#aside.keys()) if (!known.has(uuid)) this.#aside.delete(uuid);
    return this.#candidates;
  }

  /**
   * Sends the request to the next member with the role, waiting for one if there is none. What did not reach one goes
   * to the next; so does what was lost on the way, if that is safe. Needs no `this`:
   * `hc<typeof workerApp>("http://worker", { fetch: client.fetch })`.
   *
   * @param input a path, or a URL, whose path and query count
   * @throws ClusterError `unavailable` `no_member` if no member answered in time, `outcome_unknown` if the request was
   *   sent and its answer lost and it must not be repeated, `invalid`, `closed`
   */
  readonly fetch: MemberFetch = async (input: FetchInput, init: MemberRequestInit = {}): Promise<Response> => {
    const request = await MemberRequest.read(this.#parts, input, init);
    const tried = new Set<string>();
    while (!this.#closing.signal.aborted) {
      if (request.leftMs <= 0) throw request.timedOut("no_member", `no ${this.role}`, "nobody has the role");
      const members = this.members;
      const member = this.#next(members, tried);
      if (member !== undefined) {
        tried.add(member.uuid);
        const response = (await this.#isReachable(member, request)) ? await request.tryAt(member) : undefined;
        if (response === undefined) {
          this.#leaveAside(member);
          continue;
        }
        this.#aside.delete(member.uuid);
        return response;
      }
      tried.clear();
      if (this.members === members) {
        await request.wait(
          members.length === 0 ? this.#nextChange.change() : this.#nextChange.changeOrPause(RETRY_PAUSE_MS),
        );
      }
    }
    throw new ClusterError("closed", "client_closed", `the client of the role ${this.role} is closed`);
  };

  /** Takes no more requests, and ends those that wait for a member. Safe twice. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#parts.onClosed();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Whose turn it is: of the own zone if there is one to ask. */
  #next(members: readonly Member[], tried: ReadonlySet<string>): Member | undefined {
    const nowMs = this.#clock.monotonicMs();
    const isFree = ({ uuid }: Member) => !tried.has(uuid) && (this.#aside.get(uuid)?.untilMs ?? 0) <= nowMs;
    const free = members.filter(isFree);
    const near = this.#sameAz ? free.filter(({ az }) => az === this.#parts.az) : [];
    const choice = near.length > 0 ? near : free;
    return choice[this.#turn++ % Math.max(1, choice.length)];
  }

  /** False if the member has no connection, and none can be made soon while others could answer. */
  async #isReachable({ uuid, address }: Member, request: MemberRequest): Promise<boolean> {
    if (uuid === this.#parts.uuid || this.members.length < 2) return true;
    const peer = this.#parts.pool.of(address);
    if (peer.state === "open") return true;
    await request.wait(peer.connect(), CONNECT_PATIENCE_MS);
    // An attempt that failed is told better by the request itself; only one that goes on is not waited for.
    return peer.state !== "connecting";
  }

  #leaveAside({ uuid }: Member): void {
    const failures = (this.#aside.get(uuid)?.failures ?? 0) + 1;
    const pauseMs = backoffMs(failures, ASIDE, this.#parts.parts.settings.random.fraction());
    this.#aside.set(uuid, { failures, untilMs: this.#clock.monotonicMs() + pauseMs });
  }
}
