import fc from "fast-check";
import { expect, test } from "vitest";
import {
  beforeEpochKey,
  epochText,
  LAST_SNAPSHOT_KEY,
  LAST_VACUUM_KEY,
  parseEpochText,
  parseKey,
  snapshotKey,
  walKey,
} from "../../src/format/keys.ts";

const epoch = fc.oneof(fc.maxSafeNat(), fc.nat(1000), fc.constant(Number.MAX_SAFE_INTEGER));

test("names and epochs are the same thing (property)", () => {
  fc.assert(
    fc.property(epoch, (n) => {
      expect(parseKey(walKey(n))).toEqual({ kind: "wal", epoch: n });
      expect(parseKey(snapshotKey(n))).toEqual({ kind: "snapshot", epoch: n });
      expect(parseEpochText(epochText(n))).toBe(n);
    }),
    { seed: 1 },
  );
});

test("the order of names is the order of epochs, and a listing from an epoch misses none of it (property)", () => {
  fc.assert(
    fc.property(epoch, epoch, (a, b) => {
      expect(Math.sign(a - b)).toBe(walKey(a) < walKey(b) ? -1 : walKey(a) > walKey(b) ? 1 : 0);
      for (const key of [walKey(b), snapshotKey(b)]) expect(key > beforeEpochKey(a)).toBe(b >= a);
    }),
    { seed: 2 },
  );
});

test("the layout of the bucket is the documented one", () => {
  expect(walKey(42)).toBe(".lbc/00000000000000000042.wal");
  expect(snapshotKey(42)).toBe(".lbc/00000000000000000042.db");
  expect([LAST_SNAPSHOT_KEY, LAST_VACUUM_KEY]).toEqual([".lbc/.last_snapshot", ".lbc/.last_vacuum"]);
});

test.each([-1, 0.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY])("%s is no epoch", (n) => {
  expect(() => epochText(n)).toThrow(RangeError);
});

const DIGITS = "00000000000000000001";

test.each([
  "",
  ".lbc/",
  ".lbc/.last_snapshot",
  ".lbc/.last_vacuum",
  `.lbc/${DIGITS}`,
  `.lbc/${DIGITS}.wal.tmp`,
  `.lbc/${DIGITS}.WAL`,
  `.lbc/${DIGITS}.wal\n`,
  ` .lbc/${DIGITS}.wal`,
  `x/.lbc/${DIGITS}.wal`,
  `.lbc/0${DIGITS}.wal`,
  ".lbc/1.wal",
  ".lbc/-0000000000000000001.wal",
  ".lbc/0000000000000000000x.wal",
  ".lbc/99999999999999999999.wal",
  ".lbc/00009007199254740992.wal",
  `.lbc/${DIGITS}-${DIGITS}.pack`,
  ".lbc/00000000000000000005-00000000000000000004.pack",
  `.lbc/${DIGITS}-.pack`,
  ".lbc/٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠.wal",
])("%j is ignored", (key) => {
  expect(parseKey(key)).toBeUndefined();
});

test("no text at all makes parseKey throw (property)", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      parseKey(text);
      parseKey(`.lbc/${text}`);
      parseEpochText(text);
    }),
    { seed: 3 },
  );
});

test("a pack names the epochs that it spans", () => {
  expect(parseKey(`.lbc/${DIGITS}-00000000000000000009.pack`)).toEqual({ kind: "pack", fromEpoch: 1, epoch: 9 });
});

test.each(["", "1", ` ${DIGITS}`, `${DIGITS}\n`, "0x000000000000000000", "00009007199254740992"])(
  "%j is no marker text",
  (text) => {
    expect(parseEpochText(text)).toBeUndefined();
  },
);
