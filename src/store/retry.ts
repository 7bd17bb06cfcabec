import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { isClusterError } from "../errors.ts";
import { sleep } from "../platform/sleep.ts";
import { backoffMs } from "../protocol/moment.ts";

/** How often and how fast something is repeated. */
export interface RetryPolicy {
  /** Attempts in all, the first included. */
  readonly attemptsMax: number;
  /** Pause before the second attempt; it doubles every time. */
  readonly backoffMs: number;
  /** The longest such pause. */
  readonly backoffMaxMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** A store that asks for a longer pause is not obeyed beyond this. */
const RETRY_AFTER_MAX_MS = 30_000;

/** Runs `attempt` until it succeeds, fails with what a repetition cannot mend, or the attempts are used up. */
export async function withRetries<T>(
  policy: RetryPolicy,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await attempt();
    } catch (error) {
      const isFinal = attempts >= policy.attemptsMax || !isClusterError(error) || error.kind !== "unavailable";
      if (isFinal || signal?.aborted) throw error;
      await sleep(policy.clock, pauseMs(policy, attempts, error.details.retryAfterMs), signal);
    }
  }
}

/** Half of the pause is random, so that those who failed together do not come back together. */
function pauseMs(policy: RetryPolicy, attempts: number, retryAfterMs: unknown): number {
  const jitteredMs = backoffMs(attempts, policy.backoffMs, policy.backoffMaxMs, policy.random.fraction());
  return typeof retryAfterMs === "number"
    ? Math.max(jitteredMs, Math.min(retryAfterMs, RETRY_AFTER_MAX_MS))
    : jitteredMs;
}
