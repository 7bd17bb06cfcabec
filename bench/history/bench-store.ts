/** An object store in memory for a million objects. */
import type { Clock } from "../../src/base/clock.ts";
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
} from "../../src/mod.ts";
import { LIST_LIMIT_MAX, rangeWithin } from "../../src/store/call-checks.ts";
import { bodyPieces } from "../../src/store/put-body.ts";
import { BLOCK_BYTES, BlockLog } from "./block-log.ts";
import { SortedKeys } from "./sorted-keys.ts";

interface Stored {
  /** Of its pieces of {@link BLOCK_BYTES}, the last one shorter. */
  readonly addresses: readonly number[];
  readonly size: number;
  readonly lastModifiedMs: number;
}

export interface BenchStoreOptions {
  /** The store's own: how old things are. */
  readonly clock: Clock;
  readonly isCompressing: boolean;
  /** Waited for after each piece of a large body: the time that its upload takes. */
  readonly upload?: ((pieceBytes: number) => Promise<void>) | undefined;
}

/** How full the store is. */
export interface StoreUse {
  readonly objects: number;
  readonly bytes: number;
}

export class BenchStore implements ObjectStore {
  readonly locality = "local" as const;
  readonly url: string = "bench:";
  readonly #clock: Clock;
  readonly #upload: ((pieceBytes: number) => Promise<void>) | undefined;
  readonly #log: BlockLog;
  readonly #objects = new Map<string, Stored>();
  readonly #keys = new SortedKeys();
  #bytes = 0;

  constructor({ clock, isCompressing, upload }: BenchStoreOptions) {
    this.#clock = clock;
    this.#upload = upload;
    this.#log = new BlockLog(isCompressing);
  }

  /** How full it is now. */
  get use(): StoreUse {
    return { objects: this.#objects.size, bytes: this.#bytes };
  }

  /** Resolves when it can take more. */
  settled(): Promise<void> {
    return this.#log.settled();
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    signal?.throwIfAborted();
    const object = this.#objects.get(key);
    if (object === undefined) return undefined;
    const { start, end } = rangeWithin(range, object.size);
    return { ...this.#stat(key, object), bytes: this.#read(object, start, end) };
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectStat | undefined> {
    signal?.throwIfAborted();
    const object = this.#objects.get(key);
    return object === undefined ? undefined : this.#stat(key, object);
  }

  async put(key: string, body: PutBody, { ifAbsent, signal }: PutOptions = {}): Promise<PutOutcome> {
    signal?.throwIfAborted();
    if (ifAbsent && this.#objects.has(key)) return "exists";
    const addresses = body instanceof Uint8Array ? this.#keep(body) : await this.#keepPieces(body, signal);
    const stored = { addresses, size: body.byteLength, lastModifiedMs: this.#clock.wallMs() };
    if (ifAbsent && this.#objects.has(key)) {
      this.#free(stored);
      return "exists";
    }
    this.#remove(key);
    this.#objects.set(key, stored);
    this.#keys.add(key);
    this.#bytes += stored.size;
    return "created";
  }

  async list(prefix: string, { startAfter = "", limit = LIST_LIMIT_MAX, signal }: ListOptions = {}): Promise<ListPage> {
    signal?.throwIfAborted();
    const objects: { key: string; size: number }[] = [];
    for (const key of this.#keys.from(startAfter < prefix ? prefix : startAfter)) {
      if (key === startAfter) continue;
      if (!key.startsWith(prefix)) break;
      if (objects.length === limit) return { objects, more: true };
      objects.push({ key, size: this.#objects.get(key)?.size ?? 0 });
    }
    return { objects, more: false };
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.deleteMany([key], options);
  }

  async deleteMany(keys: readonly string[], { signal }: CallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    for (const key of keys) this.#remove(key);
  }

  #keep(bytes: Uint8Array): number[] {
    const addresses: number[] = [];
    for (let start = 0; start < bytes.length; start += BLOCK_BYTES) {
      addresses.push(this.#log.append(bytes.subarray(start, start + BLOCK_BYTES)));
    }
    return addresses;
  }

  async #keepPieces(body: PutBody, signal: AbortSignal | undefined): Promise<number[]> {
    const addresses: number[] = [];
    for (const piece of bodyPieces(body, BLOCK_BYTES)) {
      addresses.push(this.#log.append(piece));
      await this.#upload?.(piece.length);
      signal?.throwIfAborted();
    }
    return addresses;
  }

  #read(object: Stored, start: number, end: number): Uint8Array {
    const bytes = new Uint8Array(end - start);
    for (let at = start; at < end; ) {
      const within = at % BLOCK_BYTES;
      const length = Math.min(end - at, BLOCK_BYTES - within);
      const address = object.addresses[Math.floor(at / BLOCK_BYTES)] as number;
      this.#log.read(address + within, length, bytes, at - start);
      at += length;
    }
    return bytes;
  }

  #remove(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    this.#keys.remove(key);
    this.#bytes -= object.size;
    this.#free(object);
  }

  #free({ addresses, size }: Stored): void {
    for (const [index, address] of addresses.entries()) {
      this.#log.free(address, Math.min(BLOCK_BYTES, size - index * BLOCK_BYTES));
    }
  }

  #stat(key: string, { size, lastModifiedMs }: Stored): ObjectStat {
    return { key, size, lastModifiedMs, nowMs: this.#clock.wallMs() };
  }
}
