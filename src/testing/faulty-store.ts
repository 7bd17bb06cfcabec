import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { ClusterError } from "../errors.ts";
import { sleep } from "../platform/sleep.ts";
import { systemClock } from "../platform/system.ts";
import { bodyBytes } from "../store/put-body.ts";
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
} from "../store/store.ts";

/** A call on its way to the store. */
export interface StoreCall {
  readonly operation: "get" | "head" | "put" | "list" | "delete" | "deleteMany";
  /** The key; the prefix of a `list`; the first key of a `deleteMany`. */
  readonly key: string;
  /** Of a `put`. */
  readonly ifAbsent: boolean;
  /** 1 for the first call of this store, and so on. */
  readonly number: number;
}

/**
 * What goes wrong with a call.
 *
 * | kind | the store does it | the caller sees |
 * |---|---|---|
 * | `fail_before` | never | the error |
 * | `fail_after` | yes | the error: the answer was lost |
 * | `delay` | after `delayMs` | the answer, that much later |
 * | `land_later` | after `delayMs`, when the caller has given up | the error at once |
 * | `truncate` | yes | of a `get`: only the first `length` bytes, with the true size |
 * | `flip` | yes | of a `get`: one bit wrong, in the byte at `offset` (counted round the object's end) |
 *
 * Without an `error` it is `unavailable`/`store_timeout`.
 */
export type StoreFault =
  | { readonly kind: "fail_before"; readonly error?: unknown }
  | { readonly kind: "fail_after"; readonly error?: unknown }
  | { readonly kind: "delay"; readonly delayMs: number }
  | { readonly kind: "land_later"; readonly delayMs: number; readonly error?: unknown }
  | { readonly kind: "truncate"; readonly length: number }
  | { readonly kind: "flip"; readonly offset: number };

/** Decides what happens to a call; `undefined` lets it pass. */
export type OnStoreCall = (call: StoreCall) => StoreFault | undefined;

/** Settings of a {@link FaultyStore}. */
export interface FaultyStoreOptions {
  /** Added to every call, half on the way there and half on the way back; *default* 0. */
  readonly latencyMs?: number | undefined;
  /** *Default* no faults. May be replaced later by assigning to `onCall`. */
  readonly onCall?: OnStoreCall | undefined;
  /** *Default* the machine's clock. */
  readonly clock?: Clock | undefined;
}

interface Passage<T> {
  readonly effect: (signal: AbortSignal | undefined) => Promise<T>;
  readonly damage?: (answer: T, fault: StoreFault) => T;
  readonly beforeLandingLater?: () => void;
}

const PIECE_BYTES = 8 * 1024 * 1024;

/** A store behind a bad network: for tests and simulations, and with `latencyMs` alone for benchmarks. */
export class FaultyStore implements ObjectStore {
  readonly locality: "local" | "remote";
  readonly url: string;
  /** Decides about every call from now on. */
  onCall: OnStoreCall;
  readonly #store: ObjectStore;
  readonly #latencyMs: number;
  readonly #clock: Clock;
  readonly #landing = new Set<Promise<unknown>>();
  #calls = 0;

  constructor(store: ObjectStore, options: FaultyStoreOptions = {}) {
    this.#store = store;
    this.locality = store.locality;
    this.url = store.url;
    this.onCall = options.onCall ?? (() => undefined);
    this.#latencyMs = options.latencyMs ?? 0;
    this.#clock = options.clock ?? systemClock;
  }

