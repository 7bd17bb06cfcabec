/**
 * The object store, as small as the library needs it. Everything durable goes
 * through these seven calls, so a new kind of store is one class that passes
 * `storeConformance` from `littlebigcluster/testing`.
 *
 * Keys are UTF-8 text with `/` as the only separator; they are compared and
 * listed in the order of their bytes. Every call is bounded by the store's own
 * time-out and ends early when its `signal` aborts (rejecting with the signal's
 * reason).
 *
 * Failures are {@link ClusterError}s: `unavailable` when a repetition may
 * succeed (network, time-out, 409, 429, 5xx), `invalid` when it will not (no
 * such bucket, access denied). Either says nothing about whether a `put` took
 * effect: only reading back does.
 */
export interface ObjectStore {
  /** `remote` stores charge for requests: the *default* request budget applies to them. */
  readonly locality: "local" | "remote";
  /** Where the store is, as a URL without credentials, for logs and messages. */
  readonly url: string;

  /** How many requests a `put` of this body takes, for who counts what they cost; a store without this takes one. */
  requestsOfPut?(body: PutBody): number;
  /** The object, or `undefined` if there is none. A range beyond the end is cut short. */
  get(key: string, options?: GetOptions): Promise<StoredObject | undefined>;
  /** The object's size and age without its bytes, or `undefined` if there is none. */
  head(key: string, options?: CallOptions): Promise<ObjectStat | undefined>;
  /**
   * Writes the whole object. With `ifAbsent` the create is atomic: of any
   * number of concurrent creators exactly one gets `created`; the others get
   * `exists` and the object keeps the winner's bytes.
   */
  put(key: string, body: PutBody, options?: PutOptions): Promise<PutOutcome>;
  /** Objects whose key starts with `prefix`, in key order, one page at a time. */
  list(prefix: string, options?: ListOptions): Promise<ListPage>;
  /** Deletes the object; that there is none is not an error. */
  delete(key: string, options?: CallOptions): Promise<void>;
  /** Deletes up to any number of objects, in as few requests as the store allows. */
  deleteMany(keys: readonly string[], options?: CallOptions): Promise<void>;
}

/** Options of every call. */
export interface CallOptions {
  /** Ends the call early; its outcome is then unknown. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link ObjectStore.get}. */
export interface GetOptions extends CallOptions {
  /** Only these bytes. `offset` ≥ 0, `length` ≥ 1. */
  readonly range?: { readonly offset: number; readonly length: number } | undefined;
}

/** Options of {@link ObjectStore.put}. */
export interface PutOptions extends CallOptions {
  /** Create only: never replaces an object. */
  readonly ifAbsent?: boolean | undefined;
}

/** Options of {@link ObjectStore.list}. */
export interface ListOptions extends CallOptions {
  /** Only keys strictly after this one (a whole key, prefix included; need not exist). */
  readonly startAfter?: string | undefined;
  /** At most this many objects on the page; 1 to 1000, *default* 1000. */
  readonly limit?: number | undefined;
}

/** One row of a listing. */
export interface ObjectInfo {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
}

/** One page of a listing. */
export interface ListPage {
  readonly objects: readonly ObjectInfo[];
  /** True if keys after the last of `objects` may follow. */
  readonly more: boolean;
}

/** An object's size and age. */
export interface ObjectStat extends ObjectInfo {
  /** When the object was written, by the store's clock, milliseconds since 1970. */
  readonly lastModifiedMs: number;
  /** The store's clock when it answered: `nowMs - lastModifiedMs` is the object's age. */
  readonly nowMs: number;
}

/** An object with its bytes; `size` is that of the whole object, also for a ranged get. */
export interface StoredObject extends ObjectStat {
  readonly bytes: Uint8Array;
}

/**
 * A body too large to copy at once: the store reads it piece by piece, each
 * piece at most once, in order. `read` is synchronous and gives exactly `length`
 * bytes that stay valid after the next call. `ifAbsent` does not go with it
 * where the store would need a multipart upload (see docs/architecture.md: only objects whose
 * bytes are the same whoever writes them are written so).
 */
export interface PartSource {
  readonly byteLength: number;
  read(offset: number, length: number): Uint8Array;
}

/** What `put` takes. */
export type PutBody = Uint8Array | PartSource;

/** What `put` answers; without `ifAbsent` always `created`. */
export type PutOutcome = "created" | "exists";
