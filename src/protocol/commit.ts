/**
 * The life of a leadership, from the claim to its end (docs/architecture.md §4), as a
 * function of (state, event).
 *
 * ```
 *            submitted, heartbeat            created, or ours read back
 *   idle ───────────────────────► putting ───────────────┬─────────────► idle
 *    ▲ first epoch: the claim      │  ▲                  │ long since the last?
 *    │                      failed │  │ after a pause    ▼
 *    │                             ▼  │              auditing ─► idle, or ended
 *    │                          pausing
 *    │          exists             │
 *    └────────── readingBack ◄─────┘    other bytes there: ended (fenced)
 * ```
 *
 * Invariants: at most one PUT is under way; its bytes for one epoch never
 * change; an epoch is acknowledged only when its object is known to be ours
 * and, if others had time to go on without us, part of their history.
 */
import { type Budget, type BudgetLimit, budgetReadyAtMs, fullBudget, spendBudget } from "./budget.ts";
import {
  backoffMs,
  type Decision,
  elapsedMs,
  type Instant,
  instantOf,
  type Moment,
  TRIM_AGE_MIN_MS,
} from "./moment.ts";

/** Answers in a row that nobody wrote, or that are of a format which this version does not know, before we give up. */
export const UNREADABLE_MAX = 8;

export interface CommitSettings {
  readonly heartbeatIntervalMs: number;
  readonly sessionTimeoutMs: number;
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
  /** `undefined`: no limit. */
  readonly budget: BudgetLimit | undefined;
}

/** What is being done about the epoch after the durable one. */
export type CommitPhase =
  | { readonly name: "idle" }
  | { readonly name: "putting" | "readingBack" | "auditing"; readonly attempt: Attempt }
  | {
      readonly name: "pausing";
      readonly then: "putting" | "readingBack" | "auditing";
      readonly untilMs: number;
      readonly attempt: Attempt;
    }
  | { readonly name: "ended" };

/** The sealed epoch's way to the store. */
export interface Attempt {
  readonly epoch: number;
  /** When its first PUT began. */
  readonly began: Instant;
  /** Failures in a row. */
  readonly failures: number;
  /** Answers that could not be read. */
  readonly unreadable: number;
  /** True if this epoch removes the `leader` row. */
  readonly isLast: boolean;
}

export interface CommitState {
  readonly durableEpoch: number;
  readonly phase: CommitPhase;
  /** True once the claim is durable. */
  readonly leading: boolean;
  /** True if the open batch holds something. */
  readonly pending: boolean;
  readonly steppingDown: boolean;
  readonly budget: Budget;
  /** As of when nobody else can have gone on: the first PUT of the last acknowledged epoch began, or the store was asked. */
  readonly provenAt: Instant;
  /** Seals that failed in a row, and until when the next one waits. */
  readonly sealFailures: number;
  readonly sealNotBeforeMs: number;
}

export type CommitEvent =
  | { readonly type: "tick" }
  /** The open batch holds something. */
  | { readonly type: "submitted" }
  /** The leadership is to be given up after what is pending. */
  | { readonly type: "stepDown" }
  /** The sealing that was asked for failed; the batch is empty again. */
  | { readonly type: "sealFailed" }
  | { readonly type: "putAnswered"; readonly outcome: "created" | "exists" | "failed" }
  | { readonly type: "readBackAnswered"; readonly found: "ours" | "other" | "missing" | "damaged" | "failed" }
  | { readonly type: "auditAnswered"; readonly found: AuditAnswer };

/** `successor`: later epochs build on ours; `withoutUs`: they do not; `unknown`: ours was trimmed, or they do not tell. */
export type AuditAnswer = "none" | "successor" | "withoutUs" | "unknown" | "damaged" | "failed";

export type CommitAction =
  /** Seal the open batch as this epoch; `leader` says what becomes of the `leader` row. A failure is told at once by `sealFailed`. */
  | { readonly type: "seal"; readonly epoch: number; readonly leader: "claim" | "keep" | "remove" }
  /** Create the epoch's object, if absent. */
  | { readonly type: "put"; readonly epoch: number }
  /** Get the epoch's object and compare it with ours. */
  | { readonly type: "readBack"; readonly epoch: number }
  /** Ask for later epochs and whether they build on ours. */
  | { readonly type: "audit"; readonly epoch: number }
  /** The epoch is durable. */
  | { readonly type: "acknowledge"; readonly epoch: number }
  /** The leadership is over. `sealedEpoch` is what became of the epoch under way, if there was one. */
  | {
      readonly type: "end";
      readonly reason: "fenced" | "steppedDown";
      readonly sealedEpoch: "acknowledged" | "notWritten" | "unknown";
      /** The object that we created is not part of history and must be deleted. */
      readonly deleteOurs: boolean;
    };

/**
 * A leadership that begins with a claim of the epoch after `durableEpoch`.
 *
 * @param provenAt when the store was last asked for later epochs and none was hidden by a gap
 */
