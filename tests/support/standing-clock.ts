import type { Clock } from "../../src/base/clock.ts";

/** A clock that stands still. */
export const standingClock: Clock = {
  monotonicMs: () => 1_000_000,
  wallMs: () => 1_790_000_000_000,
  after: () => () => {},
  soon: () => () => {},
};
