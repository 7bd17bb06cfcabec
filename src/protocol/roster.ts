/** Who is in the cluster, as the leader knows it and tells everyone (docs/architecture.md §6). */

/** What a node tells of itself. */
export interface Member {
  /** Identifies one run of one node. */
  readonly uuid: string;
  /** Availability zone. */
  readonly az: string;
  /** `host:port` where it listens. */
  readonly address: string;
  /** Names of the roles that it serves, sorted. */
  readonly roles: readonly string[];
  /** E.g. `node 20.20.2`. */
  readonly runtime: string;
  /** Version of this library. */
  readonly version: string;
  /** The epoch that it has reached. */
  readonly epoch: number;
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

/** The roster that somebody else told, everyone heard of just now. */
export function told(members: readonly Member[], nowMs: number): Roster {
  return new Map(members.slice(0, MEMBERS_MAX).map((member) => [member.uuid, { member, heardAtMs: nowMs }]));
}

/** Members in the order of zone, start and uuid. */
export function membersOf(roster: Roster): readonly Member[] {
  const orderOf = ({ az, startedAt, uuid }: Member) => `${az}\n${startedAt}\n${uuid}`;
  return [...roster.values()].map(({ member }) => member).sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
}

/** True if both name the same members at the same places in the same roles; epochs may differ. */
export function isSameMembership(a: readonly Member[], b: readonly Member[]): boolean {
  const textOf = (members: readonly Member[]) =>
    JSON.stringify(members.map(({ uuid, az, address, roles }) => [uuid, az, address, roles]));
  return textOf(a) === textOf(b);
}
