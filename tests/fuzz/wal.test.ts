/**
 * WAL files and packs, damaged in whatever way. No byte of them is without a meaning, so what is accepted is, byte for
 * byte, what was written. Who damages one *and* makes its checksums right again is the chain's affair: `chain.test.ts`.
 */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { equalBytes } from "../../src/base/bytes.ts";
import { packSalts, parsePack } from "../../src/format/pack.ts";
import {
  encodeWal,
  framePageOffset,
  PAGE_BYTES,
  parseWal,
  parseWalPrefix,
  type Wal,
  WalEncoder,
  type WalPage,
  walByteLength,
} from "../../src/format/wal.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { Led } from "../support/cluster-database.ts";
import { bytesAskedFor, decoded, mutated, mutations, refusalOf, runs } from "../support/fuzz-mutations.ts";
import { withRightChecksums } from "../support/fuzz-wal.ts";

const CLUSTER = "test";
const RANGE = { from: 64, to: 128 };

/** Two epochs of one cluster as SQLite wrote them, and their pages as two packs of the same range. */
let epochs: [Uint8Array, Uint8Array];
let packs: [Uint8Array, Uint8Array];

beforeAll(async () => {
  const led = await Led.create("CREATE TABLE t(a, b); CREATE INDEX t_a ON t(a)");
  led.write((tx) => tx.run("INSERT INTO t VALUES (1, randomblob(9000)), (2, 'two')"));
  led.write((tx) => tx.run("UPDATE t SET b = randomblob(5000) WHERE a = 2"));
  led.close();
  epochs = [led.wals[1] as Uint8Array, led.wals[2] as Uint8Array];
  packs = [asPack(epochs[0]), asPack(epochs[1])];
});

function asPack(bytes: Uint8Array): Uint8Array {
  const wal = parseWal(bytes, "x");
  return encodeWal(pagesOf(wal), wal.pageCount, packSalts(CLUSTER, RANGE));
}

function pagesOf(wal: Wal): WalPage[] {
  return Array.from(wal.pageNumbers, (pageNumber, frame) => ({
    pageNumber,
    bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
  }));
}

/** The same bytes at another address: readers are given pieces of larger buffers. */
function movedBy(bytes: Uint8Array, offset: number): Uint8Array {
  const room = Buffer.alloc(bytes.length + offset);
  room.set(bytes, offset);
  return room.subarray(offset);
}

const offset = fc.nat(7);

