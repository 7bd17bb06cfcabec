import { describe, expect, it } from "vitest";
import { PACK_LEVELS, packAfter, packCover, packSalts, packsEndingAt, parsePack } from "../../src/format/pack.ts";
import { encodeWal, PAGE_BYTES, WalEncoder } from "../../src/format/wal.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { codeOf } from "../support/errors.ts";

const page = (fill: number) => new Uint8Array(PAGE_BYTES).fill(fill);

describe("where packs are", () => {
  it.each([
    [0, []],
    [63, []],
    [64, ["0-64"]],
    [128, ["64-128"]],
    [1024, ["960-1024", "0-1024"]],
    [16_384, ["16320-16384", "15360-16384", "0-16384"]],
  ])("epoch %i completes %j", (epoch, ranges) => {
    expect(packsEndingAt(epoch).map(({ from, to }) => `${from}-${to}`)).toEqual(ranges);
  });

  it("the pack of a level around an epoch", () => {
    expect(packAfter(0, 64)).toEqual({ from: 0, to: 64 });
    expect(packAfter(63, 64)).toEqual({ from: 0, to: 64 });
    expect(packAfter(64, 64)).toEqual({ from: 64, to: 128 });
    expect(packAfter(1500, 1024)).toEqual({ from: 1024, to: 2048 });
  });

  it.each([
    [0, 10, []],
    [0, 130, ["0-64", "64-128"]],
    [0, 1100, ["0-1024", "1024-1088"]],
    [30, 130, ["0-64", "64-128"]],
    [960, 2100, ["960-1024", "1024-2048"]],
    [
      16_000,
      33_000,
      [
        "16000-16064",
        "16064-16128",
        "16128-16192",
        "16192-16256",
        "16256-16320",
        "16320-16384",
        "16384-32768",
        "32768-32832",
        "32832-32896",
        "32896-32960",
      ],
    ],
  ])("from %i to %i: %j", (from, to, ranges) => {
    expect(packCover(from, to).map((range) => `${range.from}-${range.to}`)).toEqual(ranges);
  });

  it("a cover leads on without a hole, over few packs (seeded)", () => {
    const random = new SeededRandom(5);
    for (let round = 0; round < 500; round++) {
      const from = Math.floor(random.fraction() * 100_000);
      const to = from + Math.floor(random.fraction() * 100_000);
      let epoch = from;
      const cover = packCover(from, to);
      for (const range of cover) {
        expect(range.from).toBeLessThanOrEqual(epoch);
        expect(range.to).toBeGreaterThan(epoch);
        epoch = range.to;
      }
      expect(to - epoch).toBeLessThan(PACK_LEVELS[0] as number);
      expect(cover.length).toBeLessThanOrEqual(6 + 4 * 15 + 1);
    }
  });
});

describe("a pack", () => {
  const range = { from: 64, to: 128 };
  const bytes = encodeWal([{ pageNumber: 2, bytes: page(1) }], 5, packSalts("lol", range));

  it("is a WAL file", () => {
    expect(parsePack(bytes, "lol", range, "pack")).toMatchObject({ frameCount: 1, pageCount: 5 });
  });

  it.each([
    ["of another cluster", () => parsePack(bytes, "other", range, "pack")],
    ["of other epochs", () => parsePack(bytes, "lol", { from: 0, to: 64 }, "pack")],
    ["of another length", () => parsePack(bytes, "lol", { from: 0, to: 128 }, "pack")],
  ])("%s is refused", (_name, action) => {
    expect(codeOf(action)).toBe("corrupt/wrong_pack");
  });

  it("that is damaged is refused", () => {
    const damaged = bytes.slice();
    damaged[100] = 99;
    expect(codeOf(() => parsePack(damaged, "lol", range, "pack"))).toBe("corrupt/wal_corrupt");
  });
});

describe("the encoder", () => {
  const pages = [3, 9, 11].map((pageNumber) => ({ pageNumber, bytes: page(pageNumber) }));
  const whole = encodeWal(pages, 20, [7, 8]);
  const encoder = () =>
    new WalEncoder(Uint32Array.of(3, 9, 11), 20, [7, 8], (frame, target, offset) =>
      target.set(pages[frame]?.bytes ?? page(0), offset),
    );

  it.each([1, 7, 31, 32, 33, 4120, 5000, 100_000])("gives the same bytes in pieces of %i", (length) => {
    const subject = encoder();
    const pieces: number[] = [];
    for (let offset = 0; offset < subject.byteLength; offset += length) {
      pieces.push(...subject.read(offset, Math.min(length, subject.byteLength - offset)));
    }
    expect(Uint8Array.from(pieces)).toEqual(whole);
  });

  it("begins anew at 0, and refuses to jump or to go beyond the end", () => {
    const subject = encoder();
    subject.read(0, 5000);
    expect(subject.read(0, subject.byteLength)).toEqual(whole);
    expect(() => subject.read(10, 5)).toThrow(RangeError);
    expect(() => encoder().read(0, whole.length + 1)).toThrow(RangeError);
  });
});
