/** Cancels a timer; safe to call twice and after it fired. */
export type Cancel = () => void;

/**
 * Time as an input. Decisions use `monotonicMs` only; `wallMs` is for what
 * people read and to notice that the machine was suspended.
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
