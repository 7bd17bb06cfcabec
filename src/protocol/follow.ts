/**
 * Following and electing (docs/architecture.md §5) as a function of (state, event).
 *
 * ```
 *             missing: wait, then                 the hole says: our epochs are gone
 *   fetching N+1 ◄──────────► waiting ──► asking ─────────────► bootstrapping
 *      │ found, applied: N+2     │          │ nothing later
 *      ▼                         ▼          ▼
 *    (again)                  claiming (candidates: rules 1 to 4) ──► leads, or lost: fetch
 * ```
 *
 * While the leader's stream is up it tells which epochs there are, and a fetch
 * finds them in memory; the store is then asked only when the stream is silent.
 *
 * Nothing here is needed for safety: a claim is a create-if-absent of N+1, so
 * being wrong about when to claim costs a change of leadership and no more.
 */
import {
  beginFollow,
  type ClaimReason,
  type FollowAction,
  type FollowEvent,
  type FollowSettings,
  type FollowState,
  mayBeTrimmed,
  STORE_CLOCK_MARGIN_MS,
} from "./follow-state.ts";
import {
  contactAdvanced,
  contactAfterLeading,
  contactChanged,
  contactHeard,
  contactLost,
  contactRefused,
  mayReplaceRefusing,
  reliedOnUntilMs,
} from "./leader-contact.ts";
import { backoffMs, type Decision, elapsedMs, instantOf, type Moment, NEVER } from "./moment.ts";

/** Rule 1: candidates spread their claims over this time. */
export const CLAIM_DELAY_MAX_MS = 100;
/** Failures in a row, the last of them by damage, before another way than this epoch is looked for. */
const DAMAGED_FETCHES_MIN = 4;

/** The state after an event, and what it leads to whatever else is due. */
interface Reaction {
  readonly state: FollowState;
  readonly action?: FollowAction;
}

/** The next state and what to do. */
export function stepFollow(
  before: FollowState,
  event: FollowEvent,
  settings: FollowSettings,
  moment: Moment,
): Decision<FollowState, FollowAction> {
  const { state, action } = react(before, event, settings, moment);
  return action === undefined ? proceed(state, settings, moment) : act(state, action);
}

function react(state: FollowState, event: FollowEvent, settings: FollowSettings, moment: Moment): Reaction {
  const { nowMs } = moment;
  switch (event.type) {
    case "tick":
      return { state };
    case "wanted":
      return { state: wanted(state, event.epoch, event.untilMs, settings, nowMs) };
    case "offered":
      return { state: offered(state, event, settings, nowMs) };
    case "streamClosed":
      return { state: pollNow({ ...state, contact: contactLost(state.contact) }, nowMs) };
    case "leaderRefused":
      return { state: leaderRefused(state, settings, moment) };
    case "leaderChanged": {
      // While this node claims, the new leader is itself.
      const { contact } = state;
      const isOurs = state.activity === "claiming";
      return {
        state: {
          ...state,
          contact: isOurs
            ? contactAfterLeading(contact, Number.NEGATIVE_INFINITY, settings)
            : contactChanged(contact, event.leader),
        },
      };
    }
    case "accepting":
      return { state: { ...state, contact: { ...state.contact, acceptedAt: instantOf(moment) } } };
    case "handover":
      return { state: handedOver(state, settings, nowMs) };
    case "fetchAnswered":
      if (state.activity !== "fetching") return { state };
      if (event.found === "late") return { state: { ...state, activity: "waiting", mustAsk: true, pollAtMs: nowMs } };
      return { state: event.found === "failed" ? failed(state, settings, moment) : missing(state, settings, moment) };
    case "applied":
      return { state: applied(state, event.epoch, event.hasLeader, settings, moment) };
    case "refused":
      if (event.reason === "damaged") return damaged(state, settings, moment);
      return diverged({ ...state, divergences: state.divergences + 1 }, settings, moment);
    case "askAnswered":
      if (state.activity !== "asking") return { state };
      return answered(state, event.found, settings, moment);
    case "bootstrapped": {
      const began = beginFollow(event.epoch, event.hasLeader, 0, event.readAt, settings, moment);
      const { noClaimBeforeMs, wantedEpoch, wantedUntilMs, divergences, contact } = state;
      return { state: { ...began, noClaimBeforeMs, wantedEpoch, wantedUntilMs, divergences, contact } };
    }
    case "bootstrapFailed":
      return { state: failed({ ...state, mustAsk: true }, settings, moment) };
    case "leadershipEnded":
      return { state: leadershipEnded(state, event, settings, moment) };
  }
}

