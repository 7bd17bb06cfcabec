/**
 * What the store costs a month if the node goes on as it does now: what the last
 * minutes cost, scaled up.
 *
 * ```
 *      usd │                                  ● now
 *          │                       ●─────────╱
 *          │             ●────────╱
 *          │   ●────────╱ ┊← window of 10 minutes →│
 *          └──────────────┴────────────────────────┴── time
 * ```
 */

const MONTH_MS = 30 * 24 * 60 * 60_000;
/** Over how long the rate is measured. */
export const COST_WINDOW_MS: number = 10 * 60_000;
/** Samples are at least this far apart, so a window has a bounded number of them. */
export const COST_SAMPLE_INTERVAL_MS = 10_000;
/** From less than this nothing is concluded. */
export const COST_SPAN_MIN_MS = 10_000;

/** What had been spent at a moment of the monotonic clock. */
export interface CostSample {
  readonly atMs: number;
  readonly usd: number;
}

/**
 * US dollars in 30 days at the rate of the last {@link COST_WINDOW_MS}.
 *
 * @param samples oldest first, none after `now`; what was spent between two is taken to be spread evenly
 * @returns `undefined` before {@link COST_SPAN_MIN_MS} have been seen
 */
export function usdPerMonth(samples: readonly CostSample[], now: CostSample): number | undefined {
  const oldest = samples[0];
  if (oldest === undefined) return undefined;
  const beganMs = Math.max(oldest.atMs, now.atMs - COST_WINDOW_MS);
  const spanMs = now.atMs - beganMs;
  if (spanMs < COST_SPAN_MIN_MS) return undefined;
  const all = [...samples, now];
  const after = all.findIndex(({ atMs }) => atMs >= beganMs);
  const spent = now.usd - usdAt(beganMs, all[after - 1] ?? oldest, all[after] ?? now);
  return (spent / spanMs) * MONTH_MS;
}

function usdAt(atMs: number, from: CostSample, to: CostSample): number {
  if (to.atMs <= from.atMs) return to.usd;
  return from.usd + ((atMs - from.atMs) / (to.atMs - from.atMs)) * (to.usd - from.usd);
}

/** The samples of the window, and the one before it. */
export class CostRate {
  #samples: CostSample[] = [];

  /** Begins anew: what was spent before is not counted. */
  begin(now: CostSample): void {
    this.#samples = [now];
  }

  /** True if `sample` would keep a sample of this moment. */
  isDue(nowMs: number): boolean {
    const newest = this.#samples.at(-1);
    return newest !== undefined && nowMs - newest.atMs >= COST_SAMPLE_INTERVAL_MS;
  }

  /** Remembers what has been spent, if the last time was long enough ago. */
  sample(now: CostSample): void {
    if (!this.isDue(now.atMs)) return;
    this.#samples.push(now);
    const beganMs = now.atMs - COST_WINDOW_MS;
    while ((this.#samples[1]?.atMs ?? Number.POSITIVE_INFINITY) <= beganMs) this.#samples.shift();
  }

  /** See {@link usdPerMonth}. */
  usdPerMonth(now: CostSample): number | undefined {
    return usdPerMonth(this.#samples, now);
  }

  /** How many samples are remembered. */
  get size(): number {
    return this.#samples.length;
  }
}
