import type { Cancel, Clock } from "../base/clock.ts";
import type { PreparedRequest } from "./exchange.ts";
import { peerError } from "./peer-error.ts";
import type { PeerResponse } from "./peer-response.ts";
import type { Connection, SentRequest } from "./transport.ts";

/** How long a call may take, and what ends it early. */
export interface PeerCallOptions {
  readonly request: PreparedRequest;
  readonly timeoutMs: number;
  readonly bodyTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly clock: Clock;
  /** The call ended while it was still waiting to be sent. */
  readonly onLeave: (call: PeerCall) => void;
}

/** One request of a caller, from the wait for a connection to the end of the answer's body. */
export class PeerCall {
  readonly request: PreparedRequest;
  readonly response: Promise<PeerResponse>;
  readonly #options: PeerCallOptions;
  readonly #onAbort: () => void;
  #resolve!: (response: PeerResponse) => void;
  #reject!: (error: unknown) => void;
  #exchange: SentRequest | undefined;
  #cancelTimer: Cancel = () => {};

  constructor(options: PeerCallOptions) {
    this.#options = options;
    this.request = options.request;
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#onAbort = () => this.#stop(options.signal?.reason);
    options.signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#limit(options.timeoutMs);
  }

  /** Sends the request over an open connection that has room. */
  start(connection: Connection): void {
    this.#exchange = connection.send(this.request, {
      onAnswer: (response) => {
        // Of a whole answer only the stream's end is missing: the time-out that runs will do.
        if (!response.isWhole) this.#limit(this.#options.bodyTimeoutMs);
        this.#resolve(response);
      },
      onFailed: (error) => this.#reject(error),
      onOver: () => this.#forget(),
    });
  }

  /** Ends a call that has not been sent. */
  fail(error: unknown): void {
    this.#forget();
    this.#reject(error);
  }

  #limit(timeoutMs: number): void {
    this.#cancelTimer();
    if (!Number.isFinite(timeoutMs)) return;
    this.#cancelTimer = this.#options.clock.after(timeoutMs, () => this.#stop(this.#timeoutError()));
  }

  #timeoutError(): unknown {
    if (this.#exchange !== undefined) return this.#exchange.errorFor("timeout", true);
    const { peer, method, path } = this.request;
    return peerError({ peer, method, path, reason: "timeout", sent: false });
  }

  #stop(error: unknown): void {
    if (this.#exchange !== undefined) {
      this.#exchange.cancel(error);
      return;
    }
    this.#options.onLeave(this);
    this.fail(error);
  }

  #forget(): void {
    this.#cancelTimer();
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
  }
}
