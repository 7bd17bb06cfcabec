/** What changed is never told too short, and costs what a join really reads. */
import { describe, expect, it } from "vitest";
import { walByteLength } from "../../src/format/wal.ts";
import { ChangedPages } from "../../src/sqlite/changed-pages.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";

const pagesOf = (...pages: number[]) => Uint32Array.from(pages);

function filled(epochs: number, since = 0): ChangedPages {
  const changes = new ChangedPages(since);
  for (let epoch = since + 1; epoch <= since + epochs; epoch++) changes.add(epoch, pagesOf(2, epoch));
  return changes;
}

describe("what changed", () => {
  it("is what was added after an epoch, each page once, ascending", () => {
    const changes = new ChangedPages(10);
    changes.add(11, pagesOf(5, 2, 5));
    changes.add(12, pagesOf(9, 2));
    expect([...(changes.after(10) ?? [])]).toEqual([2, 5, 9]);
    expect([...(changes.after(11) ?? [])]).toEqual([2, 9]);
    expect([...(changes.after(12) ?? [])]).toEqual([]);
  });

  it("is not known before it was seen", () => {
    expect(filled(5, 100).after(99)).toBeUndefined();
    expect(filled(5, 100).after(100)).toBeDefined();
  });

  it("keeps a copy of what it was given", () => {
    const changes = new ChangedPages(0);
    const pages = pagesOf(3);
    changes.add(1, pages);
    pages[0] = 7;
    expect([...(changes.after(0) ?? [])]).toEqual([3]);
  });

  it("at any boundary is exact, and nowhere too little, over every level (seeded)", () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 20; round++) {
      const since = Math.floor(random.fraction() * 2000);
      const changes = new ChangedPages(since);
      const all: number[][] = [];
      const epochs = 200 + Math.floor(random.fraction() * 3000);
      for (let epoch = since + 1; epoch <= since + epochs; epoch++) {
        const pages = Array.from({ length: 1 + Math.floor(random.fraction() * 4) }, () =>
          Math.ceil(random.fraction() * 10_000),
        );
        all.push(pages);
        changes.add(epoch, Uint32Array.from(pages));
        if (random.fraction() < 0.001) changes.divideAt(epoch);
      }
      const newest = since + epochs;
      for (const length of [64, 1024]) {
        const from = Math.floor(newest / length) * length;
        if (from < since) continue;
        const exact = new Set(all.slice(from - since).flat());
        expect(new Set(changes.after(from))).toEqual(exact);
      }
      const from = since + Math.floor(random.fraction() * epochs);
      const told = new Set(changes.after(from));
      for (const page of all.slice(from - since).flat()) expect(told.has(page)).toBe(true);
    }
  });

  it("is exact for every pack that ends with the newest epoch, also where a longer one ends too", () => {
    const changes = new ChangedPages(0);
    for (let epoch = 1; epoch <= 16_384; epoch++) changes.add(epoch, pagesOf(2, 10 + epoch));
    for (const length of [64, 1024, 16_384]) {
      const expected = [2, ...Array.from({ length }, (_, index) => 16_384 - length + 11 + index)];
      expect([...(changes.after(16_384 - length) ?? [])]).toEqual(expected);
    }
    changes.add(16_385, pagesOf(3));
    expect([...(changes.after(16_384) ?? [])]).toEqual([3]);
  });

  it("of many pages is the same as of few", () => {
    const changes = new ChangedPages(0);
    const many = Uint32Array.from({ length: 10_000 }, (_, index) => 20_000 - 2 * index);
    changes.add(1, many);
    changes.add(2, many);
    expect([...(changes.after(0) ?? [])]).toEqual([...many].reverse());
  });
});

describe("the cost of reading", () => {
  it("is one object for each pack and each WAL, of the pages in it", () => {
    const changes = filled(64 + 64 + 3);
    // Two packs of 65 pages each (page 2 and one for each epoch), less one where epoch 2 changed page 2 only, and 3 WALs.
    expect(changes.costAfter(0)).toEqual({
      objects: 5,
      bytes: walByteLength(64) + walByteLength(65) + 3 * walByteLength(2),
    });
  });

  it("grows by the levels, not by the epochs", () => {
    const changes = filled(1024 * 3 + 64 * 5 + 7);
    expect(changes.costAfter(0).objects).toBe(3 + 5 + 7);
  });

  it("after a snapshot in the middle of the shortest pack is that pack, which a join reads too", () => {
    const changes = filled(40);
    changes.divideAt(40);
    for (let epoch = 41; epoch <= 66; epoch++) changes.add(epoch, pagesOf(2, epoch));
    expect(changes.costAfter(40)).toEqual({ objects: 3, bytes: walByteLength(64) + 2 * walByteLength(2) });
  });

  it("after a snapshot counts the shorter packs after it, not the longer one around it", () => {
    const changes = filled(640);
    changes.divideAt(640);
    for (let epoch = 641; epoch <= 1024; epoch++) changes.add(epoch, pagesOf(2, epoch));
    expect(changes.costAfter(640).objects).toBe(6);
    changes.forgetUpTo(640);
    expect(changes.costAfter(640).objects).toBe(6);
    expect(changes.after(0)).toBeDefined();
  });

  it("what lies before the longest pack around a snapshot is forgotten", () => {
    const changes = filled(16_384 + 100);
    changes.divideAt(16_384 + 100);
    changes.forgetUpTo(16_384 + 100);
    expect(changes.since).toBe(16_384);
    expect(changes.after(0)).toBeUndefined();
    expect(changes.after(16_384)?.length).toBe(101);
  });

  it("P10: what a follower remembers is bounded, though nobody tells it of snapshots", () => {
    const changes = new ChangedPages(0);
    for (let epoch = 1; epoch <= 16_384 * 40; epoch++) changes.add(epoch, pagesOf(2, epoch % 1000));
    expect(changes.costAfter(0).objects).toBeLessThanOrEqual(16);
    expect(changes.since).toBe(16_384 * 24);
  });
});
