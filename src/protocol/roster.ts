/** Who is in the cluster, as the leader knows it and tells everyone (docs/architecture.md §6). */

/** What a node does now. A standby is a follower that tries to lead when nobody does. */
export type Role = "leader" | "standby" | "follower";

/** What a node tells of itself. */
export interface Member {
  /** Identifies one run of one node. */
  readonly uuid: string;
  /** Availability zone. */
  readonly az: string;
  /** `host:port` where it listens. */
  readonly address: string;
  /** What it does. */
  readonly role: Role;
  /** Names of the roles that it serves, sorted. */
  readonly roles: readonly string[];
  /** E.g. `node 20.20.2`. */
  readonly runtime: string;
  /** Version of this library. */
  readonly version: string;
  /** The epoch that it has reached. */
  readonly epoch: number;
  /** How long epochs may have been missing there, in milliseconds; 0 for one that has all that the leader told of. */
  readonly lagMs: number;
  /** RFC 3339. */
  readonly startedAt: string;
}

/** A member and when it was last heard of, by the local monotonic clock. */
export interface RosterEntry {
  readonly member: Member;
  readonly heardAtMs: number;
}

/** Members by uuid. */
export type Roster = ReadonlyMap<string, RosterEntry>;

/** The most members that are remembered; a cluster is small, a flood of reports is not one. */
export const MEMBERS_MAX = 10_000;

/** The roster with what a member has just told of itself. */
export function heard(roster: Roster, member: Member, nowMs: number): Roster {
  if (!roster.has(member.uuid) && roster.size >= MEMBERS_MAX) return roster;
  return new Map(roster).set(member.uuid, { member, heardAtMs: nowMs });
}

/** The roster without a member that said goodbye, or was replaced as leader. */
export function left(roster: Roster, uuid: string): Roster {
  if (!roster.has(uuid)) return roster;
  const rest = new Map(roster);
  rest.delete(uuid);
  return rest;
}

/** The roster without those that were silent for longer than `silenceMaxMs`. */
export function expired(roster: Roster, nowMs: number, silenceMaxMs: number): Roster {
  const heardOf = [...roster].filter(([, { heardAtMs }]) => nowMs - heardAtMs <= silenceMaxMs);
  return heardOf.length === roster.size ? roster : new Map(heardOf);
}

/** The roster in which these members were heard of just now, if they are in it. */
export function alive(roster: Roster, uuids: Iterable<string>, nowMs: number): Roster {
  const next = new Map(roster);
  for (const uuid of uuids) {
    const entry = next.get(uuid);
    if (entry !== undefined) next.set(uuid, { ...entry, heardAtMs: nowMs });
  }
  return next;
}

/** The roster that somebody else told, everyone heard of just now. */
export function told(members: readonly Member[], nowMs: number): Roster {
  return new Map(members.slice(0, MEMBERS_MAX).map((member) => [member.uuid, { member, heardAtMs: nowMs }]));
}

/** Members in the order of zone, start and uuid. */
export function membersOf(roster: Roster): readonly Member[] {
  const orderOf = ({ az, startedAt, uuid }: Member) => `${az}\n${startedAt}\n${uuid}`;
  return [...roster.values()].map(({ member }) => member).sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
}

/** What two lists of members differ in: `membership` is who, where and what as, `progress` only how far they are. */
export function rosterDifference(a: readonly Member[], b: readonly Member[]): "none" | "progress" | "membership" {
  if (a.length !== b.length) return "membership";
  let difference: "none" | "progress" = "none";
  for (const [index, one] of a.entries()) {
    const other = b[index] as Member;
    if (standing(one) !== standing(other)) return "membership";
    if (one.epoch !== other.epoch || one.lagMs !== other.lagMs) difference = "progress";
  }
  return difference;
}

function standing({ uuid, az, address, role, roles }: Member): string {
  return JSON.stringify([uuid, az, address, role, roles]);
}

/** Who should lead when this leader steps down: the standby that is furthest, of those that can be told. */
export function successorOf(
  members: readonly Member[],
  reachable: ReadonlySet<string>,
  az: string,
): string | undefined {
  const standbys = members.filter(({ role, uuid }) => role === "standby" && reachable.has(uuid));
  const [best] = standbys.sort((a, b) => b.epoch - a.epoch || Number(b.az === az) - Number(a.az === az));
  return best?.uuid;
}
