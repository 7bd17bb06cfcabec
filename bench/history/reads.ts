/** What reading a cluster's history asks of the store. */
import { parseKey } from "../../src/format/keys.ts";
import {
  type GetOptions,
  MeteredStore,
  type MeterSnapshot,
  type ObjectStore,
  type StoredObject,
} from "../../src/mod.ts";

/** A part of an object that was read; the whole of it without a range. */
export interface ReadRange {
  readonly key: string;
  readonly range: GetOptions["range"];
}

/** What somebody read. */
export interface ReadCost {
  /** Epochs, snapshots and packs, each once. */
  readonly objects: number;
  readonly bytes: number;
  readonly gets: number;
  readonly heads: number;
  readonly lists: number;
}

/** A view of a store that remembers what was read through it. */
export class ReadsOf {
  readonly store: ObjectStore;
  readonly #meter: MeteredStore;
  readonly #ranges: ReadRange[] = [];
  readonly #objects = new Set<string>();

  constructor(below: ObjectStore) {
    const meter = new MeteredStore(below);
    const get = async (key: string, options: GetOptions = {}): Promise<StoredObject | undefined> => {
      const object = await meter.get(key, options);
      if (object === undefined) return undefined;
      this.#ranges.push({ key, range: options.range });
      if (parseKey(key) !== undefined) this.#objects.add(key);
      return object;
    };
    this.#meter = meter;
    this.store = withMember(meter, "get", get);
  }

  get ranges(): readonly ReadRange[] {
    return this.#ranges;
  }

  get cost(): ReadCost {
    const { get, head, list }: MeterSnapshot = this.#meter.snapshot();
    return {
      objects: this.#objects.size,
      bytes: get.bytesIn,
      gets: get.requests,
      heads: head.requests,
      lists: list.requests,
    };
  }
}

/** The store with another one of its members. */
export function withMember<Name extends keyof ObjectStore>(
  store: ObjectStore,
  name: Name,
  member: ObjectStore[Name],
): ObjectStore {
  return new Proxy(store, {
    get: (target, wanted) => {
      if (wanted === name) return member;
      const found: unknown = Reflect.get(target, wanted, target);
      return typeof found === "function" ? found.bind(target) : found;
    },
  });
}
