import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatHash, hashPage } from "../../src/base/page-hash.ts";
import { encodeWal, PAGE_BYTES, parseWal, type Wal } from "../../src/format/wal.ts";
import { CHUNK_PAGES, DurableImage, type ImagePin, type PageSource, WalLayer } from "../../src/sqlite/image.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";

function pageOf(seed: number): Uint8Array {
  return seed === 0 ? new Uint8Array(PAGE_BYTES) : new SeededRandom(seed).bytes(PAGE_BYTES);
}

function walOf(pages: readonly (readonly [number, number])[], pageCount: number): Wal {
  const written = pages.map(([pageNumber, seed]) => ({ pageNumber, bytes: pageOf(seed) }));
  return parseWal(encodeWal(written, pageCount, [1, 2]), "test");
}

/** A database as a plain list of page seeds; 0 is a page of zeros. */
type Model = readonly number[];

function applyToModel(model: Model, pages: readonly (readonly [number, number])[], pageCount: number): Model {
  const next = Array.from({ length: pageCount }, (_, index) => model[index] ?? 0);
  for (const [pageNumber, seed] of pages) if (pageNumber <= pageCount) next[pageNumber - 1] = seed;
  return next;
}

function expectContent(source: PageSource, model: Model): void {
  expect(source.pageCount).toBe(model.length);
  const found = new Uint8Array(PAGE_BYTES);
  for (const [index, seed] of model.entries()) {
    expect(source.read(index * PAGE_BYTES, PAGE_BYTES, found, 0)).toBe(PAGE_BYTES);
    if (Buffer.compare(found, pageOf(seed)) !== 0) expect.fail(`page ${index + 1} is not that of seed ${seed}`);
  }
  expect(source.read(model.length * PAGE_BYTES, 10, found, 0)).toBe(0);
}

/** The state checksum from nothing but the definition. */
function checksumOf(model: Model): string {
  let [low, high] = [0, 0];
  for (const [index, seed] of model.entries()) {
    const out = { low: 0, high: 0 };
    hashPage(new Uint32Array(pageOf(seed).buffer), 0, PAGE_BYTES / 4, index + 1, out);
    low = (low + out.low) >>> 0;
    high = (high + out.high) >>> 0;
  }
  return formatHash(low, high);
}

const PAGES = 70; // More than one chunk.
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("apply" as const),
      pages: fc.array(fc.tuple(fc.integer({ min: 1, max: PAGES }), fc.integer({ min: 0, max: 9 })), {
        minLength: 1,
        maxLength: 6,
      }),
      pageCount: fc.integer({ min: 1, max: PAGES }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pin" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat(5) }) },
);

test("image and pins show what plain copies would, through overwrites, truncation and growth (property)", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
      const image = new DurableImage();
      let model: Model = [];
      const pins: { pin: ImagePin; model: Model }[] = [];
      for (const action of steps) {
        if (action.do === "apply") {
          const wal = walOf(action.pages, action.pageCount);
          const layer = new WalLayer(image, wal);
          model = applyToModel(model, action.pages, action.pageCount);
          expectContent(layer, model);
          image.apply(wal);
        } else if (action.do === "pin") {
          pins.push({ pin: image.pin(), model });
        } else {
          pins.splice(action.which, 1)[0]?.pin.release();
        }
        expect(image.stateChecksum).toBe(checksumOf(model));
        expect(image.pinCount).toBe(pins.length);
      }
      expectContent(image, model);
      for (const { pin, model: old } of pins) expectContent(pin, old);
      for (const { pin } of pins) pin.release();
      expect(image.pinCount).toBe(0);
    }),
    { seed: 1, numRuns: 150 },
  );
});

test("a layer above a layer shows zeros where a page was cut off and grown again", () => {
  const image = new DurableImage();
  image.apply(
    walOf(
      [1, 2, 3].map((n) => [n, n] as const),
      3,
    ),
  );
  const first = walOf([[1, 7]], 1);
  const second = walOf([[4, 8]], 4);
  expectContent(new WalLayer(new WalLayer(image, first), second), [7, 0, 0, 8]);
  image.apply(first);
  image.apply(second);
  expectContent(image, [7, 0, 0, 8]);
});

describe("adopt", () => {
  test.each([1, CHUNK_PAGES - 1, CHUNK_PAGES, CHUNK_PAGES + 1, 2 * CHUNK_PAGES])(
    "%i pages are the same as applied",
    (count) => {
      const model = Array.from({ length: count }, (_, index) => (index % 5) + 1);
      const file = Buffer.concat(model.map(pageOf));
      const chunks = Array.from({ length: Math.ceil(count / CHUNK_PAGES) }, (_, index) =>
        Uint8Array.from(file.subarray(index * CHUNK_PAGES * PAGE_BYTES, (index + 1) * CHUNK_PAGES * PAGE_BYTES)),
      );
      const image = DurableImage.adopt(chunks, count);
      expectContent(image, model);
      expect(image.stateChecksum).toBe(checksumOf(model));
      image.apply(walOf([[count + 1, 9]], count + 1));
      expectContent(image, [...model, 9]);
    },
  );

  test("bytes after the last page do not become part of a page grown later", () => {
    const chunk = new Uint8Array(CHUNK_PAGES * PAGE_BYTES).fill(255);
    chunk.set(pageOf(1));
    const image = DurableImage.adopt([chunk], 1);
    image.apply(walOf([[3, 2]], 3));
    expectContent(image, [1, 0, 2]);
  });

  test("too few or too short chunks are refused", () => {
    expect(() => DurableImage.adopt([], 1)).toThrow(RangeError);
    expect(() => DurableImage.adopt([new Uint8Array(10)], 1)).toThrow(RangeError);
  });
});

test("versions differ with every change and between images: page caches are never mistaken", () => {
  const [a, b] = [new DurableImage(), new DurableImage()];
  const seen = new Set([a.version, b.version]);
  for (const image of [a, b, a]) {
    image.apply(walOf([[1, 1]], 1));
    seen.add(image.version);
  }
  expect(seen.size).toBe(5);
});

test("P10: a pin keeps only pages that changed, once, and gives them back", () => {
  const image = new DurableImage();
  image.apply(walOf([[1, 1]], 60));
  const pin = image.pin();
  for (let i = 0; i < 5; i++) image.apply(walOf([[2, i + 1]], 60));
  expect(pin.savedPages).toBe(1);
  pin.release();
  pin.release();
  expect([pin.savedPages, image.pinCount]).toEqual([0, 0]);
  expect(() => pin.read(0, 1, new Uint8Array(1), 0)).toThrow("released");
});
