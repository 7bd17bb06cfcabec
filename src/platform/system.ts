import { createHash, randomBytes } from "node:crypto";
import process from "node:process";
import { clearImmediate, clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { Cancel, Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";

/** `setTimeout` fires at once for a longer delay than this. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** The machine's clocks and timers. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs: number, fn: () => void): Cancel {
    const timer = setTimeout(fn, Math.min(TIMER_MAX_MS, Math.max(0, delayMs)));
    return () => clearTimeout(timer);
  },
  soon(fn: () => void): Cancel {
    const immediate = setImmediate(fn);
    return () => clearImmediate(immediate);
  },
};

/** The machine's randomness. */
export const systemRandom: Random = {
  bytes: (length: number) => new Uint8Array(randomBytes(length)),
  fraction: () => Math.random(),
};

/** SHA-256 of the bytes, lower-case hexadecimal. Synchronous: about 1.1 GB/s. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Name and version of what runs us, e.g. `node 20.20.2`. */
export function runtimeName(): string {
  const { bun, deno, node } = process.versions as Record<string, string | undefined>;
  if (bun !== undefined) return `bun ${bun}`;
  if (deno !== undefined) return `deno ${deno}`;
  return `node ${node}`;
}