/** What to do now, if nothing is under way. */
function proceed(state: FollowState, settings: FollowSettings, moment: Moment): Decision<FollowState, FollowAction> {
  const { nowMs } = moment;
  if (state.activity !== "waiting") return wait(state, Number.POSITIVE_INFINITY);
  if (nowMs >= state.pollAtMs) {
    if (mustAsk(state, settings, moment)) return ask(state, moment);
    return act({ ...state, activity: "fetching" }, { type: "fetch", epoch: state.epoch + 1 });
  }
  if (isReplacing(state, settings, nowMs)) return claim(state, "refused", settings, moment);
  const claimAtMs = state.claimAtMs ?? Number.POSITIVE_INFINITY;
  if (nowMs >= claimAtMs) return claim(state, "vacant", settings, moment);
  return wait(state, Math.min(state.pollAtMs, claimAtMs));
}

/**
 * After long without progress an epoch is not fetched on trust: history may be
 * going on where we cannot see it, with our epochs trimmed away, and N+1 may be
 * one that a paused leader created again.
 */
function mustAsk(state: FollowState, settings: FollowSettings, moment: Moment): boolean {
  if (state.mustAsk || (state.staleAtJoin && settings.candidate)) return true;
  const silentMs = moment.nowMs - silentSinceMs(state);
  const silentWallMs = moment.wallMs - Math.max(state.progressAt.wallMs, state.askedAt.wallMs);
  return Math.max(silentMs, silentWallMs) > settings.sessionTimeoutMs;
}

/** Rule 4: the leader's address refuses, and what is applied was all that there is after it first did. */
function isReplacing(state: FollowState, settings: FollowSettings, nowMs: number): boolean {
  const { contact, currentAtMs } = state;
  if (!settings.candidate || !state.hasLeader || !contact.isGone || contact.refusedAtMs === undefined) return false;
  return currentAtMs >= contact.refusedAtMs && mayReplaceRefusing(contact, settings, nowMs);
}

/** A claim needs a recent answer of the store that no later epoch is hidden behind a gap; the claim's PUT checks the rest. */
function claim(
  state: FollowState,
  reason: ClaimReason,
  settings: FollowSettings,
  moment: Moment,
): Decision<FollowState, FollowAction> {
  const { provenAt } = state;
  if (elapsedMs(provenAt, moment) > settings.sessionTimeoutMs) {
    // While requests fail, a claim that is due is no reason to repeat them sooner.
    return state.failures === 0 ? ask(state, moment) : wait({ ...state, mustAsk: true }, state.pollAtMs);
  }
  const claimedAtMs = reason === "refused" ? moment.nowMs : Number.NEGATIVE_INFINITY;
  const contact = { ...state.contact, isGone: false, refusedAtMs: undefined, claimedAtMs };
  const claiming: FollowState = { ...state, activity: "claiming", claimAtMs: undefined, contact };
  return act(claiming, { type: "claim", reason, provenAt });
}

function ask(state: FollowState, moment: Moment): Decision<FollowState, FollowAction> {
  const asking: FollowState = { ...state, activity: "asking", askedAt: instantOf(moment) };
  return act(asking, { type: "ask", afterEpoch: state.epoch });
}

function wanted(
  state: FollowState,
  epoch: number,
  untilMs: number,
  settings: FollowSettings,
  nowMs: number,
): FollowState {
  if (epoch <= state.epoch) return state;
  // A wish that has come true or run out says nothing about how long this one lasts.
  const isOther = isWanted(state, nowMs);
  const wantedEpoch = isOther ? Math.max(epoch, state.wantedEpoch) : epoch;
  const wantedUntilMs = isOther ? Math.max(untilMs, state.wantedUntilMs) : untilMs;
  // The stream will bring it; while requests fail, who waits does not make them come faster.
  const isComing = nowMs < reliedOnUntilMs(state.contact, settings);
  const soonMs = isComing ? nowMs + settings.pollIntervalMs : nowMs;
  const pollAtMs = state.failures === 0 ? Math.min(state.pollAtMs, soonMs) : state.pollAtMs;
  return { ...state, wantedEpoch, wantedUntilMs, pollAtMs };
}

function offered(
  state: FollowState,
  { from, epoch, isHere }: Extract<FollowEvent, { type: "offered" }>,
  settings: FollowSettings,
  nowMs: number,
): FollowState {
  const contact = contactHeard(state.contact, from, epoch, nowMs);
  const heard = { ...state, contact };
  if (epoch > state.epoch) return isHere || state.failures === 0 ? pollNow(heard, nowMs, isHere) : heard;
  const current = { ...heard, currentAtMs: nowMs };
  if (state.activity !== "waiting" || state.failures > 0) return current;
  const pollAtMs = nextPollAtMs(current, settings, nowMs);
  // Who waits for an epoch does not wait longer because something else is told.
  return { ...current, pollAtMs: isWanted(current, nowMs) ? Math.min(state.pollAtMs, pollAtMs) : pollAtMs };
}