  /** Resolves when every call that was to land later has landed. */
  async landed(): Promise<void> {
    while (this.#landing.size > 0) await Promise.allSettled(this.#landing);
  }

  requestsOfPut(body: PutBody): number {
    return this.#store.requestsOfPut?.(body) ?? 1;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    return await this.#pass(this.#call("get", key), options, {
      effect: (signal) => this.#store.get(key, { ...options, signal }),
      damage: damaged,
    });
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    return await this.#pass(this.#call("head", key), options, {
      effect: (signal) => this.#store.head(key, { signal }),
    });
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    let sent = body;
    return await this.#pass(this.#call("put", key, options.ifAbsent), options, {
      effect: (signal) => this.#store.put(key, sent, { ...options, signal }),
      // The caller may do with the body what it likes once it has the error.
      beforeLandingLater: () => {
        sent = bodyBytes(body, PIECE_BYTES).slice();
      },
    });
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    return await this.#pass(this.#call("list", prefix), options, {
      effect: (signal) => this.#store.list(prefix, { ...options, signal }),
    });
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.#pass(this.#call("delete", key), options, {
      effect: (signal) => this.#store.delete(key, { signal }),
    });
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    const sent = [...keys];
    await this.#pass(this.#call("deleteMany", keys[0] ?? ""), options, {
      effect: (signal) => this.#store.deleteMany(sent, { signal }),
    });
  }

  #call(operation: StoreCall["operation"], key: string, ifAbsent = false): StoreCall {
    this.#calls++;
    return { operation, key, ifAbsent, number: this.#calls };
  }

  async #pass<T>(call: StoreCall, { signal }: CallOptions, passage: Passage<T>): Promise<T> {
    signal?.throwIfAborted();
    const fault = this.onCall(call);
    if (fault?.kind === "land_later") passage.beforeLandingLater?.();
    await this.#pause(this.#latencyMs / 2, signal);
    if (fault?.kind === "fail_before") throw fault.error ?? lost(call);
    if (fault?.kind === "delay") await this.#pause(fault.delayMs, signal);
    if (fault?.kind === "land_later") {
      this.#landLater(fault.delayMs, () => passage.effect(undefined));
      throw fault.error ?? lost(call);
    }
    const answer = await passage.effect(signal);
    await this.#pause(this.#latencyMs / 2, signal);
    if (fault?.kind === "fail_after") throw fault.error ?? lost(call);
    return fault === undefined || passage.damage === undefined ? answer : passage.damage(answer, fault);
  }

  #landLater(delayMs: number, effect: () => Promise<unknown>): void {
    const landing = sleep(this.#clock, delayMs)
      .then(effect)
      // Nobody waits for the answer: its caller has given up.
      .catch(() => {})
      .finally(() => this.#landing.delete(landing));
    this.#landing.add(landing);
  }

  async #pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (delayMs > 0) await sleep(this.#clock, delayMs, signal);
  }
}

/** How often {@link randomFaults} lets what go wrong, each from 0 to 1. */
export interface FaultRates {
  readonly failBefore?: number;
  readonly failAfter?: number;
  readonly delay?: number;
  readonly landLater?: number;
  readonly flip?: number;
  /** Longest delay of `delay` and `landLater`. */
  readonly delayMsMax: number;
}

/** Faults at random; with a seeded `random` the same calls in the same order meet the same faults. */
export function randomFaults(random: Random, rates: FaultRates): OnStoreCall {
  return (call) => {
    // Drawn for every call, so that one fault does not shift the fate of those after it.
    const [dice, share] = [random.fraction(), random.fraction()];
    const delayMs = share * rates.delayMsMax;
    const table: readonly (readonly [number | undefined, StoreFault])[] = [
      [rates.failBefore, { kind: "fail_before" }],
      [rates.failAfter, { kind: "fail_after" }],
      [rates.delay, { kind: "delay", delayMs }],
      [call.operation === "put" ? rates.landLater : 0, { kind: "land_later", delayMs }],
      [call.operation === "get" ? rates.flip : 0, { kind: "flip", offset: Math.floor(share * 2 ** 31) }],
    ];
    let threshold = 0;
    for (const [rate = 0, fault] of table) {
      threshold += rate;
      if (dice < threshold) return fault;
    }
    return undefined;
  };
}

function damaged(object: StoredObject | undefined, fault: StoreFault): StoredObject | undefined {
  if (object === undefined) return undefined;
  if (fault.kind === "truncate") return { ...object, bytes: object.bytes.slice(0, fault.length) };
  if (fault.kind !== "flip" || object.bytes.length === 0) return object;
  const bytes = object.bytes.slice();
  const offset = fault.offset % bytes.length;
  bytes[offset] = (bytes[offset] as number) ^ 1;
  return { ...object, bytes };
}

function lost(call: StoreCall): ClusterError {
  const text = `cannot ${call.operation} ${JSON.stringify(call.key)}: no answer in time (a fault made on purpose)`;
  return new ClusterError("unavailable", "store_timeout", text, { key: call.key, number: call.number });
}
