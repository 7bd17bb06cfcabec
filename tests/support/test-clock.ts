import type { Cancel, Clock } from "../../src/base/clock.ts";
import { systemClock } from "../../src/platform/system.ts";

/** The machine's clock, which a test can set forward: what a node sees that was paused, or whose wall clock is wrong. */
export class TestClock implements Clock {
  #aheadMs = 0;
  #wallAheadMs = 0;

  monotonicMs(): number {
    return systemClock.monotonicMs() + this.#aheadMs;
  }

  wallMs(): number {
    return systemClock.wallMs() + this.#wallAheadMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    return systemClock.after(delayMs, fn);
  }

  soon(fn: () => void): Cancel {
    return systemClock.soon(fn);
  }

  /** Time passed by the monotonic clock, and no timer fired. */
  pass(byMs: number): void {
    this.#aheadMs += byMs;
  }

  /** Somebody set the wall clock. */
  setWall(byMs: number): void {
    this.#wallAheadMs += byMs;
  }
}
