import type { Cancel, Clock } from "../../src/base/clock.ts";
import { systemClock } from "../../src/platform/system.ts";

/** 2026-01-01T00:00:00Z */
const START_WALL_MS = 1_767_225_600_000;

interface Timer {
  readonly atMs: number;
  readonly fn: () => void;
}

/** Time that passes when it is told to. */
export class SimulatedClock implements Clock {
  readonly #timers = new Set<Timer>();
  #nowMs = 0;

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return START_WALL_MS + this.#nowMs;
  }

  after(delayMs: number, fn: () => void): Cancel {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  soon(fn: () => void): Cancel {
    return systemClock.soon(fn);
  }

  /** Lets time pass; timers that become due run in their order. */
  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (let timer = this.#nextUntil(untilMs); timer !== undefined; timer = this.#nextUntil(untilMs)) {
      this.#timers.delete(timer);
      this.#nowMs = Math.max(this.#nowMs, timer.atMs);
      timer.fn();
    }
    this.#nowMs = untilMs;
  }

  #nextUntil(untilMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs <= untilMs && (next === undefined || timer.atMs < next.atMs)) next = timer;
    }
    return next;
  }
}
