import { expect, test } from "vitest";
import {
  acceptsTransactions,
  beginCommit,
  type CommitEvent,
  type CommitSettings,
  type CommitState,
  stepCommit,
} from "../../src/protocol/commit.ts";

const SETTINGS: CommitSettings = {
  heartbeatIntervalMs: 1_000,
  sessionTimeoutMs: 4_000,
  retryBaseMs: 50,
  retryMaxMs: 500,
  budget: undefined,
};
const MOMENT = { nowMs: 10_000, wallMs: 10_000, fraction: 0.5 };

function after(...events: CommitEvent[]) {
  const claimed = beginCommit(10, { ms: MOMENT.nowMs, wallMs: MOMENT.wallMs }, SETTINGS, MOMENT);
  let decision = stepCommit(claimed, { type: "tick" }, SETTINGS, MOMENT);
  for (const event of events) decision = stepCommit(decision.state, event, SETTINGS, MOMENT);
  return decision;
}

function accepts(state: CommitState): boolean {
  return acceptsTransactions(state, SETTINGS, MOMENT.nowMs);
}

test("P10: an object that exists, and is missing when it is read, is put again after a pause: a store that says both does not make us go round", () => {
  const decision = after({ type: "putAnswered", outcome: "exists" }, { type: "readBackAnswered", found: "missing" });
  expect(decision.actions).toEqual([]);
  expect(decision.wakeAtMs).toBeGreaterThanOrEqual(MOMENT.nowMs + SETTINGS.retryBaseMs / 2);
  expect(decision.wakeAtMs).toBeLessThanOrEqual(MOMENT.nowMs + SETTINGS.retryMaxMs);
  const later = stepCommit(decision.state, { type: "tick" }, SETTINGS, { ...MOMENT, nowMs: decision.wakeAtMs });
  expect(later.actions).toEqual([{ type: "put", epoch: 11 }]);
});

test("P3: who was fenced, or stepped down, leads no more and takes no transaction, from that very step on", () => {
  const leading = after({ type: "putAnswered", outcome: "created" });
  expect(accepts(leading.state), "a leader takes them").toBe(true);
  const created = { type: "putAnswered", outcome: "created" } as const;
  const exists = { type: "putAnswered", outcome: "exists" } as const;
  const fenced = after(created, { type: "submitted" }, exists, { type: "readBackAnswered", found: "other" });
  const steppedDown = after(created, { type: "stepDown" }, created);
  for (const { state, actions } of [fenced, steppedDown]) {
    expect(actions.at(-1)?.type).toBe("end");
    expect(state.leading).toBe(false);
    expect(accepts(state)).toBe(false);
  }
});
