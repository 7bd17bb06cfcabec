/**
 * Members tell the leader of themselves, and it tells them of each other
 * (docs/architecture.md §6). While nobody leads, the last roster stands.
 */
import type { Cancel } from "../base/clock.ts";
import { errorMessage } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import {
  alive,
  expired,
  heard,
  left,
  type Member,
  membersOf,
  type Roster,
  rosterDifference,
  told,
} from "../protocol/roster.ts";
import type { Report } from "./member-shape.ts";
import type { NodeParts } from "./parts.ts";

/** A member that has nothing new to say reports itself after this part of the session time-out. */
const REPORT_FRACTION = 0.25;
/** Without a stream, a member reports itself every interval. */
const SILENT_INTERVALS = 2;

export interface MembershipPeers {
  /** This node as it is now. */
  self(): Member;
  /** Whom the replica names as leader. */
  leader(): Leader | undefined;
  isLeading(): boolean;
  /** The leader's stream is open, which tells the roster. */
  isStreaming(): boolean;
  /** Members whose streams of ours are open. */
  subscribers(): ReadonlySet<string>;
  /** Sends a report to the leader, and gives the roster if it was asked for. */
  report(leader: Leader, report: Report, signal: AbortSignal): Promise<readonly Member[] | undefined>;
  /** Whether an address refuses connections: no process is there. */
  isRefusing(address: string): Promise<boolean>;
  /** As the leader: tells everyone who subscribed. */
  publish(members: readonly Member[]): void;
  /** The members changed; `isNews` is false if only their progress did. */
  onMembers(members: readonly Member[], isNews: boolean): void;
}

export class Membership {
  readonly #parts: NodeParts;
  readonly #peers: MembershipPeers;
  #roster: Roster = new Map();
  #members: readonly Member[] = [];
  /** As the leader: what was published last, and when. */
  #published: readonly Member[] = [];
  #publishedAtMs = Number.NEGATIVE_INFINITY;
  #reported: Member | undefined;
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #reporting: AbortController | undefined;
  readonly #probing = new Set<string>();
  #cancelNext: Cancel = () => {};
  #isLeaving = false;
  #isClosed = false;

