import type { Cancel, Clock } from "../../src/base/clock.ts";

/** A clock that a test moves; `waitingMs` shows what it is asked to wait for. */
export class ManualClock implements Clock {
  nowMs = 1_000_000;
  #timers: { atMs: number; fn: () => void }[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    const timer = { atMs: this.nowMs + delayMs, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  soon(fn: () => void): Cancel {
    return this.after(0, fn);
  }

  /** Delays of the timers that are set, shortest first. */
  get waitingMs(): number[] {
    return this.#timers.map(({ atMs }) => atMs - this.nowMs).sort((a, b) => a - b);
  }

  /** Moves time on and runs what is due. */
  advance(byMs: number): void {
    this.nowMs += byMs;
    const due = this.#timers.filter(({ atMs }) => atMs <= this.nowMs).sort((a, b) => a.atMs - b.atMs);
    this.#timers = this.#timers.filter((timer) => !due.includes(timer));
    for (const { fn } of due) fn();
  }

  /** Moves time on whenever something waits, until the promise settles. */
  async runUntil<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = () => {
      isSettled = true;
    };
    promise.then(settle, settle);
    while (!isSettled) {
      await new Promise((resolve) => setImmediate(resolve));
      const [next] = this.waitingMs;
      if (next !== undefined && !isSettled) this.advance(next);
    }
    return await promise;
  }
}
