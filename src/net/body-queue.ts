/** What a {@link BodyQueue} does with its source. */
export interface BodySource {
  /** The reader is slow: send nothing more. */
  pause(): void;
  /** There is room again. */
  resume(): void;
  /** The reader wants no more. */
  cancel(): void;
}

/** Bytes that wait for their reader before the source is paused; a body below this ends without one. */
export const BODY_QUEUE_BYTES_MAX = 65_536;

/**
 * The bytes of one answer, from the connection to one reader. It is filled without being asked, up to a bound, so that
 * a short answer which nobody reads does not hold its stream open; and it ends with the answer's end or its error,
 * never with a silent stop in the middle.
 */
export class BodyQueue implements AsyncIterableIterator<Uint8Array> {
  readonly #source: BodySource;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #paused = false;
  /** `undefined` while more may come. */
  #outcome: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(source: BodySource) {
    this.#source = source;
  }

  push(chunk: Uint8Array): void {
    if (this.#outcome !== undefined || chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= BODY_QUEUE_BYTES_MAX && !this.#paused) {
      this.#paused = true;
      this.#source.pause();
    }
    this.#wake?.();
  }

  /** The body is whole. */
  end(): void {
    this.#finish({});
  }

  /** The body is not whole: the reader gets what there is, then the error. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#took(chunk.length);
        return { done: false, value: chunk };
      }
      if (this.#outcome !== undefined) {
        const { error } = this.#outcome;
        this.#outcome = {};
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The reader stops early, as by `break` in `for await`. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#chunks.length = 0;
    if (this.#outcome === undefined) {
      this.#finish({});
      this.#source.cancel();
    }
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #took(length: number): void {
    this.#bytes -= length;
    if (!this.#paused || this.#bytes >= BODY_QUEUE_BYTES_MAX) return;
    this.#paused = false;
    this.#source.resume();
  }

  #finish(outcome: { readonly error?: unknown }): void {
    this.#outcome ??= outcome;
    this.#wake?.();
  }
}