  constructor(parts: NodeParts, peers: MembershipPeers) {
    this.#parts = parts;
    this.#peers = peers;
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  start(): void {
    this.#set(heard(this.#roster, this.#peers.self(), this.#nowMs()));
    this.#round();
  }

  /** This node leads. */
  lead(): void {
    if (this.#isClosed) return;
    const nowMs = this.#nowMs();
    this.#published = [];
    this.#set(heard(told(this.#members, nowMs), this.#peers.self(), nowMs));
    this.#round();
  }

  /** Another node leads, or nobody: whom it replaced is gone until it reports itself; who stepped down is not. */
  follow(previous: Leader | undefined): void {
    if (this.#isClosed) return;
    // A report to whom it replaced may hang as long as that one does.
    this.#reporting?.abort();
    this.#reporting = undefined;
    this.#reported = undefined;
    const self = this.#peers.self();
    const isReplaced = previous !== undefined && previous.uuid !== self.uuid && this.#peers.leader() !== undefined;
    const known = isReplaced ? left(this.#roster, previous.uuid) : this.#roster;
    this.#set(heard(known, self, this.#nowMs()));
    this.#round();
  }

  /** As the leader: takes what a member tells of itself. */
  take({ member, isLeaving }: Pick<Report, "member" | "isLeaving">): void {
    if (member.uuid === this.#peers.self().uuid) return;
    this.#set(isLeaving ? left(this.#roster, member.uuid) : heard(this.#roster, member, this.#nowMs()));
  }

  /** Takes the roster of the leader's stream. */
  told(members: readonly Member[]): void {
    if (this.#isClosed || this.#peers.isLeading()) return;
    this.#set(told(members, this.#nowMs()));
  }

  /** As the leader: a member's stream broke. Is it still there? */
  lost(uuid: string): void {
    const member = this.#members.find((one) => one.uuid === uuid);
    if (member === undefined || this.#isClosed || this.#probing.has(uuid)) return;
    this.#probing.add(uuid);
    this.#peers
      .isRefusing(member.address)
      .then(
        (isRefusing) => {
          if (isRefusing && !this.#isClosed && this.#peers.isLeading()) this.#set(left(this.#roster, uuid));
        },
        () => {},
      )
      .finally(() => this.#probing.delete(uuid));
  }

  /** This node's own entry changed. */
  selfChanged(): void {
    if (!this.#isClosed) this.#set(heard(this.#roster, this.#peers.self(), this.#nowMs()));
  }

  /** As the leader: tells that it leaves, and from now on only of the others. */
  leave(): void {
    this.#isLeaving = true;
    if (this.#peers.isLeading()) this.#publish();
  }

  /** Says goodbye and ends; never fails. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cancelNext();
    this.#reporting?.abort();
    const leader = this.#peers.leader();
    const member = this.#peers.self();
    if (leader === undefined || leader.uuid === member.uuid) return;
    const goodbye = { member, isLeaving: true, wantsRoster: false };
    await this.#peers.report(leader, goodbye, new AbortController().signal).catch(() => {});
  }

  #round(): void {
    this.#cancelNext();
    if (this.#isClosed) return;
    this.#cancelNext = this.#parts.settings.clock.after(this.#parts.settings.gossipIntervalMs, () => this.#round());
    if (this.#peers.isLeading()) this.#lead();
    else this.#considerReport();
  }

  #lead(): void {
    const nowMs = this.#nowMs();
    const { sessionTimeoutMs } = this.#parts.settings;
    const known = alive(heard(this.#roster, this.#peers.self(), nowMs), this.#peers.subscribers(), nowMs);
    this.#set(expired(known, nowMs, sessionTimeoutMs));
    this.#probeSilent();
  }

  /** Who has no stream and is silent may be dead: its address tells. */
  #probeSilent(): void {
    const subscribers = this.#peers.subscribers();
    const sinceMs = this.#nowMs() - SILENT_INTERVALS * this.#parts.settings.gossipIntervalMs;
    for (const [uuid, { heardAtMs }] of this.#roster) {
      if (heardAtMs < sinceMs && !subscribers.has(uuid)) this.lost(uuid);
    }
  }

  #considerReport(): void {
    const member = this.#peers.self();
    const { sessionTimeoutMs } = this.#parts.settings;
    const isNews = this.#reported === undefined || rosterDifference([this.#reported], [member]) !== "none";
    const isDue = this.#nowMs() - this.#reportedAtMs >= sessionTimeoutMs * REPORT_FRACTION;
    if (isNews || isDue || !this.#peers.isStreaming()) void this.#reportToLeader(member);
  }

  async #reportToLeader(member: Member): Promise<void> {
    const leader = this.#peers.leader();
    if (leader === undefined || leader.uuid === member.uuid || this.#reporting !== undefined) return;
    const reporting = new AbortController();
    this.#reporting = reporting;
    try {
      const report = { member, isLeaving: false, wantsRoster: !this.#peers.isStreaming() };
      const members = await this.#peers.report(leader, report, reporting.signal);
      if (this.#isClosed || reporting.signal.aborted) return;
      this.#reported = member;
      this.#reportedAtMs = this.#nowMs();
      if (members !== undefined && !this.#peers.isStreaming()) this.told(members);
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
    const difference = rosterDifference(members, this.#members);
    this.#members = members;
    if (this.#isClosed) return;
    if (difference !== "none") this.#peers.onMembers(members, difference === "membership");
    if (this.#peers.isLeading()) this.#publish();
  }

  /** Who is a member at once; how far each is, once an interval. */
  #publish(): void {
    const self = this.#peers.self().uuid;
    const members = this.#isLeaving ? this.#members.filter(({ uuid }) => uuid !== self) : this.#members;
    const difference = rosterDifference(members, this.#published);
    const isDue = this.#nowMs() - this.#publishedAtMs >= this.#parts.settings.gossipIntervalMs;
    if (difference === "none" || (difference === "progress" && !isDue)) return;
    this.#published = members;
    this.#publishedAtMs = this.#nowMs();
    this.#peers.publish(members);
  }

  #nowMs(): number {
    return this.#parts.settings.clock.monotonicMs();
  }
}
