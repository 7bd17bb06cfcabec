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

export class SimulatedBucket {
  /** Acts at once, when its calls are begun. */
  readonly objects: MemoryStore;
  readonly #events: BucketEvents;
  readonly #keys = new Set<string>();

  /** @param wallOffsetMs how wrong the store's own clock is */
  constructor(time: VirtualTime, wallOffsetMs: number, events: BucketEvents) {
    const clock = { wallMs: () => WALL_BEGIN_MS + wallOffsetMs + time.nowMs } as Clock;
    this.objects = new MemoryStore({ clock });
    this.#events = events;
  }

  async put(key: string, bytes: Uint8Array, ifAbsent: boolean): Promise<PutOutcome> {
    const exists = this.#keys.has(key);
    const outcome = this.objects.put(key, bytes, { ifAbsent });
    if (!exists || !ifAbsent) {
      this.#keys.add(key);
      this.#events.onPut?.(key, bytes);
    }
    return await outcome;
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    const deleted = this.objects.deleteMany(keys);
    for (const key of keys) {
      if (this.#keys.delete(key)) this.#events.onDeleted?.(key);
    }
    await deleted;
  }
}
