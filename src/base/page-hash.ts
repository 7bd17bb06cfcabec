/**
 * The hash behind the state checksum (docs/architecture.md §2): the checksum of a database is
 * the sum, modulo 2^32 in each of two halves, of the hashes of its pages. A sum
 * does not depend on the order and lets one page be exchanged by subtracting
 * its old hash and adding the new one.
 *
 * The hash is four accumulators of xxHash32's round over the page's 32-bit
 * little-endian words (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md),
 * seeded with the page number, folded twice into 32 bits. Each round is a
 * bijection of its accumulator, so damage within one word is always seen; other
 * damage escapes with probability 2^-64. It guards against faults, not malice.
 */

const PRIME_1 = 0x9e3779b1 | 0;
const PRIME_2 = 0x85ebca77 | 0;
const PRIME_3 = 0xc2b2ae3d | 0;
const PRIME_4 = 0x27d4eb2f | 0;
const PRIME_5 = 0x165667b1 | 0;

/** A 64-bit hash as two unsigned halves; reused by the caller to spare allocations. */
export interface Hash64 {
  low: number;
  high: number;
}

/** Hashes `wordCount` words (a multiple of 4) from `start`, for page `pageNumber`, into `out`. */
export function hashPage(words: Uint32Array, start: number, wordCount: number, pageNumber: number, out: Hash64): void {
  let a = (pageNumber + PRIME_1 + PRIME_2) | 0;
  let b = (pageNumber + PRIME_2) | 0;
  let c = pageNumber | 0;
  let d = (pageNumber - PRIME_1) | 0;
  const end = start + wordCount;
  for (let i = start; i < end; i += 4) {
    a = (a + Math.imul(words[i] as number, PRIME_2)) | 0;
    a = Math.imul((a << 13) | (a >>> 19), PRIME_1);
    b = (b + Math.imul(words[i + 1] as number, PRIME_2)) | 0;
    b = Math.imul((b << 13) | (b >>> 19), PRIME_1);
    c = (c + Math.imul(words[i + 2] as number, PRIME_2)) | 0;
    c = Math.imul((c << 13) | (c >>> 19), PRIME_1);
    d = (d + Math.imul(words[i + 3] as number, PRIME_2)) | 0;
    d = Math.imul((d << 13) | (d >>> 19), PRIME_1);
  }
  out.low = avalanche((rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18) + wordCount) | 0);
  out.high = avalanche(
    (Math.imul(a ^ PRIME_3, PRIME_5) +
      Math.imul(rotate(b, 11), PRIME_3) +
      Math.imul(rotate(c, 17), PRIME_4) +
      Math.imul(rotate(d, 23), PRIME_1)) |
      0,
  );
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function avalanche(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 15), PRIME_2);
  h = Math.imul(h ^ (h >>> 13), PRIME_3);
  return (h ^ (h >>> 16)) >>> 0;
}

/** 16 hexadecimal digits, high half first. */
export function formatHash(low: number, high: number): string {
  return (high >>> 0).toString(16).padStart(8, "0") + (low >>> 0).toString(16).padStart(8, "0");
}
