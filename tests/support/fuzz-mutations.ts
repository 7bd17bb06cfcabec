/** What goes wrong with bytes and texts, as data that fast-check can shrink; and how long the search goes on. */
import fc from "fast-check";
import { concatBytes } from "../../src/base/bytes.ts";
import { type ClusterError, isClusterError } from "../../src/errors.ts";

/** Longer campaigns are made by hand: `LBC_FUZZ_RUNS=100 npx vitest run tests/fuzz/wal.test.ts`. */
const RUNS_FACTOR = Number(process.env["LBC_FUZZ_RUNS"] ?? 1);
/** Other paths than CI's: `LBC_SEED=7`. */
const SEED = Number(process.env["LBC_SEED"] ?? 1);

/** Parameters of a property that is tried so often in CI. */
export function runs(count: number): { readonly seed: number; readonly numRuns: number } {
  return { seed: SEED, numRuns: Math.max(1, Math.round(count * RUNS_FACTOR)) };
}

/** One fault. Places are taken modulo the length, so every fault fits every input. */
export type Mutation =
  | { readonly kind: "cut"; readonly at: number }
  | { readonly kind: "flip"; readonly at: number; readonly bit: number }
  | { readonly kind: "number"; readonly at: number; readonly value: bigint; readonly bytes: 1 | 2 | 4 | 8 }
  | { readonly kind: "zero" | "remove" | "repeat"; readonly at: number; readonly length: number }
  | { readonly kind: "swap"; readonly at: number; readonly to: number; readonly length: number }
  | { readonly kind: "insert"; readonly at: number; readonly bytes: Uint8Array }
  /** Up to here the one, from there on the other of two valid inputs. */
  | { readonly kind: "splice"; readonly at: number; readonly from: number };

/** Near the start, where headers are, or anywhere. */
const place = fc.oneof(fc.nat(200), fc.nat(2 ** 24));
const length = fc.oneof(fc.integer({ min: 1, max: 16 }), fc.constantFrom(24, 4096, 4120), fc.nat(2 ** 14));
/** Where length fields overflow, change their sign, or are just beyond a limit. */
const liar = fc.oneof(
  fc.constantFrom(0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 2n ** 53n),
  fc.constantFrom(0x100_0001n, 2n ** 63n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant("cut" as const), at: place }),
  fc.record({ kind: fc.constant("flip" as const), at: place, bit: fc.nat(7) }),
  fc.record({
    kind: fc.constant("number" as const),
    at: place,
    value: liar,
    bytes: fc.constantFrom(1 as const, 2 as const, 4 as const, 8 as const),
  }),
  fc.record({ kind: fc.constantFrom("zero" as const, "remove" as const, "repeat" as const), at: place, length }),
  fc.record({ kind: fc.constant("swap" as const), at: place, to: place, length }),
  fc.record({ kind: fc.constant("insert" as const), at: place, bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
  fc.record({ kind: fc.constant("splice" as const), at: place, from: place }),
);
/** One fault, or a few on top of each other. */
export const mutations: fc.Arbitrary<Mutation[]> = fc.array(mutation, { minLength: 1, maxLength: 3 });

/** What the faults make of the bytes. */
export function mutated(bytes: Uint8Array, faults: readonly Mutation[], other: Uint8Array): Uint8Array {
  return faults.reduce((found, fault) => (found.length === 0 ? found : apply(found, fault, other)), bytes);
}

function apply(bytes: Uint8Array, fault: Mutation, other: Uint8Array): Uint8Array {
  const at = fault.at % bytes.length;
  const copy = bytes.slice();
  switch (fault.kind) {
    case "cut":
      return copy.subarray(0, at);
    case "flip":
      copy[at] = (copy[at] as number) ^ (1 << fault.bit);
      return copy;
    case "number":
      return written(copy, at, fault.value, fault.bytes);
    case "zero":
      return copy.fill(0, at, at + fault.length);
    case "remove":
      return concatBytes([copy.subarray(0, at), copy.subarray(at + fault.length)]);
    case "repeat":
      return concatBytes([copy.subarray(0, at + fault.length), copy.subarray(at)]);
    case "swap":
      return swapped(copy, at, fault.to % bytes.length, fault.length);
    case "insert":
      return concatBytes([copy.subarray(0, at), fault.bytes, copy.subarray(at)]);
    case "splice":
      return concatBytes([copy.subarray(0, at), other.subarray(fault.from % (other.length + 1))]);
  }
}

/** Big-endian, as far as there is room. */
function written(copy: Uint8Array, at: number, value: bigint, byteCount: number): Uint8Array {
  for (let index = 0; index < byteCount && at + index < copy.length; index++)
    copy[at + index] = Number((value >> BigInt(8 * (byteCount - 1 - index))) & 0xffn);
  return copy;
}

function swapped(copy: Uint8Array, a: number, b: number, wanted: number): Uint8Array {
  const [first, second] = a < b ? [a, b] : [b, a];
  const count = Math.min(wanted, second - first, copy.length - second);
  const piece = copy.slice(first, first + count);
  copy.copyWithin(first, second, second + count);
  copy.set(piece, second);
  return copy;
}

/** The same faults on a text; what they make may be no Unicode. */
export function mutatedText(text: string, faults: readonly Mutation[], other: string): string {
  return fromUnits(mutated(toUnits(text), faults, toUnits(other)));
}

/** A valid text with faults. */
export function damaged(valid: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(valid, valid, mutations).map(([one, other, faults]) => mutatedText(one, faults, other));
}

/** Each character below 256 is a byte, so that every character can be met by itself. */
function toUnits(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff);
}

function fromUnits(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** Nothing that a decoder reads here is large: what takes longer would hold up a node. */
const DECODING_MS_MAX = 2_000;

/** What became of a decoding. */
export type Outcome<T> = { readonly value: T } | { readonly refusal: ClusterError };

/** What `decode` gives, or the error it refuses with; fails for any error that is not the library's own, and for a hang. */
export function decoded<T>(decode: () => T): Outcome<T> {
  const start = performance.now();
  let outcome: Outcome<T>;
  try {
    outcome = { value: decode() };
  } catch (error) {
    if (!isClusterError(error)) throw new Error("not an error of the library's", { cause: error });
    outcome = { refusal: error };
  }
  const elapsedMs = performance.now() - start;
  if (elapsedMs > DECODING_MS_MAX) throw new Error(`decoding took ${Math.round(elapsedMs)} ms`);
  return outcome;
}

/** `kind/code` of a refusal; `undefined` if the value was accepted. */
export function refusalOf(outcome: Outcome<unknown>): string | undefined {
  return "refusal" in outcome ? `${outcome.refusal.kind}/${outcome.refusal.code}` : undefined;
}

/** Bytes of memory outside the JavaScript heap that `action` asked for, whether or not it still holds them. */
export function bytesAskedFor(action: () => unknown): number {
  const before = process.memoryUsage().arrayBuffers;
  action();
  return process.memoryUsage().arrayBuffers - before;
}
