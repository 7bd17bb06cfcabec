import { setMaxListeners } from "node:events";

/**
 * A signal that many calls listen to at once is no leak: keeps the runtime from warning of one. Whoever listens takes its
 * listener back.
 */
export function expectManyListeners(signal: AbortSignal): void {
  setMaxListeners(0, signal);
}
