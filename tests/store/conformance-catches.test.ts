import { describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { GetOptions, ListOptions, ObjectStore, PutBody, PutOptions, PutOutcome } from "../../src/store/store.ts";
import { FaultyStore } from "../../src/testing/faulty-store.ts";
import { storeConformance } from "../../src/testing/store-conformance.ts";

/** A `MemoryStore` with one fault, and the check that must find it. */
type Broken = [fault: string, check: string, makeStore: () => ObjectStore];

const later = () => new Promise((resolve) => setImmediate(resolve));

const BROKEN: readonly Broken[] = [
  [
    "asks first and creates then",
    "of 32 concurrent creators exactly one wins",
    () =>
      new (class extends MemoryStore {
        override async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
          if (options.ifAbsent && (await this.head(key)) !== undefined) return "exists";
          await later();
          return await super.put(key, body, { signal: options.signal });
        }
      })(),
  ],
  [
    "keeps the last creator's bytes",
    "of 32 concurrent creators exactly one wins",
    () =>
      new (class extends MemoryStore {
        override async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
          const outcome = await super.put(key, body, options);
          if (outcome === "exists") await super.put(key, body);
          return outcome;
        }
      })(),
  ],
  [
    "creates over what is there",
    "a put with ifAbsent never replaces",
    () =>
      new (class extends MemoryStore {
        override put(key: string, body: PutBody): Promise<PutOutcome> {
          return super.put(key, body);
        }
      })(),
  ],
  [
    "gives out its own bytes",
    "bytes in and out are copies",
    () =>
      new (class extends MemoryStore {
        #given = new Map<string, Awaited<ReturnType<MemoryStore["get"]>>>();
        override async get(key: string, options: GetOptions = {}) {
          if (options.range !== undefined) return await super.get(key, options);
          if (!this.#given.has(key)) this.#given.set(key, await super.get(key, options));
          return this.#given.get(key);
        }
      })(),
  ],
  [
    "lists in the order of UTF-16",
    "keys are listed in the order of their bytes, with sizes",
    () =>
      new (class extends MemoryStore {
        override async list(prefix: string, options: ListOptions = {}) {
          const page = await super.list(prefix, options);
          return { ...page, objects: [...page.objects].sort((a, b) => (a.key < b.key ? -1 : 1)) };
        }
      })(),
  ],
  [
    "lists startAfter itself",
    "startAfter is any text and is itself not listed",
    () =>
      new (class extends MemoryStore {
        override async list(prefix: string, options: ListOptions = {}) {
          return await super.list(prefix, { ...options, startAfter: options.startAfter?.slice(0, -1) });
        }
      })(),
  ],
  [
    "says too early that nothing follows",
    "pages put together are the whole listing",
    () =>
      new (class extends MemoryStore {
        override async list(prefix: string, options: ListOptions = {}) {
          return { ...(await super.list(prefix, options)), more: false };
        }
      })(),
  ],
  [
    "deletes at most 1000 objects",
    "a page has up to 1000 objects, and deleteMany takes more",
    () =>
      new (class extends MemoryStore {
        override deleteMany(keys: readonly string[]) {
          return super.deleteMany(keys.slice(0, 1_000));
        }
      })(),
  ],
  [
    "reads beyond the end of a range",
    "a ranged get gives those bytes, cut short at the end",
    () =>
      new (class extends MemoryStore {
        override get(key: string, options: GetOptions = {}) {
          const { range } = options;
          return super.get(key, range === undefined ? options : { range: { ...range, length: range.length + 1 } });
        }
      })(),
  ],
  [
    "says the part's size for the object's",
    "a ranged get gives those bytes, cut short at the end",
    () =>
      new (class extends MemoryStore {
        override async get(key: string, options: GetOptions = {}) {
          const object = await super.get(key, options);
          return object === undefined ? undefined : { ...object, size: object.bytes.length };
        }
      })(),
  ],
  [
    "ignores signals",
    "a signal that has aborted stops a call before it does anything",
    () =>
      new (class extends MemoryStore {
        override put(key: string, body: PutBody, { ifAbsent }: PutOptions = {}) {
          return super.put(key, body, { ifAbsent });
        }
      })(),
  ],
  [
    "rejects with an error of its own when aborted",
    "a signal that aborts ends a call with its reason",
    () => new FaultyStore(new MemoryStore(), { latencyMs: 40, onCall: ({ key }) => ownError(key) }),
  ],
  [
    "measures age by another clock",
    "age is measured by the store's own clock",
    () =>
      new (class extends MemoryStore {
        override async head(key: string) {
          const stat = await super.head(key);
          return stat === undefined ? undefined : { ...stat, nowMs: stat.nowMs + 3_600_000 };
        }
      })(),
  ],
  [
    "takes any key",
    "wrong keys are refused by every call",
    () =>
      new (class extends MemoryStore {
        override head(key: string) {
          return super.head(key.replaceAll("//", "/"));
        }
      })(),
  ],
  [
    "loses one bit of what it reads",
    "an object comes back as it was put, with its size",
    () => new FaultyStore(new MemoryStore(), { onCall: () => ({ kind: "flip", offset: 4_711 }) }),
  ],
];

function ownError(key: string): { kind: "fail_before"; error: Error } | undefined {
  return key === "missing" ? { kind: "fail_before", error: new Error("its own error") } : undefined;
}

describe("the contract suite finds a store that", () => {
  it.each(BROKEN)("%s", async (_fault, name, makeStore) => {
    const check = storeConformance.find((other) => other.name === name);
    expect(check).toBeDefined();
    await expect(check?.run(makeStore)).rejects.toThrow("the store breaks its contract");
  });
});
