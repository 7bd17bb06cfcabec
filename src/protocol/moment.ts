import type { ClockReading } from "../base/clock.ts";

/** What the outside world adds to an event: the time by both local clocks, and one random number. */
export interface Moment extends ClockReading {
  /** Uniform in [0, 1). */
  readonly fraction: number;
}

/** A moment to count from, by both local clocks. */
export interface Instant {
  readonly ms: number;
  readonly wallMs: number;
}

/** Longer ago than anything. */
export const NEVER: Instant = Object.freeze({ ms: Number.NEGATIVE_INFINITY, wallMs: Number.NEGATIVE_INFINITY });

export function instantOf({ nowMs, wallMs }: ClockReading): Instant {
  return { ms: nowMs, wallMs };
}

/** No cluster keeps its history for less (src/config.ts). */
export const RETENTION_MIN_MS: number = 60 * 60_000;

/**
 * History younger than this is never trimmed: half of the shortest retention, the other half is for what clocks and
 * requests take (docs/protocol.md).
 */
export const TRIM_AGE_MIN_MS: number = RETENTION_MIN_MS / 2;

/**
 * What a reader of the store knows when it has read for long: nothing that it found, nor what came after, is trimmed before
 * `retentionMs` after it began. The latest instant after which that leaves the shortest retention.
 */
export function readInstant(began: Instant, retentionMs: number, now: ClockReading): Instant {
  const spareMs = Math.max(0, Math.min(elapsedMs(began, now), retentionMs - RETENTION_MIN_MS));
  return { ms: began.ms + spareMs, wallMs: began.wallMs + spareMs };
}

/** How long ago that was, by the clock that says more: one of them stands still while a machine is suspended. */
export function elapsedMs(since: Instant, now: ClockReading): number {
  return Math.max(now.nowMs - since.ms, now.wallMs - since.wallMs);
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
