/** Work of a leader that recurs: not more often than it is to, and not after its end. */
import { describe, expect, it } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { Periodic } from "../../src/history/periodic.ts";
import { MemoryStore } from "../../src/mod.ts";
import { historyParts } from "../support/sqlite-file.ts";
import { settle, within } from "../support/wait.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
/** `setTimeout` fires at once for a longer delay. */
const TIMER_MAX_MS = 2 ** 31 - 1;

interface Timer {
  readonly atMs: number;
  readonly fn: () => void;
}

/** A clock that jumps to the next timer. */
function jumpingClock() {
  const timers = new Set<Timer>();
  let nowMs = 0;
  const clock: Pick<Clock, "after" | "monotonicMs"> = {
    monotonicMs: () => nowMs,
    after: (delayMs, fn) => {
      const timer = { atMs: nowMs + Math.min(delayMs, TIMER_MAX_MS), fn };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  };
  const jump = async () => {
    const [next] = [...timers].sort((a, b) => a.atMs - b.atMs);
    if (next === undefined) throw new Error("nothing waits");
    timers.delete(next);
    nowMs = next.atMs;
    next.fn();
    await settle(3);
  };
  return { clock, timers, jump };
}

function periodic(intervalMs: number, run: () => Promise<void>) {
  const { clock, timers, jump } = jumpingClock();
  const parts = historyParts(new MemoryStore());
  const settings = { ...parts.settings, clock: { ...parts.settings.clock, ...clock } };
  const work = { event: "failed", firstDelayMs: 1000, intervalMs, run };
  return { subject: new Periodic({ ...parts, settings }, work), clock, timers, jump };
}

describe("recurring work", () => {
  it.each([10, DAY_MS - 1, DAY_MS, DAY_MS + 1, 30 * DAY_MS, 366 * DAY_MS])("every %i ms", async (intervalMs) => {
    const runs: number[] = [];
    const { subject, clock, jump } = periodic(intervalMs, async () => void runs.push(clock.monotonicMs()));
    while (runs.length < 3) await jump();
    expect(runs).toEqual([1000, 1000 + intervalMs, 1000 + 2 * intervalMs]);
    await subject.stop();
  });

  it("ends in the middle of a pause, and leaves no timer", async () => {
    const { subject, timers, jump } = periodic(40 * DAY_MS, async () => {});
    await jump();
    await jump();
    await within("the end", subject.stop());
    await subject.stop();
    expect(timers.size).toBe(0);
  });

  it("comes again after a failure, and never twice at a time", async () => {
    let runs = 0;
    const { subject, timers, jump } = periodic(10, async () => {
      runs++;
      if (runs === 2) throw new Error("no");
      if (runs === 3) await new Promise(() => {});
    });
    for (let count = 0; count < 3; count++) await jump();
    expect(runs).toBe(3);
    expect(timers.size).toBe(0);
    void subject;
  });
});
