/** What a client of one peer allows itself and waits for. */
export interface PeerLimits {
  /** Requests at work at a time; the peer may announce less. */
  readonly requestsInFlightMax: number;
  /** Requests that wait for a connection or for room; one more is refused. */
  readonly requestsQueuedMax: number;
  /** Longest answer that `bytes()`, `text()` and `json()` collect. */
  readonly answerBytesMax: number;
  /** A request has the head of its answer by then, the wait for a connection included. */
  readonly requestTimeoutMs: number;
  /** The body of an answer is whole so long after its head. */
  readonly bodyTimeoutMs: number;
  /** A connection is ready for requests by then. */
  readonly connectTimeoutMs: number;
  /** How often the peer is asked whether it still lives. */
  readonly pingIntervalMs: number;
  /** A peer that has not answered for so long is lost. */
  readonly pingTimeoutMs: number;
  /** Answers in flight may take so long after the peer asked us to go (GOAWAY). */
  readonly drainTimeoutMs: number;
  /** The wait after the first failed attempt to connect; it doubles. */
  readonly backoffFirstMs: number;
  /** The longest wait between attempts. */
  readonly backoffMaxMs: number;
}

/** The *default* limits. */
export const PEER_LIMITS: PeerLimits = Object.freeze({
  requestsInFlightMax: 1_000,
  requestsQueuedMax: 10_000,
  answerBytesMax: 67_108_864,
  requestTimeoutMs: 30_000,
  bodyTimeoutMs: 30_000,
  connectTimeoutMs: 5_000,
  pingIntervalMs: 1_000,
  pingTimeoutMs: 3_000,
  drainTimeoutMs: 30_000,
  backoffFirstMs: 20,
  backoffMaxMs: 1_000,
});

/** How long `Peer.close` waits for answers in flight, unless told. */
export const PEER_CLOSE_GRACE_MS = 2_000;