describe("P7: a WAL", () => {
  test("with any damage is refused, or is what was written", () => {
    fc.assert(
      fc.property(fc.nat(1), mutations, offset, (which, faults, at) => {
        const [one, other] = which === 0 ? epochs : epochs.toReversed();
        const damaged = mutated(one as Uint8Array, faults, other as Uint8Array);
        const outcome = decoded(() => parseWal(movedBy(damaged, at), "epoch 7"));
        if ("value" in outcome) expect(epochs.some((bytes) => equalBytes(bytes, outcome.value.bytes))).toBe(true);
        else expect(refusalOf(outcome)).toBe("corrupt/wal_corrupt");
      }),
      runs(1500),
    );
  });

  test("whose checksums are right is refused, or says exactly what its bytes say", () => {
    fc.assert(
      fc.property(mutations, (faults) => {
        const forged = withRightChecksums(mutated(epochs[0], faults, epochs[1]));
        const outcome = decoded(() => parseWal(forged, "epoch 7"));
        if ("refusal" in outcome) {
          expect(refusalOf(outcome)).toBe("corrupt/wal_corrupt");
          return;
        }
        const { frameCount, pageNumbers, pageCount, bytes } = outcome.value;
        const view = new DataView(forged.buffer);
        expect(bytes).toBe(forged);
        expect(walByteLength(frameCount)).toBe(forged.length);
        const starts = Array.from(pageNumbers, (_, frame) => framePageOffset(frame) - 24);
        expect([...pageNumbers]).toEqual(starts.map((start) => view.getUint32(start)));
        const sizes = starts.map((start) => view.getUint32(start + 4));
        expect(sizes).toEqual([...starts.slice(1).map(() => 0), pageCount]);
        expect([pageCount > 0, pageNumbers.includes(0)]).toEqual([true, false]);
      }),
      runs(400),
    );
  });

  test("of whatever bytes is refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 9000 }), (bytes) => {
        expect(refusalOf(decoded(() => parseWal(bytes, "epoch 7")))).toBe("corrupt/wal_corrupt");
      }),
      runs(200),
    );
  });

  test("of which only the beginning was read is refused, or its frames are what was written", () => {
    fc.assert(
      fc.property(mutations, fc.nat(2 ** 16), fc.nat(3), (faults, length, extra) => {
        const [whole] = epochs;
        const damaged = mutated(whole, faults, epochs[1]);
        const begun = damaged.subarray(0, length % (damaged.length + 1));
        const outcome = decoded(() => parseWalPrefix(begun, damaged.length + extra, "epoch 7"));
        if ("refusal" in outcome) {
          expect(refusalOf(outcome)).toBe("corrupt/wal_corrupt");
          return;
        }
        // What is read of the frame after them carries no meaning yet.
        const framesEnd = walByteLength(outcome.value.frameCount);
        const isWritten = epochs.some((bytes) =>
          equalBytes(bytes.subarray(0, framesEnd), begun.subarray(0, framesEnd)),
        );
        expect(isWritten).toBe(true);
      }),
      runs(800),
    );
  });

  test("is the same made at once and piece by piece, and is read as it was made", () => {
    const page = fc.record({ pageNumber: fc.integer({ min: 1, max: 2 ** 32 - 1 }), seed: fc.nat() });
    const pages = fc.array(page, { minLength: 1, maxLength: 4 });
    const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(pages, word, word, fc.array(fc.nat(9000), { maxLength: 8 }), (made, a, b, cuts) => {
        const written = made.map(({ pageNumber, seed }) => ({
          pageNumber,
          bytes: new SeededRandom(seed).bytes(PAGE_BYTES),
        }));
        const whole = encodeWal(written, a || 1, [a, b]);
        expect(pagesOf(parseWal(whole, "x"))).toEqual(written);
        const numbers = Uint32Array.from(written, ({ pageNumber }) => pageNumber);
        const encoder = new WalEncoder(numbers, a || 1, [a, b], (frame, target, at) =>
          target.set((written[frame] as WalPage).bytes, at),
        );
        const pieces: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < whole.length; at += pieces.at(-1)?.length ?? 0, turn++)
          pieces.push(encoder.read(at, Math.min((cuts[turn] ?? whole.length) + 1, whole.length - at)));
        expect(Buffer.concat(pieces).equals(whole)).toBe(true);
      }),
      runs(40),
    );
  });

  test("P10: takes no memory for sizes that it only claims", () => {
    const forged = epochs[0].slice();
    const view = new DataView(forged.buffer);
    view.setUint32(forged.length - PAGE_BYTES - 20, 0xffff_ffff);
    view.setUint32(32, 0xffff_ffff);
    const right = withRightChecksums(forged);
    expect(bytesAskedFor(() => expect(parseWal(right, "x").pageCount).toBe(0xffff_ffff))).toBeLessThan(2 ** 20);
    const claim = () => parseWalPrefix(right, walByteLength(2 ** 32), "x");
    expect(bytesAskedFor(() => decoded(claim))).toBeLessThan(2 ** 20);
  });
});

describe("P7: a pack", () => {
  test("with any damage is refused, or is what was written", () => {
    fc.assert(
      fc.property(mutations, offset, (faults, at) => {
        const damaged = mutated(packs[0], faults, packs[1]);
        const outcome = decoded(() => parsePack(movedBy(damaged, at), CLUSTER, RANGE, "the pack"));
        if ("value" in outcome) expect(packs.some((bytes) => equalBytes(bytes, outcome.value.bytes))).toBe(true);
        else expect(refusalOf(outcome)).toBe("corrupt/wal_corrupt");
      }),
      runs(600),
    );
  });

  test("whose salts are not those of its place is refused by name, however right its checksums are", () => {
    const number = fc.nat(20_000);
    fc.assert(
      fc.property(
        number,
        number,
        fc.string({ minLength: 1, maxLength: 30 }),
        fc.boolean(),
        (from, length, id, isOurs) => {
          const elsewhere = { from, to: from + length };
          const cluster = isOurs ? CLUSTER : id;
          const isSame = cluster === CLUSTER && elsewhere.from === RANGE.from && elsewhere.to === RANGE.to;
          const outcome = decoded(() => parsePack(packs[0], cluster, elsewhere, "the pack"));
          expect(refusalOf(outcome)).toBe(isSame ? undefined : "corrupt/wrong_pack");
        },
      ),
      runs(400),
    );
    const asWal = epochs[0];
    expect(refusalOf(decoded(() => parsePack(asWal, CLUSTER, RANGE, "the pack")))).toBe("corrupt/wrong_pack");
  });
});
