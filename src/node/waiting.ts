/** Calls that wait, and what ends them early. */
import type { Clock } from "../base/clock.ts";
import { defer } from "../base/deferred.ts";
import { ClusterError } from "../errors.ts";

/** Limits of a call that waits. */
export interface WaitOptions {
  /** Rejects with `unavailable` after so long. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface WaitLimits extends WaitOptions {
  /** Names the call in the error. */
  readonly what: string;
  readonly clock: Clock;
  /** The epoch that the node has reached, for the error. */
  epoch(): number;
}

/**
 * Runs `action`, at the longest until the time is up or the signal aborts; its
 * own signal tells it so.
 *
 * @throws ClusterError `unavailable`/`wait_timeout`, or the signal's reason
 */
export async function withLimits(limits: WaitLimits, action: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const { timeoutMs, signal, clock } = limits;
  signal?.throwIfAborted();
  const ended = defer<never>();
  const abort = new AbortController();
  const end = (reason: unknown) => {
    abort.abort(reason);
    ended.reject(reason);
  };
  const onAbort = () => end(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const cancel = timeoutMs === undefined ? () => {} : clock.after(timeoutMs, () => end(timedOut(limits)));
  try {
    await Promise.race([action(abort.signal), ended.promise]);
  } finally {
    cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}

function timedOut({ what, timeoutMs, epoch }: WaitLimits): ClusterError {
  return new ClusterError(
    "unavailable",
    "wait_timeout",
    `${what}: not within ${timeoutMs} ms; the node is at epoch ${epoch()}`,
    { epoch: epoch(), timeoutMs },
  );
}
