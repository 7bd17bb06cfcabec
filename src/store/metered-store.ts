import type { Clock } from "../base/clock.ts";
import { systemClock } from "../platform/system.ts";
import { LIST_LIMIT_MAX } from "./call-checks.ts";
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

/** What kinds of requests are counted; `deleteMany` counts as `delete`. */
export type RequestKind = "get" | "head" | "put" | "list" | "delete";

/** Prices in US dollars for a million requests. */
export type RequestPrices = Readonly<Record<RequestKind, number>>;

/** What was counted of one kind. */
export interface RequestCounts {
  /** Requests that were begun. */
  readonly requests: number;
  /** Of these, those that failed or were aborted. */
  readonly errors: number;
  /** Bytes of objects received. */
  readonly bytesIn: number;
  /** Bytes of objects sent, also by requests that failed. */
  readonly bytesOut: number;
}

/** Everything counted so far, as plain data. */
export interface MeterSnapshot extends Readonly<Record<RequestKind, RequestCounts>> {
  readonly total: RequestCounts;
  readonly estimatedUsd: number;
}

/** One call of the store that has ended: what an observer is told. */
export interface ObservedRequest {
  /** From the call to its answer, a body included. */
  readonly durationMs: number;
  /** True if it failed or was aborted. That there is no such object, or that one exists, is an answer. */
  readonly failed: boolean;
  /** Bytes of objects received. */
  readonly bytesIn: number;
  /** Bytes of objects sent, also if it failed. */
  readonly bytesOut: number;
}

/** Settings of a {@link MeteredStore}. */
export interface MeteredStoreOptions {
  /** *Default* {@link S3_STANDARD_PRICES}. */
  readonly prices?: RequestPrices | undefined;
  /** Told of every call when it has ended, after it was counted. What it throws is dropped: a call's outcome is the store's. */
  readonly onRequest?: ((kind: RequestKind, request: ObservedRequest) => void) | undefined;
  /** Measures the calls for `onRequest`; *default* the machine's clock. */
  readonly clock?: Clock | undefined;
}

/** S3 standard storage in us-east-1. Traffic and storage are not in it. */
export const S3_STANDARD_PRICES: RequestPrices = { get: 0.4, head: 0.4, put: 5, list: 5, delete: 0 };

/** Every kind that is counted. */
export const REQUEST_KINDS: readonly RequestKind[] = ["get", "head", "put", "list", "delete"];

type MutableCounts = { -readonly [name in keyof RequestCounts]: number };

/** Counts requests, errors and bytes on their way to another store, and tells an observer how long each call took. Put it inside a `RetryingStore` to count repetitions. */
export class MeteredStore implements ObjectStore {
  readonly locality: "local" | "remote";
  readonly url: string;
  readonly #store: ObjectStore;
  readonly #prices: RequestPrices;
  readonly #onRequest: ((kind: RequestKind, request: ObservedRequest) => void) | undefined;
  readonly #clock: Clock;
  readonly #counts: Record<RequestKind, MutableCounts> = {
    get: zeroCounts(),
    head: zeroCounts(),
    put: zeroCounts(),
    list: zeroCounts(),
    delete: zeroCounts(),
  };

  constructor(store: ObjectStore, options: MeteredStoreOptions = {}) {
    this.#store = store;
    this.locality = store.locality;
    this.url = store.url;
    this.#prices = { ...(options.prices ?? S3_STANDARD_PRICES) };
    this.#onRequest = options.onRequest;
    this.#clock = options.clock ?? systemClock;
  }

  /** The counts of this moment. */
  snapshot(): MeterSnapshot {
    const total = zeroCounts();
    const { get, head, put, list, delete: deleted } = this.#counts;
    const byKind = { get: { ...get }, head: { ...head }, put: { ...put }, list: { ...list }, delete: { ...deleted } };
    let estimatedUsd = 0;
    for (const kind of REQUEST_KINDS) {
      const counts = byKind[kind];
      total.requests += counts.requests;
      total.errors += counts.errors;
      total.bytesIn += counts.bytesIn;
      total.bytesOut += counts.bytesOut;
      estimatedUsd += (counts.requests * this.#prices[kind]) / 1_000_000;
    }
    return { ...byKind, total, estimatedUsd };
  }

  requestsOfPut(body: PutBody): number {
    return this.#store.requestsOfPut?.(body) ?? 1;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    const bytesIn = (object: StoredObject | undefined) => object?.bytes.length ?? 0;
    return await this.#count("get", 1, 0, () => this.#store.get(key, options), bytesIn);
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    return await this.#count("head", 1, 0, () => this.#store.head(key, options));
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    const requests = this.requestsOfPut(body);
    return await this.#count("put", requests, body.byteLength, () => this.#store.put(key, body, options));
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    return await this.#count("list", 1, 0, () => this.#store.list(prefix, options));
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.#count("delete", 1, 0, () => this.#store.delete(key, options));
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    const requests = Math.ceil(keys.length / LIST_LIMIT_MAX);
    await this.#count("delete", requests, 0, () => this.#store.deleteMany(keys, options));
  }

  async #count<T>(
    kind: RequestKind,
    requests: number,
    bytesOut: number,
    call: () => Promise<T>,
    bytesOf: (answer: T) => number = () => 0,
  ): Promise<T> {
    const counts = this.#counts[kind];
    counts.requests += requests;
    counts.bytesOut += bytesOut;
    const beganMs = this.#clock.monotonicMs();
    try {
      const answer = await call();
      const bytesIn = bytesOf(answer);
      counts.bytesIn += bytesIn;
      this.#observe(kind, beganMs, { failed: false, bytesIn, bytesOut });
      return answer;
    } catch (error) {
      counts.errors++;
      this.#observe(kind, beganMs, { failed: true, bytesIn: 0, bytesOut });
      throw error;
    }
  }

  #observe(kind: RequestKind, beganMs: number, request: Omit<ObservedRequest, "durationMs">): void {
    if (this.#onRequest === undefined) return;
    try {
      this.#onRequest(kind, { durationMs: this.#clock.monotonicMs() - beganMs, ...request });
    } catch {
      // A PUT that took effect must not look like one that failed.
    }
  }
}

function zeroCounts(): MutableCounts {
  return { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0 };
}
