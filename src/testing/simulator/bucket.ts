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
  #bytes = 0;
  readonly #sizes = new Map<string, number>();

  /** @param wallOffsetMs how wrong the store's own clock is */
  constructor(time: VirtualTime, wallOffsetMs: number, events: BucketEvents) {
    const clock = { wallMs: () => WALL_BEGIN_MS + wallOffsetMs + time.nowMs } as Clock;
    this.objects = new MemoryStore({ clock });
    this.#events = events;
  }

  get objectCount(): number {
    return this.#sizes.size;
  }

  get byteCount(): number {
    return this.#bytes;
  }

  async put(key: string, bytes: Uint8Array, ifAbsent: boolean): Promise<PutOutcome> {
    const exists = this.#sizes.has(key);
    const outcome = this.objects.put(key, bytes, { ifAbsent });
    if (!exists || !ifAbsent) {
      this.#bytes += bytes.length - (this.#sizes.get(key) ?? 0);
      this.#sizes.set(key, bytes.length);
      this.#events.onPut?.(key, bytes);
    }
    return await outcome;
  }

  async deleteMany(keys: readonly string[]): Promise<void> {
    const deleted = this.objects.deleteMany(keys);
    for (const key of keys) {
      if (!this.#sizes.has(key)) continue;
      this.#bytes -= this.#sizes.get(key) ?? 0;
      this.#sizes.delete(key);
      this.#events.onDeleted?.(key);
    }
    await deleted;
  }
}
