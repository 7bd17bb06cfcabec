/** Work of a leader that recurs. */
import type { Cancel, Clock } from "../base/clock.ts";
import { errorMessage } from "../errors.ts";
import type { HistoryParts } from "./parts.ts";

/** What is done again and again. */
export interface PeriodicWork {
  /** Names it in the log if it fails. */
  readonly event: string;
  readonly firstDelayMs: number;
  readonly intervalMs: number;
  /** Its failure is logged, and the next time comes all the same. */
  run(signal: AbortSignal): Promise<void>;
}

/** Does the work until it is stopped; never two at a time. */
export class Periodic {
  readonly #parts: HistoryParts;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(parts: HistoryParts, work: PeriodicWork) {
    this.#parts = parts;
    this.#done = this.#repeat(work);
  }

  /** Resolves when nothing of it runs any more; safe twice. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error("it was stopped"));
    await this.#done;
  }

  async #repeat({ event, firstDelayMs, intervalMs, run }: PeriodicWork): Promise<void> {
    const { signal } = this.#abort;
    const { settings, log } = this.#parts;
    for (let delayMs = firstDelayMs; await pause(settings.clock, delayMs, signal); delayMs = intervalMs) {
      try {
        await run(signal);
      } catch (error) {
        if (!signal.aborted) log({ level: "warn", event, reason: errorMessage(error) });
      }
    }
  }
}

/** A timer cannot be set for longer than 24 days. */
const TIMER_MS = 24 * 60 * 60 * 1000;

/** Resolves with true when the time is up, at once with false when the signal aborts. */
async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<boolean> {
  for (let leftMs = delayMs; leftMs > TIMER_MS; leftMs -= TIMER_MS) {
    if (!(await pauseOnce(clock, TIMER_MS, signal))) return false;
  }
  return await pauseOnce(clock, delayMs % TIMER_MS || Math.min(delayMs, TIMER_MS), signal);
}

function pauseOnce(clock: Clock, delayMs: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const onAbort = () => {
      cancel();
      resolve(false);
    };
    const cancel: Cancel = clock.after(delayMs, () => {
      signal.removeEventListener("abort", onAbort);
      resolve(true);
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
