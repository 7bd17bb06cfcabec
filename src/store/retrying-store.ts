import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { ClusterError } from "../errors.ts";
import { systemClock, systemRandom } from "../platform/system.ts";
import { collectBody, isPartSource } from "./put-body.ts";
import { type RetryPolicy, withRetries } from "./retry.ts";
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

const ATTEMPTS_MAX = 4;
const BACKOFF_MS = 100;
const BACKOFF_MAX_MS = 2_000;

/** A source up to this size is read into memory, so that its put can be repeated. */
const BUFFERED_SOURCE_BYTES_MAX = 16 * 1024 * 1024;

/** Settings of a {@link RetryingStore}. */
export interface RetryingStoreOptions {
  /** Attempts in all, the first included; *default* 4. */
  readonly attemptsMax?: number | undefined;
  /** Pause before the second attempt, doubled before each further one, up to half of it taken off at random; *default* 100. */
  readonly backoffMs?: number | undefined;
  /** *Default* 2 000. A store that asks for a longer pause gets it, up to 30 000. */
  readonly backoffMaxMs?: number | undefined;
  /** *Default* the machine's clock. */
  readonly clock?: Clock | undefined;
  /** *Default* the machine's randomness. */
  readonly random?: Random | undefined;
}

/**
 * Repeats what failed as `unavailable` and is the same when it happens twice:
 * reads, listings, deletes and overwrites.
 *
 * Never repeated is a `put` with `ifAbsent`: the first attempt may have taken
 * effect, and the second would call the caller's own object someone else's.
 * Neither is the `put` of a `PartSource` above 16 MiB, which can be read only
 * once: `S3Store` repeats its parts instead.
 */
export class RetryingStore implements ObjectStore {
  readonly locality: "local" | "remote";
  readonly url: string;
  readonly #store: ObjectStore;
  readonly #policy: RetryPolicy;

  /** @throws ClusterError `invalid`/`bad_store_option` */
  constructor(store: ObjectStore, options: RetryingStoreOptions = {}) {
    this.#store = store;
    this.locality = store.locality;
    this.url = store.url;
    this.#policy = {
      attemptsMax: options.attemptsMax ?? ATTEMPTS_MAX,
      backoffMs: options.backoffMs ?? BACKOFF_MS,
      backoffMaxMs: options.backoffMaxMs ?? BACKOFF_MAX_MS,
      clock: options.clock ?? systemClock,
      random: options.random ?? systemRandom,
    };
    if (!Number.isSafeInteger(this.#policy.attemptsMax) || this.#policy.attemptsMax < 1) {
      const text = `RetryingStore: attemptsMax is a whole number of at least 1, not ${options.attemptsMax}`;
      throw new ClusterError("invalid", "bad_store_option", text, { attemptsMax: options.attemptsMax });
    }
  }

  requestsOfPut(body: PutBody): number {
    return this.#store.requestsOfPut?.(body) ?? 1;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    return await this.#repeat(options, () => this.#store.get(key, options));
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    return await this.#repeat(options, () => this.#store.head(key, options));
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    const isReadOnce = isPartSource(body) && body.byteLength > BUFFERED_SOURCE_BYTES_MAX;
    if (options.ifAbsent || isReadOnce) return await this.#store.put(key, body, options);
    const bytes = await collectBody(body);
    return await this.#repeat(options, () => this.#store.put(key, bytes, options));
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    return await this.#repeat(options, () => this.#store.list(prefix, options));
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.#repeat(options, () => this.#store.delete(key, options));
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    await this.#repeat(options, () => this.#store.deleteMany(keys, options));
  }

  async #repeat<T>(options: CallOptions, attempt: () => Promise<T>): Promise<T> {
    return await withRetries(this.#policy, options.signal, attempt);
  }
}
