/** How long to wait between attempts. */
export interface BackoffLimits {
  /** The wait before the second attempt, before jitter. */
  readonly firstMs: number;
  /** No wait is longer. */
  readonly maxMs: number;
}

/** Doublings beyond this cannot matter, and would overflow. */
const DOUBLINGS_MAX = 30;

/**
 * Exponential backoff with jitter: nothing before the first attempt, then between half and all of the doubled wait,
 * so that clients which lost the same server do not come back in step.
 *
 * @param failures attempts that failed in a row
 * @param fraction random, in [0, 1)
 */
export function backoffMs(failures: number, limits: BackoffLimits, fraction: number): number {
  if (failures === 0) return 0;
  const doubled = limits.firstMs * 2 ** Math.min(failures - 1, DOUBLINGS_MAX);
  return Math.min(limits.maxMs, doubled) * (0.5 + fraction / 2);
}