function handedOver(state: FollowState, settings: FollowSettings, nowMs: number): FollowState {
  if (!settings.candidate) return state;
  const contact = { ...state.contact, successorUntilMs: nowMs + settings.sessionTimeoutMs };
  // Whoever is asked to lead need not let others first, though it stepped down itself a moment ago.
  return { ...state, contact, noClaimBeforeMs: Number.NEGATIVE_INFINITY };
}

/** The node that finds the leader's address refusing asks the store whether anything came after. */
function leaderRefused(state: FollowState, settings: FollowSettings, moment: Moment): FollowState {
  const { nowMs } = moment;
  const contact = contactRefused(state.contact, nowMs);
  const next = { ...state, contact };
  if (!settings.candidate || !state.hasLeader || !mayReplaceRefusing(contact, settings, nowMs)) return next;
  const isAnswered = state.currentAtMs >= (contact.refusedAtMs ?? nowMs);
  return isAnswered ? next : pollNow({ ...next, mustAsk: true }, nowMs);
}

function applied(
  state: FollowState,
  epoch: number,
  hasLeader: boolean,
  settings: FollowSettings,
  moment: Moment,
): FollowState {
  const { nowMs } = moment;
  const contact = contactAdvanced(state.contact, nowMs);
  const isSuccessor = settings.candidate && !hasLeader && nowMs < contact.successorUntilMs;
  const next: FollowState = {
    ...state,
    epoch,
    hasLeader,
    contact,
    activity: "waiting",
    progressAt: instantOf(moment),
    staleAtJoin: false,
    // The leader's last epoch was begun after it heard that we accepted: so when we did, the epoch after that one did not
    // exist, and could not be trimmed since. That is what asking the store would have told.
    provenAt: isSuccessor ? contact.acceptedAt : state.provenAt,
    claimAtMs: isSuccessor ? Math.max(nowMs, state.noClaimBeforeMs) : undefined,
    failures: 0,
    divergences: 0,
    pollAtMs: nowMs,
  };
  const isRelied = hasLeader && contact.offeredEpoch <= epoch && nowMs < reliedOnUntilMs(contact, settings);
  if (isRelied) return { ...next, currentAtMs: nowMs, pollAtMs: nextPollAtMs(next, settings, nowMs) };
  return isSuccessor ? { ...next, pollAtMs: nowMs + settings.pollIntervalMs } : next;
}

/** N+1 is not there. Rule 1: is there anyone to write it? */
function missing(state: FollowState, settings: FollowSettings, moment: Moment): FollowState {
  const next = idle(state, settings, moment.nowMs);
  if (!settings.candidate || next.hasLeader || next.claimAtMs !== undefined) return next;
  const claimAtMs = Math.max(moment.nowMs, next.noClaimBeforeMs) + CLAIM_DELAY_MAX_MS * moment.fraction;
  return { ...next, claimAtMs };
}

/** Nothing newer is there: wait for it. */
function idle(state: FollowState, settings: FollowSettings, nowMs: number): FollowState {
  const next: FollowState = { ...state, activity: "waiting", currentAtMs: nowMs, failures: 0 };
  return { ...next, pollAtMs: next.mustAsk ? nowMs : nextPollAtMs(next, settings, nowMs) };
}

function nextPollAtMs(state: FollowState, settings: FollowSettings, nowMs: number): number {
  const reliedUntilMs = state.hasLeader ? reliedOnUntilMs(state.contact, settings) : Number.NEGATIVE_INFINITY;
  if (nowMs >= reliedUntilMs) {
    return nowMs + (isWanted(state, nowMs) ? settings.eagerPollIntervalMs : settings.pollIntervalMs);
  }
  // A leader that is cut off from the store may go on telling who is there: that is no epoch.
  const silentAtMs = silentSinceMs(state) + settings.sessionTimeoutMs + 1;
  const pollAtMs = isWanted(state, nowMs) ? nowMs + settings.pollIntervalMs : reliedUntilMs;
  return Math.min(pollAtMs, Math.max(silentAtMs, nowMs));
}

/** By the monotonic clock: when an epoch was applied, or the store asked for later ones. */
function silentSinceMs({ progressAt, askedAt }: FollowState): number {
  return Math.max(progressAt.ms, askedAt.ms);
}

/** What is waited for may be there. While requests fail that is no reason to repeat them sooner, if it takes one. */
function pollNow(state: FollowState, nowMs: number, isHere: boolean = false): FollowState {
  return isHere || state.failures === 0 ? { ...state, pollAtMs: Math.min(state.pollAtMs, nowMs) } : state;
}

