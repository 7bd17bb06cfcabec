/** A process's way to the bucket: slow, lossy, refused at times, and never telling which. */
import { ClusterError } from "../../errors.ts";
import { expectManyListeners } from "../../platform/listeners.ts";
import { bodyBytes } from "../../store/put-body.ts";
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
} from "../../store/store.ts";
import type { BucketChange, SimulatedBucket } from "./bucket.ts";
import type { SimulatedProcess } from "./process.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** *Default* time-out of a call. */
const CALL_TIMEOUT_MS = 10_000;
const PIECE_BYTES = 1024 * 1024;
/** No request takes effect later than its signature allows (S4 of docs/protocol.md). */
export const LANDING_MS_MAX: number = 15 * 60_000;
/** Of one object in a listing, as XML. */
const LISTED_BYTES = 300;

export type StoreOperation = "get" | "head" | "put" | "list" | "delete";

/** What becomes of one call. */
export interface CallFate {
  /** Until it takes effect. */
  readonly thereMs: number;
  /** From then until its answer is here. */
  readonly backMs: number;
  /** The request never arrives. */
  readonly isLost?: boolean;
  /** The store refuses it, with this status; `after`: though it took effect. */
  readonly refused?: { readonly status: number; readonly after: boolean };
  /** The answer never arrives. */
  readonly isAnswerLost?: boolean;
  /** How fast its body passes, there and back. */
  readonly bytesPerMs?: number;
  /** Of an object that is read: cut to this share of its bytes, or one of its bits is wrong. */
  readonly damage?: { readonly kind: "truncate" | "flip"; readonly share: number };
}

/** Decides what becomes of each call. */
export type Weather = (operation: StoreOperation, key: string, from: SimulatedProcess) => CallFate;

/** A call that is made, or has taken effect. */
export interface ObservedCall {
  readonly moment: "sent" | "landed";
  readonly operation: StoreOperation;
  readonly key: string;
  readonly from: SimulatedProcess;
}

export interface SimulatedStoreOptions {
  readonly time: VirtualTime;
  readonly bucket: SimulatedBucket;
  readonly process: SimulatedProcess;
  readonly weather: Weather;
  readonly onCall?: (call: ObservedCall) => void;
  readonly timeoutMs?: number | undefined;
  readonly locality?: "local" | "remote";
}

export class SimulatedStore implements ObjectStore {
  readonly locality: "local" | "remote";
  readonly url = "simulated:bucket";
  readonly #options: SimulatedStoreOptions;
  #pending = 0;

  constructor(options: SimulatedStoreOptions) {
    this.#options = options;
    this.locality = options.locality ?? "local";
  }

  /** Calls whose callers wait. */
  get pendingCount(): number {
    return this.#pending;
  }

