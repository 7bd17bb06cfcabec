import type { Clock } from "../base/clock.ts";
import { systemClock } from "../platform/system.ts";
import { assertRange, listLimit, rangeWithin } from "./call-checks.ts";
import { assertKey, assertPrefix, compareKeys } from "./key-rules.ts";
import { bodyBytes } from "./put-body.ts";
import type {
  CallOptions,
  GetOptions,
  ListOptions,
  ListPage,
  ObjectStat,
  ObjectStore,
  PutBody,
  PutOptions,
  PutOutcome,
  StoredObject,
} from "./store.ts";

/** Bytes of a `PartSource` that are asked for at a time. */
const PIECE_BYTES = 8 * 1024 * 1024;

/** Settings of a {@link MemoryStore}. */
export interface MemoryStoreOptions {
  /** Gives the objects their times; *default* the machine's clock. */
  readonly clock?: Clock | undefined;
}

interface MemoryObject {
  readonly bytes: Uint8Array;
  readonly lastModifiedMs: number;
}

/** An object store in this process's memory: for tests and for trying things out. Nothing survives the process. */
export class MemoryStore implements ObjectStore {
  readonly locality = "local" as const;
  readonly url: string = "memory:";
  readonly #clock: Clock;
  readonly #objects = new Map<string, MemoryObject>();
  /** The keys of `#objects` in listing order. */
  readonly #keys: string[] = [];

  constructor(options: MemoryStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    assertKey(key);
    assertRange(options.range);
    options.signal?.throwIfAborted();
    const object = this.#objects.get(key);
    if (object === undefined) return undefined;
    const { start, end } = rangeWithin(options.range, object.bytes.length);
    return { ...this.#stat(key, object), bytes: object.bytes.slice(start, end) };
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    assertKey(key);
    options.signal?.throwIfAborted();
    const object = this.#objects.get(key);
    return object === undefined ? undefined : this.#stat(key, object);
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    assertKey(key);
    options.signal?.throwIfAborted();
    const known = this.#objects.has(key);
    if (known && options.ifAbsent) return "exists";
    const bytes = body instanceof Uint8Array ? new Uint8Array(body) : bodyBytes(body, PIECE_BYTES);
    if (!known) this.#keys.splice(this.#indexAfter(key), 0, key);
    this.#objects.set(key, { bytes, lastModifiedMs: this.#clock.wallMs() });
    return "created";
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    assertPrefix(prefix);
    const limit = listLimit(options);
    options.signal?.throwIfAborted();
    const after = options.startAfter ?? "";
    const objects: { key: string; size: number }[] = [];
    let index = compareKeys(after, prefix) < 0 ? this.#indexFrom(prefix) : this.#indexAfter(after);
    for (; index < this.#keys.length; index++) {
      const key = this.#keys[index] as string;
      if (!key.startsWith(prefix)) break;
      if (objects.length === limit) return { objects, more: true };
      objects.push({ key, size: this.#objects.get(key)?.bytes.length ?? 0 });
    }
    return { objects, more: false };
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.deleteMany([key], options);
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    for (const key of keys) assertKey(key);
    options.signal?.throwIfAborted();
    for (const key of keys) {
      if (this.#objects.delete(key)) this.#keys.splice(this.#indexFrom(key), 1);
    }
  }

  #stat(key: string, object: MemoryObject): ObjectStat {
    return {
      key,
      size: object.bytes.length,
      lastModifiedMs: object.lastModifiedMs,
      nowMs: this.#clock.wallMs(),
    };
  }

  /** Where the first key at or after this one is. */
  #indexFrom(key: string): number {
    return this.#search((other) => compareKeys(other, key) < 0);
  }

  /** Where the first key strictly after this one is. */
  #indexAfter(key: string): number {
    return this.#search((other) => compareKeys(other, key) <= 0);
  }

  #search(isBefore: (key: string) => boolean): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (isBefore(this.#keys[middle] as string)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
