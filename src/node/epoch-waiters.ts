/** Calls that wait until the node has reached an epoch. */
import { type Deferred, defer } from "../base/deferred.ts";

export class EpochWaiters {
  readonly #waiting = new Set<{ readonly epoch: number; readonly reached: Deferred<void> }>();

  /** Resolves when `reached` is told of that epoch or a later one; rejects with the signal's reason. */
  async wait(epoch: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const waiter = { epoch, reached: defer<void>() };
    const onAbort = () => waiter.reached.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiting.add(waiter);
    try {
      await waiter.reached.promise;
    } finally {
      this.#waiting.delete(waiter);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** The node is at this epoch now. */
  reached(epoch: number): void {
    for (const waiter of this.#waiting) {
      if (waiter.epoch <= epoch) waiter.reached.resolve();
    }
  }

  /** Rejects everyone. */
  close(reason: unknown): void {
    for (const waiter of this.#waiting) waiter.reached.reject(reason);
  }
}
