/**
 * Following and electing (docs/architecture.md §5) as a function of (state, event).
 *
 * ```
 *             missing: wait, then                 the hole says: our epochs are gone
 *   fetching N+1 ◄──────────► waiting ──► asking ─────────────► bootstrapping
 *      │ found, applied: N+2     │          │ nothing later
 *      ▼                         ▼          ▼
 *    (again)                  claiming (candidates: rules 1 to 3) ──► leads, or lost: fetch
 * ```
 *
 * Nothing here is needed for safety: a claim is a create-if-absent of N+1, so
 * being wrong about when to claim costs a change of leadership and no more.
 */
import { backoffMs, type Decision, type Moment } from "./moment.ts";

export interface FollowSettings {
  /** False for followers: they never claim. */
  readonly candidate: boolean;
  readonly pollIntervalMs: number;
  /** While someone waits for an epoch. */
  readonly eagerPollIntervalMs: number;
  readonly sessionTimeoutMs: number;
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
}

/** Rule 1: candidates spread their claims over this time. */
export const CLAIM_DELAY_MAX_MS = 100;
/** Rule 3: allowance for the store's clock, whose `Last-Modified` has whole seconds. */
export const STORE_CLOCK_MARGIN_MS = 2000;

export interface FollowState {
  /** The applied epoch. */
  readonly epoch: number;
  /** Whether its `leader` row is there. */
  readonly hasLeader: boolean;
  readonly activity: "waiting" | "fetching" | "asking" | "bootstrapping" | "claiming";
  /** When the newest epoch was first seen here, by the monotonic and by the wall clock. */
  readonly progressAtMs: number;
  readonly progressAtWallMs: number;
  /** True once N+1 was found missing: what is applied is the newest there is, or was then. */
  readonly caughtUp: boolean;
  /** Rule 3: the newest epoch was old by the store's clock when the node joined. */
  readonly staleAtJoin: boolean;
  /** Nothing is fetched before the store has told that it continues what is applied. */
  readonly mustAsk: boolean;
  /** Rule 1: when the claim is due. */
  readonly claimAtMs: number | undefined;
  /** No claim before this: the node has just stepped down. */
  readonly noClaimBeforeMs: number;
  readonly pollAtMs: number;
  /** When the store was last asked for later epochs, by both clocks. */
  readonly askedAtMs: number;
  readonly askedAtWallMs: number;
  /** Failures in a row. */
  readonly failures: number;
  /** Divergences since an epoch was last applied: every second one waits before it is believed again. */
  readonly divergences: number;
  /** The highest epoch that somebody waits for, and until when. */
  readonly wantedEpoch: number;
  readonly wantedUntilMs: number;
}

export type FollowEvent =
  | { readonly type: "tick" }
  /** Somebody waits for this epoch, until then at the longest. */
  | { readonly type: "wanted"; readonly epoch: number; readonly untilMs: number }
  | { readonly type: "fetchAnswered"; readonly found: "missing" | "failed" }
  /** The fetched epoch was verified and applied. */
  | { readonly type: "applied"; readonly epoch: number; readonly hasLeader: boolean }
  /** The fetched object is damaged (`damaged`), or our state is not the one that it builds on (`diverged`). */
  | { readonly type: "refused"; readonly reason: "damaged" | "diverged" }
  | { readonly type: "askAnswered"; readonly found: "none" | "next" | "hole" | "failed" }
  | { readonly type: "bootstrapped"; readonly epoch: number; readonly hasLeader: boolean }
  | { readonly type: "bootstrapFailed" }
  /** The leadership that was claimed is over, or was never won; `epoch` is now the applied one. */
  | {
      readonly type: "leadershipEnded";
      readonly epoch: number;
      readonly hasLeader: boolean;
      readonly steppedDown: boolean;
      /** History went on without our epochs: the next one in the store may be our own orphan. */
      readonly isLeftBehind?: boolean;
    };

export type FollowAction =
  | { readonly type: "fetch"; readonly epoch: number }
  /** List what is after this epoch. */
  | { readonly type: "ask"; readonly afterEpoch: number }
  | { readonly type: "bootstrap" }
  | { readonly type: "claim" };

/**
 * A node that has just joined.
 *
 * @param newestAgeMs age of the newest epoch by the store's own clock
 */
