import type { Random } from "../../src/base/random.ts";

/** The same numbers every time: mulberry32. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return { fraction, bytes: (length) => Uint8Array.from({ length }, () => Math.floor(fraction() * 256)) };
}

/** A clock that stands still. */
export const standingClock = {
  monotonicMs: (): number => 1_000_000,
  wallMs: (): number => 1_790_000_000_000,
  after: (): (() => void) => () => {},
  soon: (): (() => void) => () => {},
};
