/**
 * A store in a thread of its own: what it holds, and the garbage that this makes, is not in the heap of who uses it. The
 * bytes of large bodies are handed over, as they would be to a socket.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import {
  type CallOptions,
  type GetOptions,
  type ListOptions,
  type ListPage,
  type ObjectStat,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  type PutOutcome,
  S3Store,
  type StoredObject,
} from "../../src/mod.ts";
import { bodyPieces, isPartSource } from "../../src/store/put-body.ts";

/** What goes over to the thread. A body comes piece by piece, before the call that needs it. */
export interface ThreadCall {
  readonly id: number;
  readonly operation: "get" | "head" | "put" | "list" | "deleteMany" | "piece" | "setForward" | "serveUploads";
  readonly key: string;
  readonly keys?: readonly string[];
  readonly options?: GetOptions & ListOptions & PutOptions;
  readonly bytes?: Uint8Array;
  readonly byMs?: number;
}

/** What comes back. */
export interface ThreadAnswer {
  readonly id: number;
  readonly answer: unknown;
}

const PIECE_BYTES = 1024 * 1024;

export class ThreadStore implements ObjectStore {
  readonly locality = "local" as const;
  readonly url: string = "thread:";
  /** Milliseconds that every call takes longer, and bytes that a large body uploads in a millisecond. */
  latencyMs = 0;
  uploadBytesPerMs: number = Number.POSITIVE_INFINITY;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (answer: unknown) => void>();
  #large: ObjectStore | undefined;
  #calls = 0;

  constructor() {
    // tsx does not reach into threads by itself.
    const thread = JSON.stringify(new URL("./store-thread.ts", import.meta.url).href);
    const source = `import("tsx/esm/api").then(({ register }) => { register(); return import(${thread}); })`;
    this.#worker = new Worker(source, { eval: true });
    this.#worker.on("message", ({ id, answer }: ThreadAnswer) => {
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    });
  }

  /** Makes everything in the store older. */
  async setForward(byMs: number): Promise<void> {
    await this.#call({ operation: "setForward", key: "", byMs });
  }

  /** From now on large bodies go to the thread as they go to S3, by `S3Store` and HTTP. */
  async useS3(): Promise<void> {
    const port = await this.#call({ operation: "serveUploads", key: "" });
    this.#large = new S3Store({
      bucket: "bucket",
      endpoint: `http://127.0.0.1:${port}`,
      credentials: { accessKeyId: "bench", secretAccessKey: "bench" },
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<StoredObject | undefined> {
    return await this.#request({ operation: "get", key, options: { range } }, signal);
  }

  async head(key: string, { signal }: CallOptions = {}): Promise<ObjectStat | undefined> {
    return await this.#request({ operation: "head", key }, signal);
  }

  async put(key: string, body: PutBody, { ifAbsent, signal }: PutOptions = {}): Promise<PutOutcome> {
    if (this.#large !== undefined && isPartSource(body)) return await this.#large.put(key, body, { signal });
    const id = this.#calls++;
    for (const piece of bodyPieces(body, PIECE_BYTES)) {
      const { length } = piece;
      const isHandedOver = isPartSource(body);
      this.#send({ id, operation: "piece", key, bytes: piece }, isHandedOver ? [piece.buffer as ArrayBuffer] : []);
      const uploadMs = isHandedOver ? length / this.uploadBytesPerMs : 0;
      if (uploadMs > 0) await sleep(uploadMs, undefined, signal === undefined ? {} : { signal });
    }
    return await this.#request({ id, operation: "put", key, options: { ifAbsent } }, signal);
  }

  async list(prefix: string, { startAfter, limit, signal }: ListOptions = {}): Promise<ListPage> {
    return await this.#request({ operation: "list", key: prefix, options: { startAfter, limit } }, signal);
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.deleteMany([key], options);
  }

  async deleteMany(keys: readonly string[], { signal }: CallOptions = {}): Promise<void> {
    await this.#request({ operation: "deleteMany", key: "", keys }, signal);
  }

  async #request<T>(
    call: Omit<ThreadCall, "id"> & { readonly id?: number },
    signal: AbortSignal | undefined,
  ): Promise<T> {
    signal?.throwIfAborted();
    if (this.latencyMs > 0) await sleep(this.latencyMs, undefined, signal === undefined ? {} : { signal });
    return (await this.#call(call)) as T;
  }

  #call({ id = this.#calls++, ...call }: Omit<ThreadCall, "id"> & { readonly id?: number }): Promise<unknown> {
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#send({ id, ...call }, []);
    });
  }

  #send(call: ThreadCall, handedOver: ArrayBuffer[]): void {
    this.#worker.postMessage(call, handedOver);
  }
}
