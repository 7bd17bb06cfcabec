/** What all simulated nodes share: the objects, and what a bystander sees happen to them. */
import type { Clock } from "../../base/clock.ts";
import { MemoryStore } from "../../store/memory-store.ts";
import type { PutOutcome } from "../../store/store.ts";
import { WALL_BEGIN_MS } from "./process.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface BucketEvents {
  /** An object was created, or written anew. */
  readonly onPut?: (key: string, bytes: Uint8Array) => void;
  readonly onDeleted?: (key: string) => void;
}

/** A key that came or went. */
export interface BucketChange {
  readonly key: string;
  /** Of an object that was created; `undefined` of one that was deleted. */
  readonly size: number | undefined;
}

export class SimulatedBucket {
  /** Acts at once, when its calls are begun. */
  readonly objects: MemoryStore;
  readonly #events: BucketEvents;
  readonly #keys = new Set<string>();
  readonly #changes: BucketChange[] = [];

  /** @param wallOffsetMs how wrong the store's own clock is */
  constructor(time: VirtualTime, wallOffsetMs: number, events: BucketEvents) {
    const clock = { wallMs: () => WALL_BEGIN_MS + wallOffsetMs + time.nowMs } as Clock;
    this.objects = new MemoryStore({ clock });
    this.#events = events;
  }

  /** How often keys came or went. */
  get changeCount(): number {
    return this.#changes.length;
  }

  /** Those after the first so many. */
  changesAfter(count: number): readonly BucketChange[] {
    return this.#changes.slice(count);
  }

  async put(key: string, bytes: Uint8Array, ifAbsent: boolean): Promise<PutOutcome> {
    const exists = this.#keys.has(key);
    const outcome = this.objects.put(key, bytes, { ifAbsent });
    if (!exists || !ifAbsent) {
      this.#keys.add(key);
      if (!exists) this.#changes.push({ key, size: bytes.length });
      this.#events.onPut?.(key, bytes);
    }
    return await outcome;
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    const deleted = this.objects.deleteMany(keys);
    for (const key of keys) {
      if (!this.#keys.delete(key)) continue;
      this.#changes.push({ key, size: undefined });
      this.#events.onDeleted?.(key);
    }
    await deleted;
  }
}
