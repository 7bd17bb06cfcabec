import { Buffer } from "node:buffer";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import {
  encodeWal,
  framePageOffset,
  PAGE_BYTES,
  parseWal,
  WAL_HEADER_BYTES,
  walByteLength,
} from "../../src/format/wal.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { bytesOf, Led } from "../support/cluster-database.ts";
import { clusterErrorOf } from "../support/errors.ts";
import { askSqliteCli, sqliteCliVersion } from "../support/sqlite-cli.ts";

/** Three frames, as SQLite wrote them. */
let real: Uint8Array;
let database: Uint8Array;

beforeAll(async () => {
  const led = await Led.create("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
  led.writer.transact((tx) => tx.run("UPDATE t SET a = 2"));
  database = bytesOf(led.image);
  real = led.seal();
  led.close();
});

function refusal(bytes: Uint8Array): string {
  const error = clusterErrorOf(() => parseWal(bytes, "epoch 7"));
  const { object, where, expected, found } = error.details;
  expect([error.kind, error.code, object]).toEqual(["corrupt", "wal_corrupt", "epoch 7"]);
  expect([typeof where, expected !== undefined, found !== undefined]).toEqual(["string", true, true]);
  expect(error.message).toContain("epoch 7");
  return where as string;
}

/** A WAL whose words are summed as a big-endian machine would. */
function asBigEndian(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  view.setUint32(0, 0x377f0683);
  let [first, second] = [0, 0];
  const add = (from: number, to: number) => {
    for (let at = from; at < to; at += 8) {
      first = (first + view.getUint32(at) + second) >>> 0;
      second = (second + view.getUint32(at + 4) + first) >>> 0;
    }
  };
  const write = (at: number) => {
    view.setUint32(at, first);
    view.setUint32(at + 4, second);
  };
  add(0, 24);
  write(24);
  for (let at = WAL_HEADER_BYTES; at < copy.length; at += 24 + PAGE_BYTES) {
    add(at, at + 8);
    add(at + 24, at + 24 + PAGE_BYTES);
    write(at + 16);
  }
  return copy;
}

test("a WAL that SQLite wrote is read: frames, page numbers, size", () => {
  const wal = parseWal(real, "epoch 7");
  expect(wal.frameCount).toBe(3);
  expect(walByteLength(wal.frameCount)).toBe(real.length);
  expect([...wal.pageNumbers].every((page) => page >= 1 && page <= wal.pageCount)).toBe(true);
  expect(wal.pageCount * PAGE_BYTES).toBe(database.length);
});

test("P7: a WAL cut off at any length is refused", () => {
  for (let length = 0; length < real.length; length++) refusal(real.slice(0, length));
});

test("P7: a WAL with any bit or any byte changed is refused", () => {
  const random = new SeededRandom(1);
  const damaged = real.slice();
  for (let at = 0; at < real.length; at++) {
    const byte = real[at] as number;
    for (const other of [byte ^ (1 << Math.floor(random.fraction() * 8)), byte ^ 0xff]) {
      damaged[at] = other;
      const error = clusterErrorOf(() => parseWal(damaged, "epoch 7"));
      if (error.code !== "wal_corrupt" || typeof error.details["where"] !== "string") expect.fail(`byte ${at}`);
    }
    damaged[at] = byte;
  }
  expect(parseWal(damaged, "epoch 7").frameCount).toBe(3);
});

test("P7: what follows the commit is refused, be it a byte, zeros, a frame or another commit", () => {
  const frame = real.slice(-(24 + PAGE_BYTES));
  for (const tail of [Uint8Array.of(0), new Uint8Array(4), new Uint8Array(24 + PAGE_BYTES), frame]) {
    const longer = new Uint8Array(real.length + tail.length);
    longer.set(real);
    longer.set(tail, real.length);
    refusal(longer);
  }
});

test("P7: several commits in one file are refused even with right checksums, and so is none", () => {
  const page = { pageNumber: 1, bytes: new Uint8Array(PAGE_BYTES) };
  const twoFrames = encodeWal([page, page], 1, [1, 2]);
  const view = new DataView(twoFrames.buffer);
  const withSizes = (first: number, last: number): Uint8Array => {
    const at = WAL_HEADER_BYTES + 24 + PAGE_BYTES;
    view.setUint32(WAL_HEADER_BYTES + 4, first);
    view.setUint32(at + 4, last);
    return asBigEndian(twoFrames);
  };
  expect(parseWal(withSizes(0, 1), "x").frameCount).toBe(2);
  expect(refusal(withSizes(1, 1))).toBe("frame 1 of 2, commit");
  expect(refusal(withSizes(0, 0))).toBe("frame 2 of 2, commit");
});

test("P7: page number 0, foreign salts, page sizes and versions are refused by name, with right checksums", () => {
  const changed = (at: number, value: number): Uint8Array => {
    const copy = encodeWal([{ pageNumber: 1, bytes: new Uint8Array(PAGE_BYTES) }], 1, [1, 2]);
    new DataView(copy.buffer).setUint32(at, value);
    return asBigEndian(copy);
  };
  expect(refusal(changed(WAL_HEADER_BYTES, 0))).toBe("frame 1 of 1, page number");
  expect(refusal(changed(WAL_HEADER_BYTES + 8, 9))).toBe("frame 1 of 1, salt");
  expect(refusal(changed(WAL_HEADER_BYTES + 12, 9))).toBe("frame 1 of 1, salt");
  expect(refusal(changed(8, 8192))).toBe("page size");
  expect(refusal(changed(4, 3007001))).toBe("version");
});

test("a WAL with big-endian checksums is read, and damage in it seen", () => {
  const big = asBigEndian(real);
  expect(parseWal(big, "x").pageNumbers).toEqual(parseWal(real, "x").pageNumbers);
  const page = { pageNumber: 1, bytes: new SeededRandom(4).bytes(PAGE_BYTES) };
  expect(parseWal(asBigEndian(encodeWal([page], 1, [1, 2])), "x").frameCount).toBe(1);
  for (let at = 0; at < big.length; at += 61) {
    const damaged = big.slice();
    damaged[at] = (damaged[at] as number) ^ 1;
    refusal(damaged);
  }
});

test("input that does not start on a 4-byte boundary is read the same", () => {
  for (const shift of [1, 2, 3]) {
    const whole = new Uint8Array(real.length + shift);
    // Pieces of a stream may be of the kind that `slice` does not copy.
    for (const shifted of [whole.subarray(shift), Buffer.from(whole.buffer, shift)]) {
      shifted.set(real);
      const wal = parseWal(shifted, "x");
      expect(new Uint8Array(wal.bytes)).toEqual(real);
      expect(wal.bytes.byteOffset % 4).toBe(0);
      shifted[100] = (shifted[100] as number) ^ 1;
      refusal(shifted);
    }
  }
});

test("what encodeWal writes, parseWal reads (property)", () => {
  const page = fc.record({ pageNumber: fc.integer({ min: 1, max: 2 ** 32 - 2 }), seed: fc.nat() });
  const salt = fc.integer({ min: 0, max: 2 ** 32 - 1 });
  fc.assert(
    fc.property(
      fc.array(page, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      salt,
      salt,
      (pages, pageCount, a, b) => {
        const written = pages.map(({ pageNumber, seed }) => ({
          pageNumber,
          bytes: new SeededRandom(seed).bytes(PAGE_BYTES),
        }));
        const wal = parseWal(encodeWal(written, pageCount, [a, b]), "x");
        expect(wal.pageCount).toBe(pageCount);
        for (const [frame, { pageNumber, bytes }] of written.entries()) {
          expect(wal.pageNumbers[frame]).toBe(pageNumber);
          const offset = framePageOffset(frame);
          expect(wal.bytes.subarray(offset, offset + PAGE_BYTES)).toEqual(bytes);
        }
      },
    ),
    { seed: 1, numRuns: 30 },
  );
});

test("encodeWal refuses what would not be a WAL of one commit", () => {
  const page = { pageNumber: 1, bytes: new Uint8Array(PAGE_BYTES) };
  expect(() => encodeWal([], 1, [1, 2])).toThrow(RangeError);
  expect(() => encodeWal([page], 0, [1, 2])).toThrow(RangeError);
  expect(() => encodeWal([{ pageNumber: 1, bytes: new Uint8Array(100) }], 1, [1, 2])).toThrow(RangeError);
});

describe.skipIf(sqliteCliVersion === undefined)("P8: in stock SQLite", () => {
  test("a captured WAL beside its database shows the epoch after", () => {
    expect(askSqliteCli(database, real, "SELECT a FROM t; PRAGMA integrity_check")).toBe("2\nok");
    expect(askSqliteCli(database, undefined, "SELECT a FROM t")).toBe("1");
  });

  test("a WAL of encodeWal beside its database shows the epoch after", () => {
    const wal = parseWal(real, "x");
    const pages = Array.from({ length: wal.frameCount }, (_, frame) => ({
      pageNumber: wal.pageNumbers[frame] as number,
      bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
    }));
    const ours = encodeWal(pages, wal.pageCount, [7, 8]);
    expect(askSqliteCli(database, ours, "SELECT a FROM t; PRAGMA integrity_check")).toBe("2\nok");
  });
});
