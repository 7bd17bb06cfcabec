/** A value that changes: read it, wait for its next value, or iterate over its values. */
export interface Watch<T> extends AsyncIterable<T> {
  /** The value now. */
  readonly current: T;
  /** The next value; rejects with `closed` when there will be none, or with the signal's reason. */
  changed(options?: { readonly signal?: AbortSignal | undefined }): Promise<T>;
  /**
   * The current value at once, then every later one; a slow consumer skips to
   * the newest. Ends when the watch closes.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T>;
}

/** A {@link Watch} and the means to change it. */
export class WatchSource<T> implements Watch<T> {
  #current: T;
  #version = 0;
  #closed = false;
  #waiting: { resolve: () => void }[] = [];
  readonly #closedError: () => Error;

  /** @param closedError what waiters get once the watch is closed */
  constructor(initial: T, closedError: () => Error) {
    this.#current = initial;
    this.#closedError = closedError;
  }

  get current(): T {
    return this.#current;
  }

  /** Changes the value and wakes who waits. */
  set(value: T): void {
    if (this.#closed) return;
    this.#current = value;
    this.#version++;
    this.#wake();
  }

  /** Exchanges the value for one that is no news: nobody is woken. */
  refresh(value: T): void {
    if (!this.#closed) this.#current = value;
  }

  /** There will be no further value; safe twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wake();
  }

  async changed(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<T> {
    const { signal } = options;
    const seen = this.#version;
    const onAbort = () => this.#wake();
    signal?.addEventListener("abort", onAbort);
    try {
      while (this.#version === seen) {
        signal?.throwIfAborted();
        if (this.#closed) throw this.#closedError();
        await this.#next();
      }
      return this.#current;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<T> {
    let seen = -1;
    for (;;) {
      if (this.#version !== seen) {
        seen = this.#version;
        yield this.#current;
      } else if (this.#closed) {
        return;
      } else {
        await this.#next();
      }
    }
  }

  #next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ resolve });
    });
  }

  #wake(): void {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  }
}
