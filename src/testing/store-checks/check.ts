import { isClusterError } from "../../errors.ts";
import type { ListOptions, ObjectInfo, ObjectStore, PartSource } from "../../store/store.ts";

/** Makes a store that is empty and that nobody else writes to. Called once by each check. */
export type MakeStore = () => ObjectStore | Promise<ObjectStore>;

/** One promise of the object store interface, and how to find out whether a store keeps it. */
export interface StoreCheck {
  /** What is promised, as a sentence. */
  readonly name: string;
  /** Resolves if the store keeps the promise, rejects with what it did instead. */
  run(makeStore: MakeStore): Promise<void>;
}

/** Pages that `listAll` follows before it takes the store for endless. */
const PAGES_MAX = 1000;

/** A check as a plain function of an empty store. */
export function check(name: string, body: (store: ObjectStore) => Promise<void>): StoreCheck {
  return { name, run: async (makeStore) => await body(await makeStore()) };
}

/** Throws if a promise is broken. */
export function expect(condition: boolean, broken: string): asserts condition {
  if (!condition) throw new Error(`the store breaks its contract: ${broken}`);
}

/** Compares two values by their JSON. */
export function expectSame(found: unknown, expected: unknown, what: string): void {
  const [foundText, expectedText] = [JSON.stringify(found), JSON.stringify(expected)];
  expect(foundText === expectedText, `${what}: expected ${expectedText}, found ${foundText}`);
}

/** Compares bytes; large ones are not written out. */
export function expectBytes(found: Uint8Array | undefined, expected: Uint8Array, what: string): void {
  expect(found instanceof Uint8Array, `${what}: there are no bytes`);
  expect(found.length === expected.length, `${what}: expected ${expected.length} bytes, found ${found.length}`);
  const index = found.findIndex((byte, at) => byte !== expected[at]);
  expect(index === -1, `${what}: byte ${index} is ${found[index]}, not ${expected[index]}`);
}

/** Expects a call to be refused as `invalid` with that code. */
export async function expectInvalid(call: () => Promise<unknown>, code: string, what: string): Promise<void> {
  let outcome: unknown;
  try {
    outcome = await call();
  } catch (error) {
    const isRight = isClusterError(error) && error.kind === "invalid" && error.code === code;
    expect(isRight, `${what}: expected invalid/${code}, found ${error}`);
    return;
  }
  expect(false, `${what}: expected invalid/${code}, but it answered ${JSON.stringify(outcome)}`);
}

/** The UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Bytes without a pattern that compresses or repeats at any power of two; the same for the same seed. */
export function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    // xorshift32 (Marsaglia 2003)
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state;
  }
  return bytes;
}

/** A source over bytes in memory that checks how it is read. */
export function partSource(bytes: Uint8Array): PartSource & { readonly bytesRead: () => number } {
  let next = 0;
  return {
    byteLength: bytes.length,
    bytesRead: () => next,
    read(offset: number, length: number): Uint8Array {
      expect(offset === next, `a part was read at ${offset}, not in order at ${next}`);
      expect(length >= 1 && offset + length <= bytes.length, `${length} bytes were read at ${offset}`);
      next = offset + length;
      return bytes.slice(offset, next);
    },
  };
}

/** Puts many small objects, a few at a time. */
export async function putAll(store: ObjectStore, keys: readonly string[], inFlightMax = 16): Promise<void> {
  const rest = keys.values();
  const worker = async () => {
    for (const key of rest) await store.put(key, utf8(key));
  };
  await Promise.all(Array.from({ length: inFlightMax }, worker));
}

/** Everything that a listing gives when all its pages are followed. */
export async function listAll(store: ObjectStore, prefix: string, options: ListOptions = {}): Promise<ObjectInfo[]> {
  const all: ObjectInfo[] = [];
  let startAfter = options.startAfter;
  for (let pages = 1; pages <= PAGES_MAX; pages++) {
    const page = await store.list(prefix, { ...options, startAfter });
    expect(page.objects.length <= (options.limit ?? 1000), `a page has ${page.objects.length} objects`);
    all.push(...page.objects);
    if (!page.more) return all;
    startAfter = page.objects.at(-1)?.key;
    expect(startAfter !== undefined, "a page that is not the last is empty");
  }
  throw new Error(`the store breaks its contract: the listing of "${prefix}" has no end`);
}

/** The keys of all pages of a listing. */
export async function listKeys(store: ObjectStore, prefix: string, options: ListOptions = {}): Promise<string[]> {
  return (await listAll(store, prefix, options)).map(({ key }) => key);
}
