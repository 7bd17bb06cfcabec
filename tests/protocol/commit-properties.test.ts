import { expect, test } from "vitest";
import {
  beginCommit,
  type CommitEvent,
  type CommitSettings,
  type CommitState,
  stepCommit,
} from "../../src/protocol/commit.ts";
import { NEVER } from "../../src/protocol/moment.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";

const SETTINGS: CommitSettings = {
  heartbeatIntervalMs: 1_000,
  sessionTimeoutMs: 4_000,
  retryBaseMs: 50,
  retryMaxMs: 500,
  budget: { perSecond: 2, burst: 5 },
};

const AUDIT_ANSWERS = [
  ...Array<"none">(12).fill("none"),
  "failed",
  "failed",
  "successor",
  "withoutUs",
  "unknown",
  "damaged",
] as const;

const UNDER_WAY: ReadonlySet<string> = new Set(["put", "readBack", "audit"]);

/** Checks the invariants at the top of commit.ts after every step of one run. */
class Checker {
  #acknowledged: number;
  #sealed: number;
  #isUnderWay = false;
  #hasEnded = false;
  readonly #firstEpoch: number;

  constructor(epoch: number) {
    this.#firstEpoch = epoch;
    this.#acknowledged = epoch;
    this.#sealed = epoch;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** What was asked for was answered. */
  answered(): void {
    this.#isUnderWay = false;
  }

  check(before: CommitState, event: CommitEvent, decision: ReturnType<typeof stepCommit>, nowMs: number): void {
    const { state, actions, wakeAtMs } = decision;
    if (this.#hasEnded) expect(actions, "an action after the end").toEqual([]);
    for (const action of actions) {
      if (action.type === "end") {
        this.#hasEnded = true;
        continue;
      }
      expect(action.epoch - before.durableEpoch, "only the epoch after the durable one").toBeLessThanOrEqual(2);
      if (action.type === "acknowledge") {
        expect(action.epoch).toBe(this.#acknowledged + 1);
        expect(action.epoch, "acknowledged what was sealed").toBe(this.#sealed);
        const isProof =
          (event.type === "putAnswered" && event.outcome === "created") ||
          (event.type === "readBackAnswered" && event.found === "ours") ||
          (event.type === "auditAnswered" && (event.found === "none" || event.found === "successor"));
        expect(isProof, "acknowledged on proof only").toBe(true);
        if (event.type !== "auditAnswered") {
          expect(nowMs - before.provenAt.ms).toBeLessThanOrEqual(SETTINGS.sessionTimeoutMs);
        }
        this.#acknowledged = action.epoch;
      } else if (action.type === "seal") {
        expect(action.epoch, "sealed while another is not settled").toBe(this.#acknowledged + 1);
        expect(action.leader === "claim").toBe(this.#acknowledged === this.#firstEpoch);
        this.#sealed = action.epoch;
      } else {
        expect(UNDER_WAY.has(action.type)).toBe(true);
        expect(this.#isUnderWay, "two requests at once").toBe(false);
        expect(action.epoch).toBe(this.#sealed);
        this.#isUnderWay = true;
      }
    }
    expect(state.durableEpoch).toBe(this.#acknowledged);
    if (!this.#hasEnded && !this.#isUnderWay)
      expect(Number.isFinite(wakeAtMs), "nothing will ever happen again").toBe(true);
    if (this.#isUnderWay) expect(["putting", "readingBack", "auditing"]).toContain(state.phase.name);
  }
}

function pick<T>(choices: readonly T[], fraction: number): T {
  return choices[Math.floor(fraction * choices.length)] as T;
}

/** An answer to what is under way, or what comes from outside. */
function randomEvent(state: CommitState, random: () => number, isSealing: boolean): CommitEvent {
  if (isSealing && random() < 0.1) return { type: "sealFailed" };
  const roll = random();
  if (roll < 0.25) return { type: "submitted" };
  if (roll < 0.255) return { type: "stepDown" };
  if (roll < 0.4) return { type: "tick" };
  switch (state.phase.name) {
    case "putting":
      return {
        type: "putAnswered",
        outcome: pick(["created", "created", "created", "created", "created", "created", "exists", "failed"], random()),
      };
    case "readingBack":
      return {
        type: "readBackAnswered",
        found: pick(["ours", "ours", "ours", "missing", "failed", "missing", "damaged", "other"], random()),
      };
    case "auditing":
      return {
        type: "auditAnswered",
        found: pick(AUDIT_ANSWERS, random()),
      };
    default:
      return { type: "tick" };
  }
}

test("whatever happens in whatever order, the invariants of the commit protocol hold (2 000 seeded runs)", () => {
  let acknowledged = 0;
  let ended = 0;
  for (let seed = 1; seed <= 2_000; seed++) {
    const source = new SeededRandom(seed);
    const random = () => source.fraction();
    let nowMs = 1_000;
    let wallMs = 50_000;
    let state = beginCommit(10, NEVER, SETTINGS, { nowMs, wallMs, fraction: 0 });
    const checker = new Checker(10);
    let isSealing = false;
    for (let count = 0; count < 60; count++) {
      const event: CommitEvent = count === 0 ? { type: "tick" } : randomEvent(state, random, isSealing);
      const jump = random();
      const passedMs = jump < 0.9 ? Math.floor(random() * 300) : Math.floor(random() * 6_000);
      if (event.type !== "sealFailed") nowMs += passedMs;
      wallMs += jump > 0.97 ? 60_000 : jump > 0.94 ? -60_000 : passedMs;
      const isAnswer = event.type.endsWith("Answered") || event.type === "sealFailed";
      if (isAnswer) checker.answered();
      const decision = stepCommit(state, event, SETTINGS, { nowMs, wallMs, fraction: random() });
      checker.check(state, event, decision, nowMs);
      isSealing = decision.actions.some(({ type }) => type === "seal");
      acknowledged += decision.state.durableEpoch - state.durableEpoch;
      state = decision.state;
    }
    if (checker.hasEnded) ended++;
  }
  // The runs are worth something: many epochs, many ends, many that went on.
  expect(acknowledged).toBeGreaterThan(8_000);
  expect(ended).toBeGreaterThan(500);
  expect(ended).toBeLessThan(1_950);
});

test("events out of place after the end wake nothing up", () => {
  const moment = { nowMs: 0, wallMs: 0, fraction: 0 };
  let state = beginCommit(1, NEVER, SETTINGS, moment);
  for (const event of [
    { type: "tick" },
    { type: "putAnswered", outcome: "exists" },
    { type: "readBackAnswered", found: "other" },
  ] as const) {
    state = stepCommit(state, event, SETTINGS, moment).state;
  }
  expect(state.phase.name).toBe("ended");
  const late: CommitEvent[] = [
    { type: "tick" },
    { type: "submitted" },
    { type: "stepDown" },
    { type: "sealFailed" },
    { type: "putAnswered", outcome: "created" },
    { type: "readBackAnswered", found: "ours" },
    { type: "auditAnswered", found: "none" },
  ];
  for (const event of late) {
    const decision = stepCommit(state, event, SETTINGS, { nowMs: 1e9, wallMs: 1e9, fraction: 0 });
    expect(decision.actions).toEqual([]);
    expect(decision.state.phase.name).toBe("ended");
    expect(decision.wakeAtMs).toBe(Number.POSITIVE_INFINITY);
    state = decision.state;
  }
});
