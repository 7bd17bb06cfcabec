import type { LongCallOptions } from "./progress.ts";

/** Who wants to know how far it has come is told every so many bytes. */
const REPORT_BYTES = 1024 * 1024;

/**
 * Adds up the bytes of a piece of work that goes through its bytes several times, a phase each, and looks at the signal
 * on the way.
 */
export class ByteMeter {
  readonly #options: LongCallOptions;
  #bytesTotal: number;
  /** Of the phases that have ended. */
  #bytesBefore = 0;
  #phaseBytes = 0;
  #phaseDone = 0;
  #reported = -1;

  /** @param bytesTotal of all phases, about */
  constructor(options: LongCallOptions, bytesTotal = 0) {
    this.#options = options;
    this.#bytesTotal = bytesTotal;
  }

  throwIfAborted(): void {
    this.#options.signal?.throwIfAborted();
  }

  /** What is still to come turned out to be so much. */
  expect(bytesRemaining: number): void {
    this.#bytesTotal = this.#bytesBefore + bytesRemaining;
  }

  /** The next phase, of about so many bytes. */
  begin(bytes: number): void {
    this.end();
    this.#phaseBytes = bytes;
    this.#bytesTotal = Math.max(this.#bytesTotal, this.#bytesBefore + bytes);
  }

  /** So many more bytes; more than the phase has count as none. */
  readonly add = (bytes: number): void => {
    this.throwIfAborted();
    this.#phaseDone = Math.min(this.#phaseBytes, this.#phaseDone + bytes);
    this.#report(REPORT_BYTES);
  };

  /** The phase is complete. */
  end(): void {
    this.throwIfAborted();
    this.#bytesBefore += this.#phaseBytes;
    this.#phaseBytes = 0;
    this.#phaseDone = 0;
    this.#report(1);
  }

  /** Everything is done: what was expected and did not come is left out of the sum. */
  finish(): void {
    this.#bytesTotal = this.#bytesBefore + this.#phaseBytes;
    this.#reported = -1;
    this.end();
  }

  #report(stepBytes: number): void {
    const bytes = this.#bytesBefore + this.#phaseDone;
    if (bytes - this.#reported < stepBytes) return;
    this.#reported = bytes;
    this.#options.onProgress?.({ bytes, bytesTotal: this.#bytesTotal });
  }
}
