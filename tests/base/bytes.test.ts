import { Buffer } from "node:buffer";
import fc from "fast-check";
import { expect, test } from "vitest";
import { concatBytes, equalBytes, toBase64Url, toHex } from "../../src/base/bytes.ts";

const bytes = fc.uint8Array({ maxLength: 100 });

test("toHex and toBase64Url write what Node's Buffer writes", () => {
  fc.assert(
    fc.property(bytes, (value) => {
      expect(toHex(value)).toBe(Buffer.from(value).toString("hex"));
      expect(toBase64Url(value)).toBe(Buffer.from(value).toString("base64url"));
    }),
    { seed: 1 },
  );
});

test("concatBytes keeps order and bytes, and copies", () => {
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 5 }), (parts) => {
      const whole = concatBytes(parts);
      expect(Buffer.from(whole).equals(Buffer.concat(parts))).toBe(true);
    }),
    { seed: 2 },
  );
  const part = Uint8Array.of(1);
  const whole = concatBytes([part]);
  part[0] = 2;
  expect(whole).toEqual(Uint8Array.of(1));
});

test("equalBytes sees every difference, of length too", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 50 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (a, at, x) => {
        const b = a.slice();
        expect(equalBytes(a, b)).toBe(true);
        b[at % b.length] = (b[at % b.length] as number) ^ x;
        expect(equalBytes(a, b)).toBe(false);
        expect(equalBytes(a, a.subarray(1))).toBe(false);
      },
    ),
    { seed: 3 },
  );
});
