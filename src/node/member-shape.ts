/** What other nodes tell, checked before it is believed. */
import { z } from "zod";
import { MEMBERS_MAX, type Member } from "../protocol/roster.ts";

const epoch = z.number().int().min(-1).max(Number.MAX_SAFE_INTEGER);

export const memberShape: z.ZodType<Member> = z.object({
  uuid: z.string().min(1).max(100),
  az: z.string().max(100),
  address: z.string().max(300),
  role: z.enum(["leader", "standby", "follower"]),
  roles: z.array(z.string().max(64)).max(100),
  runtime: z.string().max(100),
  version: z.string().max(100),
  epoch,
  lagMs: z.number().min(0),
  startedAt: z.string().max(100),
});

/** A roster. */
export const membersShape: z.ZodType<Member[]> = z.array(memberShape).max(MEMBERS_MAX);

/** A member's report of itself. */
export interface Report {
  readonly member: Member;
  /** It says goodbye. */
  readonly isLeaving: boolean;
  /** It has no stream that would tell it the roster. */
  readonly wantsRoster: boolean;
}
export const reportShape: z.ZodType<Report> = z.object({
  member: memberShape,
  isLeaving: z.boolean(),
  wantsRoster: z.boolean(),
});

/** The wish for a stream of what is after `epoch`. */
export interface SubscribeRequest {
  readonly member: Member;
  readonly epoch: number;
}
export const subscribeShape: z.ZodType<SubscribeRequest> = z.object({ member: memberShape, epoch });

/** A member would lead next. */
export interface Acceptance {
  readonly uuid: string;
}
export const acceptanceShape: z.ZodType<Acceptance> = z.object({ uuid: z.string().min(1).max(100) });

/** A node leads since `epoch`. */
export interface Announcement {
  readonly leader: { readonly uuid: string; readonly az: string; readonly address: string };
  readonly epoch: number;
}
export const announcementShape: z.ZodType<Announcement> = z.object({
  leader: z.object({ uuid: z.string().min(1).max(100), az: z.string().max(100), address: z.string().max(300) }),
  epoch,
});

/** The wish for a rollback to a point in time; what it means, the leader finds out. */
export interface RollbackRequest {
  readonly point: number | string;
}
export const rollbackShape: z.ZodType<RollbackRequest> = z.object({
  point: z.union([z.number(), z.string().max(100)]),
});
