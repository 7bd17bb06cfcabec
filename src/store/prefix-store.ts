import { assertKey, assertPrefix } from "./key-rules.ts";
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

/** A part of another store as a store of its own: every key gets a prefix that the user of this one never sees. */
export class PrefixStore implements ObjectStore {
  readonly locality: "local" | "remote";
  readonly url: string;
  readonly #store: ObjectStore;
  readonly #prefix: string;

  /**
   * @param prefix e.g. `clusters/lol`; a slash at its end is added if it is missing
   * @throws ClusterError `invalid`/`bad_key`
   */
  constructor(store: ObjectStore, prefix: string) {
    this.#prefix = prefix.endsWith("/") ? prefix : `${prefix}/`;
    assertKey(this.#prefix.slice(0, -1));
    this.#store = store;
    this.locality = store.locality;
    this.url = urlBelow(store.url, this.#prefix);
  }

  requestsOfPut(body: PutBody): number {
    return this.#store.requestsOfPut?.(body) ?? 1;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    const object = await this.#store.get(this.#inner(key), options);
    return object === undefined ? undefined : { ...object, key };
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    const stat = await this.#store.head(this.#inner(key), options);
    return stat === undefined ? undefined : { ...stat, key };
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    return await this.#store.put(this.#inner(key), body, options);
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    assertPrefix(prefix);
    const { startAfter } = options;
    const innerOptions = startAfter ? { ...options, startAfter: this.#prefix + startAfter } : options;
    const { objects, more } = await this.#store.list(this.#prefix + prefix, innerOptions);
    return { objects: objects.map(({ key, size }) => ({ key: key.slice(this.#prefix.length), size })), more };
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.#store.delete(this.#inner(key), options);
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    const inner = keys.map((key) => this.#inner(key));
    await this.#store.deleteMany(inner, options);
  }

  #inner(key: string): string {
    assertKey(key);
    return this.#prefix + key;
  }
}

function urlBelow(url: string, prefix: string): string {
  const path = prefix.slice(0, -1).split("/").map(encodeURIComponent).join("/");
  const [base = "", query] = url.split("?", 2);
  const separator = base.endsWith("/") || base.endsWith(":") ? "" : "/";
  return `${base}${separator}${path}${query === undefined ? "" : `?${query}`}`;
}