export function beginCommit(
  durableEpoch: number,
  provenAt: Instant,
  settings: CommitSettings,
  moment: Moment,
): CommitState {
  return {
    durableEpoch,
    phase: { name: "idle" },
    leading: false,
    pending: true,
    steppingDown: false,
    budget: fullBudget(settings.budget, moment.nowMs),
    provenAt,
    sealFailures: 0,
    sealNotBeforeMs: Number.NEGATIVE_INFINITY,
  };
}

/** True if a transaction may join the open batch. */
export function acceptsTransactions(state: CommitState, settings: CommitSettings, nowMs: number): boolean {
  return state.leading && !state.steppingDown && nowMs - state.provenAt.ms <= settings.sessionTimeoutMs;
}

/** The next state and what to do. */
export function stepCommit(
  state: CommitState,
  event: CommitEvent,
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  const { phase } = state;
  switch (event.type) {
    case "submitted":
      return proceed({ ...state, pending: true }, [], settings, moment);
    case "stepDown":
      return proceed({ ...state, steppingDown: true }, [], settings, moment);
    case "sealFailed":
      if (phase.name !== "putting") return proceed(state, [], settings, moment);
      return sealFailed(state, settings, moment);
    case "tick":
      if (phase.name === "pausing" && moment.nowMs >= phase.untilMs) return resume(state, phase.then, phase.attempt);
      return proceed(state, [], settings, moment);
    case "putAnswered":
      if (phase.name !== "putting") return proceed(state, [], settings, moment);
      if (event.outcome === "created") return created(state, phase.attempt, settings, moment);
      if (event.outcome === "exists") return resume(state, "readingBack", { ...phase.attempt, failures: 0 });
      // Once more as it is: most failures pass. After that by way of reading back, so that a node whose requests are
      // refused, or whose claim cannot be written, still learns that another one leads.
      return pause(
        state,
        isFirstFailure(state, phase.attempt) ? "putting" : "readingBack",
        phase.attempt,
        settings,
        moment,
      );
    case "readBackAnswered":
      if (phase.name !== "readingBack") return proceed(state, [], settings, moment);
      if (event.found === "ours") return created(state, phase.attempt, settings, moment);
      if (event.found === "other") return end(state, "fenced", fateOfOther(phase.attempt, moment), false);
      if (event.found === "damaged") return unreadable(state, "readingBack", phase.attempt, settings, moment);
      if (event.found === "failed") return pause(state, "readingBack", phase.attempt, settings, moment);
      // After a failure there was a pause already; "exists" and then missing is what must not go round at once.
      if (phase.attempt.failures > 0) return resume(state, "putting", phase.attempt);
      return pause(state, "putting", phase.attempt, settings, moment);
    case "auditAnswered":
      if (phase.name !== "auditing") return proceed(state, [], settings, moment);
      return audited(state, event.found, phase.attempt, settings, moment);
  }
}

/** Seals the next epoch if there is a reason to and nothing is under way. */
function proceed(
  state: CommitState,
  actions: readonly CommitAction[],
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  if (state.phase.name === "pausing") return { state, actions, wakeAtMs: state.phase.untilMs };
  if (state.phase.name !== "idle") return { state, actions, wakeAtMs: Number.POSITIVE_INFINITY };
  const sealAtMs = nextSealAtMs(state, settings, moment.nowMs);
  if (moment.nowMs < sealAtMs) return { state, actions, wakeAtMs: sealAtMs };

  const isLast = state.steppingDown && state.leading;
  const epoch = state.durableEpoch + 1;
  const attempt: Attempt = { epoch, began: instantOf(moment), failures: 0, unreadable: 0, isLast };
  const leader = isLast ? "remove" : state.leading ? "keep" : "claim";
  return {
    state: {
      ...state,
      pending: false,
      phase: { name: "putting", attempt },
      budget: spendBudget(state.budget, settings.budget, moment.nowMs),
    },
    actions: [...actions, { type: "seal", epoch, leader }, { type: "put", epoch }],
    wakeAtMs: Number.POSITIVE_INFINITY,
  };
}

/** The claim, the heartbeat and the last epoch do not wait for the budget. */
function nextSealAtMs(state: CommitState, settings: CommitSettings, nowMs: number): number {
  if (!state.leading || state.steppingDown) return Math.max(nowMs, state.sealNotBeforeMs);
  const heartbeatAtMs = state.provenAt.ms + settings.heartbeatIntervalMs;
  const batchAtMs = state.pending ? budgetReadyAtMs(state.budget, settings.budget, nowMs) : Number.POSITIVE_INFINITY;
  return Math.max(Math.min(heartbeatAtMs, batchAtMs), state.sealNotBeforeMs);
}

