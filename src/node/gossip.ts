/**
 * Members tell the leader of themselves, and it tells them of each other
 * (docs/architecture.md §6). While nobody leads, the last roster stands.
 */
import type { Cancel } from "../base/clock.ts";
import { errorMessage } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import {
  expired,
  heard,
  isSameMembership,
  left,
  type Member,
  membersOf,
  type Roster,
  told,
} from "../protocol/roster.ts";
import type { NodeParts } from "./parts.ts";

/** The body of a report: one's own entry, and whether it is a goodbye. */
export interface GossipReport {
  readonly member: Member;
  readonly leaving: boolean;
}

/** The leader's answer. */
export interface GossipAnswer {
  readonly members: readonly Member[];
}

export interface GossipPeers {
  /** This node as it is now. */
  self(): Member;
  /** Whom the replica names as leader. */
  leader(): Leader | undefined;
  isLeading(): boolean;
  /** Sends a report to the leader. */
  report(leader: Leader, report: GossipReport, signal: AbortSignal): Promise<GossipAnswer>;
  /** The members changed. */
  onMembers(members: readonly Member[]): void;
}

export class Gossip {
  readonly #parts: NodeParts;
  readonly #peers: GossipPeers;
  #roster: Roster = new Map();
  #members: readonly Member[] = [];
  #cancelNext: Cancel = () => {};
  #isClosed = false;
  #reporting: AbortController | undefined;

  constructor(parts: NodeParts, peers: GossipPeers) {
    this.#parts = parts;
    this.#peers = peers;
  }

  start(): void {
    this.#set(heard(this.#roster, this.#peers.self(), this.#nowMs()));
    this.#round();
  }

  /** The leader changed: report to it at once; whom it replaced is gone until it reports itself. */
  leaderChanged(previous: Leader | undefined): void {
    if (this.#isClosed) return;
    // A report to whom it replaced may hang as long as that one does.
    this.#reporting?.abort();
    this.#reporting = undefined;
    if (previous !== undefined && previous.uuid !== this.#peers.self().uuid)
      this.#set(left(this.#roster, previous.uuid));
    if (this.#peers.isLeading()) this.#set(told(this.#members, this.#nowMs()));
    this.#round();
  }

  /** Takes a report, as the leader. */
  take(report: GossipReport): GossipAnswer {
    const { member, leaving } = report;
    this.#set(leaving ? left(this.#roster, member.uuid) : heard(this.#roster, member, this.#nowMs()));
    return { members: this.#members };
  }

  /** Says goodbye and ends; never fails. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelNext();
    const leader = this.#peers.leader();
    if (leader === undefined || leader.uuid === this.#peers.self().uuid) return;
    await this.#peers
      .report(leader, { member: this.#peers.self(), leaving: true }, new AbortController().signal)
      .catch(() => {});
  }

  #round(): void {
    this.#cancelNext();
    if (this.#isClosed) return;
    this.#cancelNext = this.#parts.settings.clock.after(this.#parts.settings.gossipIntervalMs, () => this.#round());
    if (this.#peers.isLeading()) this.#lead();
    else void this.#reportToLeader();
  }

  #lead(): void {
    const self = this.#peers.self();
    const known = expired(this.#roster, this.#nowMs(), this.#parts.settings.sessionTimeoutMs);
    this.#set(heard(known, self, this.#nowMs()));
  }

  async #reportToLeader(): Promise<void> {
    const self = this.#peers.self();
    const leader = this.#peers.leader();
    if (leader === undefined || leader.uuid === self.uuid || this.#reporting !== undefined) return;
    const reporting = new AbortController();
    this.#reporting = reporting;
    try {
      const answer = await this.#peers.report(leader, { member: self, leaving: false }, reporting.signal);
      if (!this.#isClosed && !reporting.signal.aborted && !this.#peers.isLeading())
        this.#set(told(answer.members, this.#nowMs()));
    } catch (error) {
      if (!this.#isClosed && !reporting.signal.aborted)
        this.#parts.log({ level: "debug", event: "gossip_failed", leader: leader.uuid, reason: errorMessage(error) });
    } finally {
      if (this.#reporting === reporting) this.#reporting = undefined;
    }
  }

  #set(roster: Roster): void {
    this.#roster = roster;
    const members = membersOf(roster);
    const isSame = isSameMembership(members, this.#members);
    this.#members = members;
    if (!isSame && !this.#isClosed) this.#peers.onMembers(members);
  }

  #nowMs(): number {
    return this.#parts.settings.clock.monotonicMs();
  }
}
