import { setImmediate } from "node:timers";

/** What the guard needs of a `node:http2` session. */
export interface GuardableSession {
  close(callback?: () => void): void;
  destroy(error?: Error, code?: number): void;
}

const onDeno: boolean = "Deno" in globalThis;

/**
 * Keeps a GOAWAY from ending the process on Deno; does nothing on other runtimes.
 *
 * Deno 2.9.6 (denoland/deno#36788, open): closing or destroying a `node:http2` session while nghttp2 still works on the
 * frame that it received (which includes the session's own 'goaway' event) frees what nghttp2 goes on to walk. The
 * process ends with an assertion, `free(): invalid pointer` or SIGSEGV; nothing can catch it. Putting both calls off
 * until nghttp2 has returned avoids it.
 *
 * `tests/net/session-guard.test.ts` reproduces the crash without the guard, and fails once a release of Deno no longer
 * needs it.
 */
export function guardSession<S extends GuardableSession>(session: S): S {
  if (!onDeno) return session;
  const close = session.close.bind(session);
  const destroy = session.destroy.bind(session);
  let destroying = false;
  session.close = (callback?: () => void) => {
    setImmediate(() => close(callback));
  };
  session.destroy = (error?: Error, code?: number) => {
    if (destroying) return;
    destroying = true;
    setImmediate(() => destroy(error, code));
  };
  return session;
}