function sealFailed(state: CommitState, settings: CommitSettings, moment: Moment): Decision<CommitState, CommitAction> {
  const sealFailures = state.sealFailures + 1;
  const sealNotBeforeMs =
    moment.nowMs + backoffMs(sealFailures, settings.retryBaseMs, settings.retryMaxMs, moment.fraction);
  return proceed(
    { ...state, phase: { name: "idle" }, pending: false, sealFailures, sealNotBeforeMs },
    [],
    settings,
    moment,
  );
}

function isFirstFailure(state: CommitState, attempt: Attempt): boolean {
  return state.leading && attempt.failures === 0;
}

/** Our object exists. Was there time for others to go on without it? */
function created(
  state: CommitState,
  attempt: Attempt,
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  if (elapsedMs(state.provenAt, moment) > settings.sessionTimeoutMs)
    return resume(state, "auditing", { ...attempt, failures: 0 });
  return acknowledged(state, attempt, settings, moment);
}

function acknowledged(
  state: CommitState,
  attempt: Attempt,
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  const acknowledge: CommitAction = { type: "acknowledge", epoch: attempt.epoch };
  if (attempt.isLast) {
    const ended = end(state, "steppedDown", "acknowledged", false);
    return {
      ...ended,
      state: { ...ended.state, durableEpoch: attempt.epoch, provenAt: attempt.began },
      actions: [acknowledge, ...ended.actions],
    };
  }
  const next: CommitState = {
    ...state,
    durableEpoch: attempt.epoch,
    leading: true,
    phase: { name: "idle" },
    provenAt: attempt.began,
    sealFailures: 0,
  };
  return proceed(next, [acknowledge], settings, moment);
}

function audited(
  state: CommitState,
  found: AuditAnswer,
  attempt: Attempt,
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  switch (found) {
    case "none":
      return acknowledged(state, attempt, settings, moment);
    case "successor": {
      const ended = end(state, "fenced", "acknowledged", false);
      return {
        ...ended,
        state: { ...ended.state, durableEpoch: attempt.epoch, provenAt: attempt.began },
        actions: [{ type: "acknowledge", epoch: attempt.epoch }, ...ended.actions],
      };
    }
    case "withoutUs":
      // So soon nothing is trimmed: epochs are missing that should be there, and nobody knows what that means.
      if (elapsedMs(state.provenAt, moment) <= TRIM_AGE_MIN_MS) return end(state, "fenced", "unknown", false);
      return end(state, "fenced", fateOfOther(attempt, moment), true);
    case "unknown":
      return end(state, "fenced", "unknown", false);
    case "damaged":
      return unreadable(state, "auditing", attempt, settings, moment);
    case "failed":
      return pause(state, "auditing", attempt, settings, moment);
  }
}

/**
 * Damaged on its way, most likely: it is asked for again. What stays so lies there damaged, and nobody can tell whose it is:
 * the leadership ends, for who follows can read everything anew, over a snapshot or a pack.
 */
function unreadable(
  state: CommitState,
  then: "readingBack" | "auditing",
  attempt: Attempt,
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  const count = attempt.unreadable + 1;
  if (count >= UNREADABLE_MAX) return end(state, "fenced", "unknown", false);
  return pause(state, then, { ...attempt, unreadable: count }, settings, moment);
}

/** The number is another's. After long, ours may have been part of history all the same, built upon, and trimmed since. */
function fateOfOther(attempt: Attempt, moment: Moment): "notWritten" | "unknown" {
  return elapsedMs(attempt.began, moment) > TRIM_AGE_MIN_MS ? "unknown" : "notWritten";
}

function end(
  state: CommitState,
  reason: "fenced" | "steppedDown",
  sealedEpoch: "acknowledged" | "notWritten" | "unknown",
  deleteOurs: boolean,
): Decision<CommitState, CommitAction> {
  return {
    state: { ...state, phase: { name: "ended" }, leading: false, pending: false },
    actions: [{ type: "end", reason, sealedEpoch, deleteOurs }],
    wakeAtMs: Number.POSITIVE_INFINITY,
  };
}

function pause(
  state: CommitState,
  then: "putting" | "readingBack" | "auditing",
  attempt: Attempt,
  settings: CommitSettings,
  moment: Moment,
): Decision<CommitState, CommitAction> {
  const failures = attempt.failures + 1;
  const untilMs = moment.nowMs + backoffMs(failures, settings.retryBaseMs, settings.retryMaxMs, moment.fraction);
  return {
    state: { ...state, phase: { name: "pausing", then, untilMs, attempt: { ...attempt, failures } } },
    actions: [],
    wakeAtMs: untilMs,
  };
}

function resume(
  state: CommitState,
  name: "putting" | "readingBack" | "auditing",
  attempt: Attempt,
): Decision<CommitState, CommitAction> {
  const type = name === "putting" ? "put" : name === "readingBack" ? "readBack" : "audit";
  return {
    state: { ...state, phase: { name, attempt } },
    actions: [{ type, epoch: attempt.epoch }],
    wakeAtMs: Number.POSITIVE_INFINITY,
  };
}
