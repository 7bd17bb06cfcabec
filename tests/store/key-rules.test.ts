import fc from "fast-check";
import { expect, it } from "vitest";
import { compareKeys } from "../../src/store/key-rules.ts";

it("keys are compared by their UTF-8 bytes", () => {
  const text = fc.array(
    fc.constantFrom("a", "b", "/", "-", "\u00e9", "\ud7ff", "\ue000", "\uffee", "\u{10000}", "\u{1f600}"),
  );
  fc.assert(
    fc.property(text, text, (left, right) => {
      const [a, b] = [left.join(""), right.join("")];
      expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
    { numRuns: 2_000 },
  );
});
