import type { Clock } from "../base/clock.ts";
import { expectManyListeners } from "../platform/listeners.ts";

/** What bounds a call from outside. */
export interface CallBounds {
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** The error of a call that took too long. */
  readonly onTimeout: () => Error;
}

/** What the work of a bounded call sees of its bounds. */
export interface Deadline {
  /** Aborts when the call has ended for its caller. */
  readonly signal: AbortSignal;
  /** Starts the time anew: for work that turned out to be large. */
  restart(timeoutMs: number): void;
}

/**
 * Runs `work` until it settles, the caller's signal aborts or the time is up,
 * whichever comes first. The caller never waits for work that does not look at
 * its signal: `fetch` on Node 20 may lose an abort, a file system may hang.
 */
export function withDeadline<T>(bounds: CallBounds, work: (deadline: Deadline) => Promise<T>): Promise<T> {
  const { clock, signal } = bounds;
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const controller = new AbortController();
    const onAbort = () => stop(signal?.reason);
    const onTimeout = () => stop(bounds.onTimeout());
    let cancel = clock.after(bounds.timeoutMs, onTimeout);
    let hasEnded = false;
    const release = () => {
      hasEnded = true;
      cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    const stop = (reason: unknown) => {
      release();
      reject(reason);
      controller.abort(reason);
    };
    const restart = (timeoutMs: number) => {
      if (hasEnded) return;
      cancel();
      cancel = clock.after(timeoutMs, onTimeout);
    };
    if (signal !== undefined) {
      expectManyListeners(signal);
      signal.addEventListener("abort", onAbort, { once: true });
    }
    work({ signal: controller.signal, restart }).then(
      (value) => {
        release();
        resolve(value);
      },
      (error: unknown) => {
        release();
        reject(error);
      },
    );
  });
}

/** Time-out for moving `bytes`: a fixed share plus what a slow link needs. */
export function transferTimeoutMs(baseMs: number, bytes: number): number {
  return baseMs + Math.ceil((bytes / SLOW_LINK_BYTES_PER_SECOND) * 1000);
}

/** 8 Mbit/s: slower transfers count as stuck. */
const SLOW_LINK_BYTES_PER_SECOND = 1024 * 1024;
