import { setTimeout as sleep } from "node:timers/promises";

const WAIT_MAX_MS = 15_000;

/** Waits until `condition` gives something true, and gives that; fails after a generous while. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs: number = WAIT_MAX_MS,
): Promise<NonNullable<T>> {
  for (const endMs = performance.now() + timeoutMs; ; await sleep(5)) {
    const found = await condition();
    if (found) return found;
    if (performance.now() > endMs) throw new Error(`it never happened: ${what}`);
  }
}

/** A promise's outcome within a bound: a hang is a failure that says so. */
export async function within<T>(what: string, promise: Promise<T>, timeoutMs: number = WAIT_MAX_MS): Promise<T> {
  const timer = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what}: not settled within ${timeoutMs} ms`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** Lets everything that is ready run, several times over. */
export async function settle(turns: number = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
