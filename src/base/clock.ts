/** Cancels a timer; safe to call twice and after it fired. */
export type Cancel = () => void;

/**
 * Time as an input. Decisions measure by `monotonicMs`; `wallMs` is for what people read and, compared with itself only,
 * to notice that the machine was suspended.
 */
export interface Clock {
  /** Milliseconds since some fixed moment; never goes back. */
  monotonicMs(): number;
  /** Milliseconds since 1970; may jump. */
  wallMs(): number;
  /** Calls `fn` once after `delayMs`. Keeps the process alive until then. */
  after(delayMs: number, fn: () => void): Cancel;
  /** Calls `fn` once when everything that is ready now has run. */
  soon(fn: () => void): Cancel;
}

/** Both clocks, read at once. */
export interface ClockReading {
  /** `monotonicMs` of the clock. */
  readonly nowMs: number;
  readonly wallMs: number;
}

export function readClock(clock: Clock): ClockReading {
  return { nowMs: clock.monotonicMs(), wallMs: clock.wallMs() };
}