function isWanted(state: FollowState, nowMs: number): boolean {
  return state.wantedEpoch > state.epoch && nowMs < state.wantedUntilMs;
}

function answered(
  state: FollowState,
  found: "none" | "next" | "hole" | "failed",
  settings: FollowSettings,
  moment: Moment,
): Reaction {
  switch (found) {
    case "failed":
      return { state: failed({ ...state, askedAt: NEVER }, settings, moment) };
    case "hole":
      return { state: { ...state, activity: "bootstrapping" }, action: { type: "bootstrap" } };
    case "next": {
      // It may be one that was trimmed, and that a paused leader has just created again.
      if (mayBeTrimmed(state, moment))
        return { state: { ...state, activity: "bootstrapping" }, action: { type: "bootstrap" } };
      return {
        state: { ...state, activity: "fetching", staleAtJoin: false, mustAsk: false },
        action: { type: "fetch", epoch: state.epoch + 1 },
      };
    }
    case "none": {
      // Rules 2 and 3: nothing came for a session time-out, and nothing is hidden behind a gap.
      const { nowMs } = moment;
      const { askedAt: provenAt, staleAtJoin } = state;
      // The wall clock makes us ask, for a suspended machine; that it was set does not make the leader silent.
      const isSilent = staleAtJoin || nowMs - state.progressAt.ms > settings.sessionTimeoutMs;
      const mayClaim = settings.candidate && isSilent && nowMs >= state.noClaimBeforeMs;
      const next = idle({ ...state, provenAt, staleAtJoin: false, mustAsk: false }, settings, nowMs);
      if (!mayClaim) return { state: next };
      const reason: ClaimReason = staleAtJoin ? "stale" : "silent";
      return {
        state: { ...next, activity: "claiming", claimAtMs: undefined },
        action: { type: "claim", reason, provenAt },
      };
    }
  }
}

function leadershipEnded(
  state: FollowState,
  event: Extract<FollowEvent, { type: "leadershipEnded" }>,
  settings: FollowSettings,
  moment: Moment,
): FollowState {
  const { nowMs } = moment;
  const { steppedDown, wasLeading } = event;
  const pauseMs = steppedDown ? settings.pollIntervalMs * 2 + CLAIM_DELAY_MAX_MS + STORE_CLOCK_MARGIN_MS : 0;
  const began = beginFollow(event.epoch, event.hasLeader, 0, event.provenAt, settings, moment);
  const { wantedEpoch, wantedUntilMs } = state;
  // Who was fenced holds back, or two that cannot reach each other would take turns. A claim that was lost changed nothing.
  const contact = wasLeading
    ? contactAfterLeading(state.contact, steppedDown ? Number.NEGATIVE_INFINITY : nowMs, settings)
    : contactChanged(state.contact, undefined);
  return {
    ...began,
    contact,
    mustAsk: event.isLeftBehind === true,
    noClaimBeforeMs: nowMs + pauseMs,
    wantedEpoch,
    wantedUntilMs,
  };
}

/** It may have been damaged on its way, or be mended; if it stays so, a pack or a snapshot may lead over it. */
function damaged(state: FollowState, settings: FollowSettings, moment: Moment): Reaction {
  const failures = state.failures + 1;
  // More and more rarely: each time everything is read.
  const isTime = failures >= DAMAGED_FETCHES_MIN && Number.isInteger(Math.log2(failures));
  if (!isTime) return { state: failed(state, settings, moment) };
  return { state: { ...state, activity: "bootstrapping" }, action: { type: "bootstrap" } };
}

function diverged(state: FollowState, settings: FollowSettings, moment: Moment): Reaction {
  if (state.divergences % 2 === 0)
    return { state: failed({ ...state, failures: state.divergences }, settings, moment) };
  return { state: { ...state, activity: "bootstrapping" }, action: { type: "bootstrap" } };
}

function failed(state: FollowState, settings: FollowSettings, moment: Moment): FollowState {
  const failures = state.failures + 1;
  const pauseMs = backoffMs(failures, settings.retryBaseMs, settings.retryMaxMs, moment.fraction);
  return { ...state, activity: "waiting", failures, pollAtMs: moment.nowMs + pauseMs };
}

function act(state: FollowState, action: FollowAction): Decision<FollowState, FollowAction> {
  return { state, actions: [action], wakeAtMs: Number.POSITIVE_INFINITY };
}

function wait(state: FollowState, wakeAtMs: number): Decision<FollowState, FollowAction> {
  return { state, actions: [], wakeAtMs };
}