  get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    const { objects } = this.#options.bucket;
    return this.#call("get", key, options, () => objects.get(key, { range: options.range }), {
      change: damaged,
      answerBytes: (object) => object?.bytes.length ?? 0,
    });
  }

  head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    return this.#call("head", key, options, () => this.#options.bucket.objects.head(key));
  }

  put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    const { bucket } = this.#options;
    // The caller may do with the body what it likes once it has given up.
    const bytes = bodyBytes(body, PIECE_BYTES).slice();
    const effect = () => bucket.put(key, bytes, options.ifAbsent === true);
    return this.#call("put", key, options, effect, { sentBytes: bytes.length });
  }

  list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    const { startAfter, limit } = options;
    const { bucket, process } = this.#options;
    let begun = 0;
    const effect = () => {
      begun = bucket.changeCount;
      return bucket.objects.list(prefix, { startAfter, limit });
    };
    const change = (page: ListPage) => {
      const shown = bucket.changesAfter(begun).filter(() => process.random.chance(0.5));
      return withChanges(page, prefix, startAfter, shown);
    };
    const answerBytes = (page: ListPage) => page.objects.length * LISTED_BYTES;
    return this.#call("list", startAfter ?? prefix, options, effect, { change, answerBytes });
  }

  delete(key: string, options: CallOptions = {}): Promise<void> {
    return this.#call("delete", key, options, () => this.#options.bucket.deleteMany([key]));
  }

  deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    const sent = [...keys];
    return this.#call("delete", sent[0] ?? "", options, () => this.#options.bucket.deleteMany(sent));
  }

  async #call<T>(
    operation: StoreOperation,
    key: string,
    { signal }: CallOptions,
    effect: () => Promise<T>,
    body: CallBody<T> = {},
  ): Promise<T> {
    signal?.throwIfAborted();
    const { time, process, weather, onCall, timeoutMs = CALL_TIMEOUT_MS } = this.#options;
    // One that is killed in the middle of a turn does nothing with the rest of it.
    if (process.state === "ended") return await new Promise<never>(() => {});
    const fate = weather(operation, key, process);
    onCall?.({ moment: "sent", operation, key, from: process });
    // Who is stopped at this moment has sent it, or will when it goes on.
    const owner = process.isPaused && process.random.chance(0.5) ? process : undefined;
    this.#pending++;
    try {
      return await new Promise<T>((resolve, reject) => {
        const over = (settle: () => void) => {
          cancelTimeout();
          signal?.removeEventListener("abort", onAbort);
          settle();
        };
        const onAbort = () => over(() => reject(signal?.reason));
        const cancelTimeout = process.clock.after(timeoutMs, () =>
          over(() => reject(noAnswer(operation, key, timeoutMs))),
        );
        if (signal !== undefined) {
          expectManyListeners(signal);
          signal.addEventListener("abort", onAbort, { once: true });
        }
        const answer = (settle: () => void, bytes = 0) => {
          if (fate.isAnswerLost === true) return;
          time.schedule(fate.backMs + passingMs(fate, bytes), () => over(settle), { owner: process });
        };
        const landing = { resolve, reject, answer };
        const arrivalMs = fate.thereMs + passingMs(fate, body.sentBytes ?? 0);
        const land = () => this.#land(fate, operation, key, effect, body, landing);
        // Once it is on its way it arrives, whatever becomes of who sent it.
        if (fate.isLost !== true) time.schedule(Math.min(arrivalMs, LANDING_MS_MAX), land, { owner });
      });
    } finally {
      this.#pending--;
    }
  }

  #land<T>(
    fate: CallFate,
    operation: StoreOperation,
    key: string,
    effect: () => Promise<T>,
    { change = (answer) => answer, answerBytes = () => 0 }: CallBody<T>,
    { resolve, reject, answer }: Landing<T>,
  ): void {
    const { time, process } = this.#options;
    const { refused } = fate;
    const refuse = () => answer(() => reject(refusal(operation, key, refused?.status ?? 0)));
    time.witness(`${process.name} ${operation} ${key}${refused === undefined ? "" : ` ${refused.status}`}`);
    if (refused?.after === false) {
      refuse();
      return;
    }
    const landed = effect();
    this.#options.onCall?.({ moment: "landed", operation, key, from: process });
    landed.then(
      (result) => (refused === undefined ? answer(() => resolve(change(result, fate)), answerBytes(result)) : refuse()),
      (error: unknown) => answer(() => reject(error)),
    );
  }
}

interface Landing<T> {
  readonly resolve: (result: T) => void;
  readonly reject: (error: unknown) => void;
  /** Sends the answer on its way. */
  readonly answer: (settle: () => void, bytes?: number) => void;
}

/** What a call sends, and what it is answered. */
interface CallBody<T> {
  readonly sentBytes?: number;
  readonly answerBytes?: (answer: T) => number;
  /** What the caller gets instead: damaged, or as of a later moment. */
  readonly change?: (answer: T, fate: CallFate) => T;
}

function passingMs({ bytesPerMs }: CallFate, bytes: number): number {
  return bytesPerMs === undefined ? 0 : bytes / bytesPerMs;
}

/**
 * A listing is not of one moment: of what comes or goes while it is made, it shows what it likes (S3 promises no more). An
 * answer that waits for its caller counts as one that is still being made, as the caller's own walk over a directory is.
 */
function withChanges(
  { objects, more }: ListPage,
  prefix: string,
  startAfter: string | undefined,
  changes: readonly BucketChange[],
): ListPage {
  if (changes.length === 0) return { objects, more };
  const last = objects.at(-1)?.key;
  const byKey = new Map(objects.map((object) => [object.key, object]));
  for (const { key, size } of changes) {
    const isOfPage = key.startsWith(prefix) && key > (startAfter ?? "") && !(more && key > (last ?? ""));
    if (size === undefined) byKey.delete(key);
    else if (isOfPage) byKey.set(key, { key, size });
  }
  return { objects: [...byKey.values()].sort((a, b) => (a.key < b.key ? -1 : 1)), more };
}

function damaged(object: StoredObject | undefined, { damage }: CallFate): StoredObject | undefined {
  if (object === undefined || damage === undefined || object.bytes.length === 0) return object;
  const position = Math.floor(damage.share * object.bytes.length);
  if (damage.kind === "truncate") return { ...object, bytes: object.bytes.slice(0, position) };
  const bytes = object.bytes.slice();
  bytes[position] = (bytes[position] as number) ^ 1;
  return { ...object, bytes };
}

function noAnswer(operation: StoreOperation, key: string, timeoutMs: number): ClusterError {
  return new ClusterError(
    "unavailable",
    "store_timeout",
    `cannot ${operation} ${key}: no answer within ${timeoutMs} ms`,
    {
      key,
      timeoutMs,
    },
  );
}

function refusal(operation: StoreOperation, key: string, status: number): ClusterError {
  const text = `cannot ${operation} ${key}: the store answered ${status}`;
  return new ClusterError("unavailable", "store_refused", text, { key, status });
}
