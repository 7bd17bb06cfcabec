/** What following knows, hears and does; `follow.ts` decides. */
import type { ClockReading } from "../base/clock.ts";
import { type ContactSettings, type LeaderContact, NO_CONTACT, reliedOnUntilMs } from "./leader-contact.ts";
import { elapsedMs, type Instant, type Moment, NEVER, TRIM_AGE_MIN_MS } from "./moment.ts";

export interface FollowSettings extends ContactSettings {
  /** False for followers: they never claim. */
  readonly candidate: boolean;
  readonly pollIntervalMs: number;
  /** While someone waits for an epoch. */
  readonly eagerPollIntervalMs: number;
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

/** Rule 3: allowance for the store's clock, whose `Last-Modified` has whole seconds. */
export const STORE_CLOCK_MARGIN_MS = 2000;

/**
 * Why a node claims: the leader stepped down (`vacant`, rule 1), nothing came for a session time-out (`silent`, 2), the
 * newest epoch was old at join (`stale`, 3), the leader's address refuses (`refused`, 4).
 */
export type ClaimReason = "vacant" | "silent" | "stale" | "refused";

export interface FollowState {
  /** The applied epoch. */
  readonly epoch: number;
  /** Whether its `leader` row is there. */
  readonly hasLeader: boolean;
  readonly activity: "waiting" | "fetching" | "asking" | "bootstrapping" | "claiming";
  /** When the newest epoch was first seen here. */
  readonly progressAt: Instant;
  /** When what is applied was last known to be all that there is. */
  readonly currentAtMs: number;
  /** Rule 3: the newest epoch was old by the store's clock when the node joined. */
  readonly staleAtJoin: boolean;
  /** Nothing is fetched before the store has told that it continues what is applied. */
  readonly mustAsk: boolean;
  /** Rule 1: when the claim is due. */
  readonly claimAtMs: number | undefined;
  /** No claim by rules 1 to 3 before this: the node has just stepped down, and lets others first. */
  readonly noClaimBeforeMs: number;
  readonly pollAtMs: number;
  /** When the store was last asked for later epochs. */
  readonly askedAt: Instant;
  /** As of when the epoch after the applied one did not exist: the store answered so, or the leader that hands over. */
  readonly provenAt: Instant;
  /** Failures in a row. */
  readonly failures: number;
  /** Divergences since an epoch was last applied: every second one waits before it is believed again. */
  readonly divergences: number;
  /** The highest epoch that somebody waits for, and until when. */
  readonly wantedEpoch: number;
  readonly wantedUntilMs: number;
  readonly contact: LeaderContact;
}

export type FollowEvent =
  | { readonly type: "tick" }
  /** Somebody waits for this epoch, until then at the longest. */
  | { readonly type: "wanted"; readonly epoch: number; readonly untilMs: number }
  /** A leader's stream told that it is at this epoch; `isHere`: the one after ours came with it. */
  | { readonly type: "offered"; readonly from: string; readonly epoch: number; readonly isHere: boolean }
  | { readonly type: "streamClosed" }
  /** The leader's address refused or reset a connection. */
  | { readonly type: "leaderRefused" }
  /** Another node leads, as of the epoch that was applied. */
  | { readonly type: "leaderChanged"; readonly leader: string }
  /** The leader asked this node to lead next, and this node accepts. */
  | { readonly type: "accepting" }
  /** The leader knows that, and steps down with an epoch that it begins after having heard it. */
  | { readonly type: "handover" }
  /** `late`: the answer came so long after anything was known that it is not taken. */
  | { readonly type: "fetchAnswered"; readonly found: "missing" | "failed" | "late" }
  /** The fetched epoch was verified and applied. */
  | { readonly type: "applied"; readonly epoch: number; readonly hasLeader: boolean }
  /** The fetched object is damaged (`damaged`), or our state is not the one that it builds on (`diverged`). */
  | { readonly type: "refused"; readonly reason: "damaged" | "diverged" }
  | { readonly type: "askAnswered"; readonly found: "none" | "next" | "hole" | "failed" }
  /** `readAt`: as of when nothing after the epoch was trimmed. */
  | { readonly type: "bootstrapped"; readonly epoch: number; readonly hasLeader: boolean; readonly readAt: Instant }
  | { readonly type: "bootstrapFailed" }
  /** The leadership that was claimed is over, or was never won; `epoch` is now the applied one. */
  | {
      readonly type: "leadershipEnded";
      readonly epoch: number;
      readonly hasLeader: boolean;
      readonly steppedDown: boolean;
      /** As of when nobody else had gone on from that epoch. */
      readonly provenAt: Instant;
      /** Whether the claim was ever durable. */
      readonly wasLeading: boolean;
      /** History went on without our epochs: the next one in the store may be our own orphan. */
      readonly isLeftBehind?: boolean;
    };

export type FollowAction =
  | { readonly type: "fetch"; readonly epoch: number }
  /** List what is after this epoch. */
  | { readonly type: "ask"; readonly afterEpoch: number }
  | { readonly type: "bootstrap" }
  /** `provenAt`: as of when the epoch to claim did not exist. */
  | { readonly type: "claim"; readonly reason: ClaimReason; readonly provenAt: Instant };

/**
 * A node that has just joined.
 *
 * @param newestAgeMs age of the newest epoch by the store's own clock
 * @param readAt as of when nothing after the epoch was trimmed
 */
export function beginFollow(
  epoch: number,
  hasLeader: boolean,
  newestAgeMs: number,
  readAt: Instant,
  settings: FollowSettings,
  moment: Moment,
): FollowState {
  return {
    epoch,
    hasLeader,
    activity: "waiting",
    progressAt: readAt,
    currentAtMs: moment.nowMs,
    staleAtJoin: newestAgeMs > settings.sessionTimeoutMs + STORE_CLOCK_MARGIN_MS,
    mustAsk: false,
    claimAtMs: undefined,
    noClaimBeforeMs: Number.NEGATIVE_INFINITY,
    pollAtMs: moment.nowMs,
    askedAt: NEVER,
    provenAt: NEVER,
    failures: 0,
    divergences: 0,
    wantedEpoch: -1,
    wantedUntilMs: Number.NEGATIVE_INFINITY,
    contact: NO_CONTACT,
  };
}

/** Whether the epoch after the applied one may have been written, trimmed and created again since anything was known. */
export function mayBeTrimmed(state: FollowState, now: ClockReading): boolean {
  return Math.min(elapsedMs(state.progressAt, now), elapsedMs(state.provenAt, now)) > TRIM_AGE_MIN_MS;
}

/** How long epochs may have been missing here, in milliseconds: 0 while the leader's stream says that there are none. */
export function lagMs(state: FollowState, settings: FollowSettings, nowMs: number): number {
  const isCurrent = state.contact.offeredEpoch <= state.epoch && nowMs < reliedOnUntilMs(state.contact, settings);
  return isCurrent ? 0 : nowMs - state.currentAtMs;
}
