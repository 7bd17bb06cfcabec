/** What the outside world adds to an event: the time, and one random number. */
export interface Moment {
  /** The local monotonic clock. */
  readonly nowMs: number;
  /** The local wall clock; only ever compared with itself. */
  readonly wallMs: number;
  /** Uniform in [0, 1). */
  readonly fraction: number;
}

/** What a decision gives: the next state, what to do now, and when to be asked again at the latest. */
export interface Decision<State, Action> {
  readonly state: State;
  readonly actions: readonly Action[];
  /** By `nowMs`; a `tick` is due then. `Infinity` if only an event can change anything. */
  readonly wakeAtMs: number;
}

/** Delay before attempt `attempt` (1 for the first repetition): doubles from `baseMs` to `maxMs`, half of it random. */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, fraction: number): number {
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30));
  return full / 2 + (full / 2) * fraction;
}