export function beginFollow(
  epoch: number,
  hasLeader: boolean,
  newestAgeMs: number,
  settings: FollowSettings,
  moment: Moment,
): FollowState {
  return {
    epoch,
    hasLeader,
    activity: "waiting",
    progressAtMs: moment.nowMs,
    progressAtWallMs: moment.wallMs,
    caughtUp: false,
    staleAtJoin: newestAgeMs > settings.sessionTimeoutMs + STORE_CLOCK_MARGIN_MS,
    mustAsk: false,
    claimAtMs: undefined,
    noClaimBeforeMs: Number.NEGATIVE_INFINITY,
    pollAtMs: moment.nowMs,
    askedAtMs: Number.NEGATIVE_INFINITY,
    askedAtWallMs: Number.NEGATIVE_INFINITY,
    failures: 0,
    divergences: 0,
    wantedEpoch: -1,
    wantedUntilMs: Number.NEGATIVE_INFINITY,
  };
}

/** The next state and what to do. */
export function stepFollow(
  state: FollowState,
  event: FollowEvent,
  settings: FollowSettings,
  moment: Moment,
): Decision<FollowState, FollowAction> {
  const { nowMs } = moment;
  switch (event.type) {
    case "tick":
      return proceed(state, settings, moment);
    case "wanted": {
      if (event.epoch <= state.epoch) return proceed(state, settings, moment);
      // A wish that has come true or run out says nothing about how long this one lasts.
      const isOther = isWanted(state, nowMs);
      const wantedEpoch = isOther ? Math.max(event.epoch, state.wantedEpoch) : event.epoch;
      const wantedUntilMs = isOther ? Math.max(event.untilMs, state.wantedUntilMs) : event.untilMs;
      // While requests fail, who waits does not make them come faster.
      const pollAtMs = state.failures === 0 ? Math.min(state.pollAtMs, nowMs) : state.pollAtMs;
      return proceed({ ...state, wantedEpoch, wantedUntilMs, pollAtMs }, settings, moment);
    }
    case "fetchAnswered":
      if (state.activity !== "fetching") return proceed(state, settings, moment);
      if (event.found === "failed") return failed(state, settings, moment);
      return missing(state, settings, moment);
    case "applied":
      return proceed(
        {
          ...state,
          epoch: event.epoch,
          hasLeader: event.hasLeader,
          activity: "waiting",
          progressAtMs: nowMs,
          progressAtWallMs: moment.wallMs,
          staleAtJoin: false,
          claimAtMs: undefined,
          failures: 0,
          divergences: 0,
          pollAtMs: nowMs,
        },
        settings,
        moment,
      );
    case "refused":
      if (event.reason === "damaged") return failed(state, settings, moment);
      return diverged({ ...state, divergences: state.divergences + 1 }, settings, moment);
    case "askAnswered":
      if (state.activity !== "asking") return proceed(state, settings, moment);
      return answered(state, event.found, settings, moment);
    case "bootstrapped": {
      const began = beginFollow(event.epoch, event.hasLeader, 0, settings, moment);
      const { noClaimBeforeMs, wantedEpoch, wantedUntilMs, divergences } = state;
      return proceed({ ...began, noClaimBeforeMs, wantedEpoch, wantedUntilMs, divergences }, settings, moment);
    }
    case "bootstrapFailed":
      return failed({ ...state, caughtUp: false, mustAsk: true }, settings, moment);
    case "leadershipEnded": {
      const pauseMs = event.steppedDown ? settings.pollIntervalMs * 2 + CLAIM_DELAY_MAX_MS + STORE_CLOCK_MARGIN_MS : 0;
      const began = beginFollow(event.epoch, event.hasLeader, 0, settings, moment);
      const { wantedEpoch, wantedUntilMs } = state;
      const mustAsk = event.isLeftBehind === true;
      return proceed(
        { ...began, mustAsk, noClaimBeforeMs: nowMs + pauseMs, wantedEpoch, wantedUntilMs },
        settings,
        moment,
      );
    }
  }
}

/** What to do now, if nothing is under way. */
function proceed(state: FollowState, settings: FollowSettings, moment: Moment): Decision<FollowState, FollowAction> {
  const { nowMs, wallMs } = moment;
  if (state.activity !== "waiting") return wait(state, Number.POSITIVE_INFINITY);
  if (nowMs >= state.pollAtMs) {
    if (mustAsk(state, settings, moment)) {
      const asking: FollowState = { ...state, activity: "asking", askedAtMs: nowMs, askedAtWallMs: wallMs };
      return act(asking, { type: "ask", afterEpoch: state.epoch });
    }
    return act({ ...state, activity: "fetching" }, { type: "fetch", epoch: state.epoch + 1 });
  }
  const claimAtMs = state.claimAtMs ?? Number.POSITIVE_INFINITY;
  if (nowMs >= claimAtMs) return act({ ...state, activity: "claiming", claimAtMs: undefined }, { type: "claim" });
  return wait(state, Math.min(state.pollAtMs, claimAtMs));
}

