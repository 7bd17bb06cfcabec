import type { Buffer } from "node:buffer";
import { constants } from "node:http2";
import type { Cancel, Clock } from "../base/clock.ts";

/**
 * Flow-control window of a stream and of a connection, both directions. Measured : Bun 1.4.5 stalls when the
 * two differ; Node 20 deadlocks under bulk in both directions from 4 MiB up; the default of 64 KiB starves uploads.
 */
export const HTTP2_WINDOW_BYTES = 262_144;

/** `maxSessionMemory` in MB: the default of 10 answers 64 uploads of 200 KB with ENHANCE_YOUR_CALM. */
export const HTTP2_SESSION_MEMORY_MB = 1024;

/** What the keep-alive needs of a session. */
export interface PingableSession {
  readonly closed: boolean;
  readonly destroyed: boolean;
  ping(callback: (error: Error | null, durationMs: number, payload: Buffer) => void): boolean;
}

/** Settings of {@link keepAlive}. */
export interface KeepAliveOptions {
  readonly pingIntervalMs: number;
  /** No answer for so long: the other side is gone. */
  readonly pingTimeoutMs: number;
  readonly clock: Clock;
}

/**
 * Pings the other side until cancelled, and calls `onSilent` once when it has not answered for `pingTimeoutMs`.
 *
 * A session that is closing is left alone: after GOAWAY, Node and Deno cancel every ping, so a drain has to be bounded
 * by time.
 */
export function keepAlive(session: PingableSession, options: KeepAliveOptions, onSilent: () => void): Cancel {
  const { clock, pingIntervalMs, pingTimeoutMs } = options;
  let answeredAtMs = clock.monotonicMs();
  let cancel: Cancel = () => {};
  const beat = (): void => {
    if (session.destroyed || session.closed) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - answeredAtMs >= pingTimeoutMs) {
      onSilent();
      return;
    }
    try {
      session.ping((error) => {
        if (!error) answeredAtMs = clock.monotonicMs();
      });
    } catch {
      // Closed between the check and the call: whoever closed it reports that.
    }
    cancel = clock.after(pingIntervalMs, beat);
  };
  cancel = clock.after(pingIntervalMs, beat);
  return () => cancel();
}

/**
 * Ends a session that may have streams at work, so that both sides see them as lost.
 *
 * Never `destroy()` without an error there. On Node 20 and Deno 2.9.6 our own streams then end with code 0, as if they
 * were whole; and a server on Bun 1.4.5 leaves the connection open.
 */
export function cutSession(session: { destroy(error: Error, code: number): void }, cause: unknown): void {
  const error = cause instanceof Error ? cause : new Error("the connection was cut");
  session.destroy(error, constants.NGHTTP2_CANCEL);
}
