/** What a listener puts up with. */
export interface ServerLimits {
  /** A longer request body gets 413. */
  readonly bodyBytesMax: number;
  /** Longer request headers get 431, or their connection is closed. */
  readonly headerBytesMax: number;
  /** Open connections; one more is closed at once. */
  readonly connectionsMax: number;
  /** Requests at work on one HTTP/2 connection; one more is refused, unprocessed. */
  readonly streamsMax: number;
  /** A connection that has not begun to speak (in TLS: to agree) by then is closed. */
  readonly sniffTimeoutMs: number;
  /** An HTTP/1.1 connection without a request at work is closed after this. */
  readonly idleTimeoutMs: number;
  /** How often HTTP/2 clients are asked whether they still live. */
  readonly pingIntervalMs: number;
  /** An HTTP/2 client that has not answered for so long is gone. */
  readonly pingTimeoutMs: number;
}

/** The *default* limits. */
export const SERVER_LIMITS: ServerLimits = Object.freeze({
  bodyBytesMax: 16_777_216,
  headerBytesMax: 32_768,
  connectionsMax: 10_000,
  streamsMax: 2_000,
  sniffTimeoutMs: 10_000,
  idleTimeoutMs: 60_000,
  pingIntervalMs: 5_000,
  pingTimeoutMs: 15_000,
});

/** How long {@link Listener.close} waits for answers in flight, unless told. */
export const CLOSE_GRACE_MS = 10_000;