/**
 * After long without progress an epoch is not fetched on trust: history may be
 * going on where we cannot see it, with our epochs trimmed away, and N+1 may be
 * one that a paused leader created again.
 */
function mustAsk(state: FollowState, settings: FollowSettings, moment: Moment): boolean {
  if (state.mustAsk || (state.staleAtJoin && settings.candidate)) return true;
  const silentMs = moment.nowMs - Math.max(state.progressAtMs, state.askedAtMs);
  const silentWallMs = moment.wallMs - Math.max(state.progressAtWallMs, state.askedAtWallMs);
  return Math.max(silentMs, silentWallMs) > settings.sessionTimeoutMs;
}

/** N+1 is not there. Rule 1: is there anyone to write it? */
function missing(state: FollowState, settings: FollowSettings, moment: Moment): Decision<FollowState, FollowAction> {
  const next = idle(state, settings, moment);
  if (!settings.candidate || next.hasLeader || next.claimAtMs !== undefined) return proceed(next, settings, moment);
  const claimAtMs = Math.max(moment.nowMs, next.noClaimBeforeMs) + CLAIM_DELAY_MAX_MS * moment.fraction;
  return proceed({ ...next, claimAtMs }, settings, moment);
}

/** Nothing newer is there: wait for it. */
function idle(state: FollowState, settings: FollowSettings, moment: Moment): FollowState {
  const intervalMs = isWanted(state, moment.nowMs) ? settings.eagerPollIntervalMs : settings.pollIntervalMs;
  return { ...state, activity: "waiting", caughtUp: true, failures: 0, pollAtMs: moment.nowMs + intervalMs };
}

function isWanted(state: FollowState, nowMs: number): boolean {
  return state.wantedEpoch > state.epoch && nowMs < state.wantedUntilMs;
}

function answered(
  state: FollowState,
  found: "none" | "next" | "hole" | "failed",
  settings: FollowSettings,
  moment: Moment,
): Decision<FollowState, FollowAction> {
  switch (found) {
    case "failed":
      return failed(
        { ...state, askedAtMs: Number.NEGATIVE_INFINITY, askedAtWallMs: Number.NEGATIVE_INFINITY },
        settings,
        moment,
      );
    case "hole":
      return act({ ...state, activity: "bootstrapping" }, { type: "bootstrap" });
    case "next":
      return act(
        { ...state, activity: "fetching", staleAtJoin: false, mustAsk: false },
        { type: "fetch", epoch: state.epoch + 1 },
      );
    case "none": {
      // Rules 2 and 3: nothing came for a session time-out, and nothing is hidden behind a gap.
      const { nowMs } = moment;
      // The wall clock makes us ask, for a suspended machine; that it was set does not make the leader silent.
      const isSilent = state.staleAtJoin || nowMs - state.progressAtMs > settings.sessionTimeoutMs;
      const mayClaim = settings.candidate && isSilent && nowMs >= state.noClaimBeforeMs;
      const next = { ...idle(state, settings, moment), staleAtJoin: false, mustAsk: false };
      return mayClaim ? act({ ...next, activity: "claiming" }, { type: "claim" }) : proceed(next, settings, moment);
    }
  }
}

function diverged(state: FollowState, settings: FollowSettings, moment: Moment): Decision<FollowState, FollowAction> {
  if (state.divergences % 2 === 0) return failed({ ...state, failures: state.divergences }, settings, moment);
  return act({ ...state, activity: "bootstrapping" }, { type: "bootstrap" });
}

function failed(state: FollowState, settings: FollowSettings, moment: Moment): Decision<FollowState, FollowAction> {
  const failures = state.failures + 1;
  const pauseMs = backoffMs(failures, settings.retryBaseMs, settings.retryMaxMs, moment.fraction);
  return wait({ ...state, activity: "waiting", failures, pollAtMs: moment.nowMs + pauseMs }, moment.nowMs + pauseMs);
}

function act(state: FollowState, action: FollowAction): Decision<FollowState, FollowAction> {
  return { state, actions: [action], wakeAtMs: Number.POSITIVE_INFINITY };
}

function wait(state: FollowState, wakeAtMs: number): Decision<FollowState, FollowAction> {
  return { state, actions: [], wakeAtMs };
}
