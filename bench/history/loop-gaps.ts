/** How long the event loop lets a timer wait. */
export class LoopGaps {
  #longestMs = 0;
  #isOver = false;
  #lastMs = performance.now();

  constructor() {
    this.#again();
  }

  /** The longest wait since the last call: beyond the millisecond that was asked for. */
  take(): number {
    this.#look();
    const longestMs = this.#longestMs;
    this.#longestMs = 0;
    return longestMs;
  }

  stop(): void {
    this.#isOver = true;
  }

  #again(): void {
    setTimeout(() => {
      this.#look();
      if (!this.#isOver) this.#again();
    }, 1);
  }

  #look(): void {
    const nowMs = performance.now();
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs - 1);
    this.#lastMs = nowMs;
  }
}
