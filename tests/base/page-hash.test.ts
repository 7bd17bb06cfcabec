import fc from "fast-check";
import { expect, test } from "vitest";
import { formatHash, hashPage } from "../../src/base/page-hash.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";

const WORDS = 1024;

function hashOf(words: Uint32Array, pageNumber: number): string {
  const out = { low: 0, high: 0 };
  hashPage(words, 0, words.length, pageNumber, out);
  return formatHash(out.low, out.high);
}

function randomPage(seed: number): Uint32Array {
  return new Uint32Array(new SeededRandom(seed).bytes(WORDS * 4).buffer);
}

test("P7: a change of any single word of a page changes its hash", () => {
  const page = randomPage(1);
  const before = hashOf(page, 7);
  for (let index = 0; index < WORDS; index++) {
    const word = page[index] as number;
    for (const other of [word ^ 1, word ^ 0x80000000, ~word >>> 0]) {
      page[index] = other;
      expect(hashOf(page, 7) === before, `word ${index}`).toBe(false);
    }
    page[index] = word;
  }
  expect(hashOf(page, 7)).toBe(before);
});

test("P7: any single-word change is seen, whatever the page (property)", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 31 }),
      fc.nat(WORDS - 1),
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      (seed, index, difference) => {
        const page = randomPage(seed);
        const before = hashOf(page, 1);
        page[index] = ((page[index] as number) ^ difference) >>> 0;
        expect(hashOf(page, 1)).not.toBe(before);
      },
    ),
    { seed: 1, numRuns: 100 },
  );
});

test("P7: the same bytes as another page, and two pages exchanged, have another sum", () => {
  const [a, b] = [randomPage(1), randomPage(2)];
  expect(hashOf(a, 1)).not.toBe(hashOf(a, 2));
  const sum = (x: string, y: string) => BigInt.asUintN(64, BigInt(`0x${x}`) + BigInt(`0x${y}`));
  expect(sum(hashOf(a, 1), hashOf(b, 2))).not.toBe(sum(hashOf(b, 1), hashOf(a, 2)));
  expect(new Set(Array.from({ length: 2000 }, (_, n) => hashOf(new Uint32Array(WORDS), n + 1))).size).toBe(2000);
});

test("words that trade places within a page are seen", () => {
  const page = randomPage(3);
  const before = hashOf(page, 1);
  for (const [i, j] of [
    [0, 1],
    [0, 4],
    [5, 1022],
    [1020, 1023],
  ] as const) {
    const swapped = page.slice();
    swapped[i] = page[j] as number;
    swapped[j] = page[i] as number;
    expect(hashOf(swapped, 1)).not.toBe(before);
  }
});

test("the hash is a fixed function: stored checksums stay valid", () => {
  const counting = Uint32Array.from({ length: WORDS }, (_, index) => index);
  expect([hashOf(new Uint32Array(WORDS), 1), hashOf(counting, 1), hashOf(counting, 2)]).toMatchInlineSnapshot(`
    [
      "44c23a0b5ac05720",
      "099d9ffbe9a88197",
      "09ee9c8e64c7bb7f",
    ]
  `);
  expect(formatHash(0xff, 1)).toBe("00000001000000ff");
});
