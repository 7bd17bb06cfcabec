import type { Clock } from "../base/clock.ts";
import type { Watch } from "../platform/watch.ts";

/** The next change of a watch, waited for once for everyone who needs it: that may be thousands of requests. */
export class NextChange {
  readonly #watch: Watch<unknown>;
  readonly #clock: Clock;
  readonly #closing: AbortSignal;
  #change: Promise<void> | undefined;
  #changeOrPause: Promise<void> | undefined;

  /** @param closing ends all waits */
  constructor(watch: Watch<unknown>, clock: Clock, closing: AbortSignal) {
    this.#watch = watch;
    this.#clock = clock;
    this.#closing = closing;
  }

  /** Resolves when the watch has changed, or `closing` has aborted. */
  change(): Promise<void> {
    this.#change ??= this.#watch.changed({ signal: this.#closing }).then(
      () => {
        this.#change = undefined;
      },
      // A watch that has ended never changes again.
      () => (this.#closing.aborted ? undefined : new Promise<void>(() => {})),
    );
    return this.#change;
  }

  /** The same, or when somebody has waited for `pauseMs`. */
  changeOrPause(pauseMs: number): Promise<void> {
    this.#changeOrPause ??= new Promise<void>((resolve) => {
      const done = (): void => {
        cancel();
        this.#changeOrPause = undefined;
        resolve();
      };
      const cancel = this.#clock.after(pauseMs, done);
      void this.change().then(done);
    });
    return this.#changeOrPause;
  }
}
