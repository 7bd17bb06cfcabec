/** What a node must not take for progress or proof (docs/protocol.md, I4 and I5). */
import { describe, expect, it, test } from "vitest";
import { stepFollow } from "../../src/protocol/follow.ts";
import {
  beginFollow,
  type FollowAction,
  type FollowEvent,
  type FollowSettings,
  type FollowState,
} from "../../src/protocol/follow-state.ts";
import { instantOf, readInstant, TRIM_AGE_MIN_MS } from "../../src/protocol/moment.ts";

const SETTINGS: FollowSettings = {
  candidate: true,
  pollIntervalMs: 1_000,
  eagerPollIntervalMs: 50,
  heartbeatIntervalMs: 5_000,
  sessionTimeoutMs: 20_000,
  fastFailover: true,
  retryBaseMs: 100,
  retryMaxMs: 1_000,
};
const EPOCH = 5;
const START_MS = 10 * TRIM_AGE_MIN_MS;

/** A node at an epoch, at whatever time, and what it does. */
class Follower {
  #state: FollowState;
  #nowMs = START_MS;

  constructor(activity: FollowState["activity"] = "waiting") {
    this.#state = { ...beginFollow(EPOCH, true, 0, instantOf(this.#moment), SETTINGS, this.#moment), activity };
  }

  get #moment() {
    return { nowMs: this.#nowMs, wallMs: this.#nowMs, fraction: 0.5 };
  }

  take(event: FollowEvent): readonly FollowAction[] {
    const { state, actions } = stepFollow(this.#state, event, SETTINGS, this.#moment);
    this.#state = state;
    return actions;
  }

  /** Time passes until it does something. */
  next(): readonly FollowAction[] {
    for (let count = 0; count < 10; count++) {
      const { state, actions, wakeAtMs } = stepFollow(this.#state, { type: "tick" }, SETTINGS, this.#moment);
      this.#state = state;
      if (actions.length > 0) return actions;
      this.#nowMs = Math.max(this.#nowMs, wakeAtMs);
    }
    return [];
  }
}

/** Its leadership ended with a fencing, so long after it had last proved anything. */
function fencedAfter(provenAgoMs: number, isLeftBehind = false) {
  const follower = new Follower("claiming");
  const provenMs = START_MS - provenAgoMs;
  const actions = follower.take({
    type: "leadershipEnded",
    epoch: EPOCH,
    hasLeader: true,
    steppedDown: false,
    provenAt: { ms: provenMs, wallMs: provenMs },
    wasLeading: true,
    isLeftBehind,
  });
  return { follower, actions };
}

const ASK = [{ type: "ask", afterEpoch: EPOCH }];
const FETCH = [{ type: "fetch", epoch: EPOCH + 1 }];

describe("what a restore has read", () => {
  const MINUTE_MS = 60_000;
  const at = (nowMs: number) => ({ nowMs, wallMs: nowMs, fraction: 0.5 });

  it.each([
    ["the shortest retention leaves nothing to spare", 60, 20, 0],
    ["two hours leave one", 120, 20, 20],
    ["an hour, and no more of it", 120, 90, 60],
    ["days leave all of it", 7 * 24 * 60, 300, 300],
  ])("%s", (_name, retention, took, spared) => {
    const instant = readInstant(instantOf(at(0)), retention * MINUTE_MS, at(took * MINUTE_MS));
    expect(instant).toEqual({ ms: spared * MINUTE_MS, wallMs: spared * MINUTE_MS });
  });

  it("long ago is not gone on from: what comes after may have been trimmed", () => {
    const follower = new Follower("bootstrapping");
    const readAtMs = START_MS - TRIM_AGE_MIN_MS - 1;
    const readAt = { ms: readAtMs, wallMs: readAtMs };
    expect(follower.take({ type: "bootstrapped", epoch: EPOCH, hasLeader: true, readAt })).toEqual(ASK);
    expect(follower.take({ type: "askAnswered", found: "next" })).toEqual([{ type: "bootstrap" }]);
  });
});

test("P2: who was fenced right after a proof goes on following at once", () => {
  expect(fencedAfter(1_000).actions).toEqual(FETCH);
});

test("P2: who was fenced after a pause asks before it goes on", () => {
  const { follower, actions } = fencedAfter(SETTINGS.sessionTimeoutMs + 1);
  expect(actions).toEqual(ASK);
  expect(follower.take({ type: "askAnswered", found: "next" })).toEqual(FETCH);
});

test("P2: who was fenced after more than half an hour reads everything anew, though a listing has no gap", () => {
  const { follower, actions } = fencedAfter(TRIM_AGE_MIN_MS + 1);
  expect(actions).toEqual(ASK);
  expect(follower.take({ type: "askAnswered", found: "next" })).toEqual([{ type: "bootstrap" }]);
});

test("P2: who created a number again that history had trimmed asks, however lately it was proven: its own orphan may be there", () => {
  const { follower, actions } = fencedAfter(1_000, true);
  expect(actions).toEqual(ASK);
  expect(follower.take({ type: "askAnswered", found: "hole" })).toEqual([{ type: "bootstrap" }]);
});

test("P1: that a node accepted to lead next proves nothing until the leader's last epoch is there", () => {
  const follower = new Follower();
  expect(follower.take({ type: "accepting" })).toEqual(FETCH);
  // Not heard: the leader stepped down all the same, and this node looks in the store like anyone.
  expect(follower.take({ type: "applied", epoch: EPOCH + 1, hasLeader: false })).toEqual([
    { type: "fetch", epoch: EPOCH + 2 },
  ]);
  follower.take({ type: "fetchAnswered", found: "missing" });
  expect(follower.next(), "a question before the claim").toEqual([{ type: "ask", afterEpoch: EPOCH + 1 }]);
});

test("P2: a bootstrap that failed is followed by a question, not by the next epoch on trust", () => {
  const follower = new Follower("bootstrapping");
  follower.take({ type: "bootstrapFailed" });
  expect(follower.next()).toEqual(ASK);
});
