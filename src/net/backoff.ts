import { backoffMs as pauseMs } from "../protocol/moment.ts";

/** How long to wait between attempts. */
export interface BackoffLimits {
  /** The wait before the second attempt, before jitter. */
  readonly firstMs: number;
  /** No wait is longer. */
  readonly maxMs: number;
}

/**
 * Exponential backoff with jitter: nothing before the first attempt, then between half and all of the doubled wait,
 * so that clients which lost the same server do not come back in step.
 *
 * @param failures attempts that failed in a row
 * @param fraction random, in [0, 1)
 */
export function backoffMs(failures: number, limits: BackoffLimits, fraction: number): number {
  return failures === 0 ? 0 : pauseMs(failures, limits.firstMs, limits.maxMs, fraction);
}
