import { toHex } from "../../base/bytes.ts";
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import { PREFIX } from "../../format/keys.ts";
import { sleep } from "../../platform/sleep.ts";
import type { ObjectStore } from "../../store/store.ts";
import { inParallel } from "./check.ts";

const NAME_BYTES = 8;
const DELETES_IN_FLIGHT_MAX = 16;
const PASSES_MAX = 3;

/** A request that was given up may still take effect; most do so at once. */
const LATE_MS = 1000;

/** What could not be deleted. */
export interface LeftBehind {
  readonly prefix: string;
  /** Keys that are still there, as far as they are known. */
  readonly keys: readonly string[];
  /** Why deleting or looking failed, if it did. */
  readonly reason: unknown;
}

/**
 * The doctor's own corner of the store: a prefix that no cluster reads, with a
 * random name so that several doctors do not meet. It knows every key that it
 * gave out, so that it cleans up also where LIST does not work.
 */
export class Scratch {
  readonly prefix: string;
  readonly #keys = new Set<string>();

  constructor(random: Random) {
    this.prefix = `${PREFIX}.doctor-${toHex(random.bytes(NAME_BYTES))}/`;
  }

  /** A key that may be written from now on. */
  key(name: string): string {
    const key = this.prefix + name;
    this.#keys.add(key);
    return key;
  }

  /**
   * Deletes everything below the prefix; never throws.
   *
   * @param isLateWriteLikely a write was given up, so it may still take effect
   */
  async clean(
    store: ObjectStore,
    clock: Clock,
    isLateWriteLikely: boolean,
    signal: AbortSignal,
  ): Promise<LeftBehind | undefined> {
    let found: readonly string[] = [...this.#keys];
    for (let pass = 1; ; pass++) {
      try {
        if (pass === 1 && isLateWriteLikely) await sleep(clock, LATE_MS, signal);
        await deleteAll(store, found, signal);
        found = (await store.list(this.prefix, { signal })).objects.map(({ key }) => key);
      } catch (reason) {
        const keys = await this.#stillThere(store, signal);
        return keys.length === 0 ? undefined : { prefix: this.prefix, keys, reason };
      }
      if (found.length === 0) return undefined;
      if (pass === PASSES_MAX) return { prefix: this.prefix, keys: found, reason: undefined };
    }
  }

  /** Asked one by one: where LIST is what does not work. What cannot be asked for counts as there. */
  async #stillThere(store: ObjectStore, signal: AbortSignal): Promise<string[]> {
    const there: string[] = [];
    await inParallel([...this.#keys], DELETES_IN_FLIGHT_MAX, async (key) => {
      const isGone = await store.head(key, { signal }).then(
        (stat) => stat === undefined,
        () => false,
      );
      if (!isGone) there.push(key);
    });
    return there.sort();
  }
}

/** In one request, or one by one where the store has no such request. */
async function deleteAll(store: ObjectStore, keys: readonly string[], signal: AbortSignal): Promise<void> {
  try {
    await store.deleteMany(keys, { signal });
  } catch {
    signal.throwIfAborted();
    await inParallel(keys, DELETES_IN_FLIGHT_MAX, (key) => store.delete(key, { signal }));
  }
}
