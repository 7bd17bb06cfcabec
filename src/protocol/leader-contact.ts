/** What a node knows of the leader besides its epochs: its stream, and whether its address refuses. */
import { type Instant, NEVER } from "./moment.ts";

/** Rule 4: the leader's address refuses twice, so far apart. */
export const REFUSAL_GAP_MS = 100;
/** A stream that says nothing for so many heartbeats is not relied on. */
const SILENT_HEARTBEATS = 2;

export interface ContactSettings {
  readonly heartbeatIntervalMs: number;
  readonly sessionTimeoutMs: number;
  /** Rule 4. */
  readonly fastFailover: boolean;
}

export interface LeaderContact {
  /** A leader's stream is open … */
  readonly isStreaming: boolean;
  /** … from the node with this uuid. */
  readonly from: string | undefined;
  /** When it last said anything. */
  readonly heardAtMs: number;
  /** The newest epoch that it told of. */
  readonly offeredEpoch: number;
  /** When the address first refused since it was last reached. */
  readonly refusedAtMs: number | undefined;
  /** It refused twice, far enough apart. */
  readonly isGone: boolean;
  /** When this node accepted to lead after this leader. */
  readonly acceptedAt: Instant;
  /** The leader, who is stepping down, named this node to lead next; good until then. */
  readonly successorUntilMs: number;
  /** When rule 4 was last used. */
  readonly claimedAtMs: number;
  /** Rule 4 is used once a session time-out, and not within one of having been fenced. */
  readonly notBeforeMs: number;
}

/** Of a node that has heard nothing yet. */
export const NO_CONTACT: LeaderContact = Object.freeze({
  isStreaming: false,
  from: undefined,
  heardAtMs: Number.NEGATIVE_INFINITY,
  offeredEpoch: -1,
  refusedAtMs: undefined,
  isGone: false,
  acceptedAt: NEVER,
  successorUntilMs: Number.NEGATIVE_INFINITY,
  claimedAtMs: Number.NEGATIVE_INFINITY,
  notBeforeMs: Number.NEGATIVE_INFINITY,
});

/** The stream told of the epoch that the leader is at. */
export function contactHeard(contact: LeaderContact, from: string, epoch: number, nowMs: number): LeaderContact {
  const offeredEpoch = contact.from === from ? Math.max(contact.offeredEpoch, epoch) : epoch;
  return { ...contact, isStreaming: true, from, heardAtMs: nowMs, offeredEpoch, refusedAtMs: undefined, isGone: false };
}

/** The stream ended. */
export function contactLost(contact: LeaderContact): LeaderContact {
  return { ...contact, isStreaming: false };
}

/** The leader's address refused a connection. */
export function contactRefused(contact: LeaderContact, nowMs: number): LeaderContact {
  const refusedAtMs = contact.refusedAtMs ?? nowMs;
  return { ...contact, isStreaming: false, refusedAtMs, isGone: nowMs - refusedAtMs >= REFUSAL_GAP_MS };
}

/** An epoch was applied: one that came long after a refusal shows that the leader lives, only not for us. */
export function contactAdvanced(contact: LeaderContact, nowMs: number): LeaderContact {
  const { refusedAtMs } = contact;
  if (refusedAtMs === undefined || nowMs - refusedAtMs <= REFUSAL_GAP_MS) return contact;
  return { ...contact, refusedAtMs: undefined, isGone: false };
}

/** Another node leads, or none: of whom nothing is known, unless its stream was there first. */
export function contactChanged(contact: LeaderContact, leader: string | undefined): LeaderContact {
  const { from, isStreaming, heardAtMs, offeredEpoch, notBeforeMs } = contact;
  const isKnown = leader !== undefined && from === leader;
  return { ...NO_CONTACT, notBeforeMs, ...(isKnown ? { from, isStreaming, heardAtMs, offeredEpoch } : {}) };
}

/** This node's claim became durable, or its leadership ended; both count against rule 4 if it led. */
export function contactAfterLeading(
  contact: LeaderContact,
  fencedAtMs: number,
  settings: ContactSettings,
): LeaderContact {
  const countsFromMs = Math.max(contact.claimedAtMs, fencedAtMs);
  return { ...NO_CONTACT, notBeforeMs: Math.max(contact.notBeforeMs, countsFromMs + settings.sessionTimeoutMs) };
}

/** Until when the stream's silence means that there is nothing new. */
export function reliedOnUntilMs(contact: LeaderContact, settings: ContactSettings): number {
  if (!contact.isStreaming) return Number.NEGATIVE_INFINITY;
  return contact.heardAtMs + SILENT_HEARTBEATS * settings.heartbeatIntervalMs;
}

/** Whether a refusing leader may be replaced now. */
export function mayReplaceRefusing(contact: LeaderContact, settings: ContactSettings, nowMs: number): boolean {
  return settings.fastFailover && nowMs >= contact.notBeforeMs;
}
