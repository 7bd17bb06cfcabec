/** What people write for a point in time, damaged or made up: refused with advice, or what its text says and no other. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ClusterError } from "../../src/errors.ts";
import { parsePoint, parseTime } from "../../src/history/parse-point.ts";
import { damaged, decoded, refusalOf, runs } from "../support/fuzz-mutations.ts";
import { readPoint, readTime } from "./fixtures/read-point.ts";

const NOW_MS = Date.parse("2026-11-20T12:00:00Z");
const text = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: "binary", maxLength: 60 }));

/** A valid text with one or two digits that are others: most of what damage leaves a time or a number. */
function damagedDigit(valid: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const change = fc.record({ at: fc.nat(40), digit: fc.nat(9) });
  return fc.tuple(valid, fc.array(change, { minLength: 1, maxLength: 2 })).map(([one, changes]) =>
    changes.reduce((found, { at, digit }) => {
      const places = [...found.matchAll(/\d/g)].map(({ index }) => index);
      const place = places[at % Math.max(1, places.length)] ?? found.length;
      return `${found.slice(0, place)}${digit}${found.slice(place + 1)}`;
    }, one),
  );
}

describe("points in time", () => {
  const two = (max: number) => fc.nat(max).map((number) => String(number).padStart(2, "0"));
  const time = fc
    .tuple(
      fc.date({ min: new Date(0), max: new Date("9999-12-30"), noInvalidDate: true }),
      fc.integer({ min: -1439, max: 1439 }),
    )
    .map(([date, offset]) => {
      const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, -1);
      const minutes = Math.abs(offset);
      const zone = `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
      return { ms: date.getTime(), text: `${local}${offset < 0 ? "-" : "+"}${zone}` };
    });
  const ago = fc
    .record({ w: fc.nat(99), d: fc.nat(99), h: fc.nat(99), m: fc.nat(999), s: fc.nat(9999) })
    .map(({ w, d, h, m, s }) => ({
      ms: NOW_MS - ((((w * 7 + d) * 24 + h) * 60 + m) * 60 + s) * 1000,
      text: `${w}w ${d} days ${h}h${m} min ${s}s ago`,
    }));
  /** What might pass for it: in any order, more than once, with other units, and longer ago than there are times. */
  const agoLike = fc
    .tuple(
      fc.array(
        fc.tuple(
          fc.oneof(
            fc.nat(90).map(String),
            fc.constantFrom("8640000000", "8641795478400", "9".repeat(25), "1.5", "-1", ""),
          ),
          fc.constantFrom("", " "),
          fc.constantFrom(
            "w",
            "weeks",
            "d",
            "day",
            "h",
            "HOURS",
            "m",
            "min",
            "minute",
            "s",
            "sec",
            "mins",
            "months",
            "y",
            "ms",
          ),
          fc.constantFrom("", " ", ","),
        ),
        { maxLength: 3 },
      ),
      fc.constantFrom("ago", " ago", " Ago", " ago ago", ""),
    )
    .map(([parts, end]) => parts.flat().join("") + end);
  const point = fc.oneof(
    time.map(({ text }) => text),
    ago.map(({ text }) => text),
    fc.maxSafeNat().map(String),
    fc.tuple(two(99), two(99)).map(([a, b]) => `20${a}-${b}-01T00:00:00Z`),
  );

  test("mean the moment that they name, whatever their offset", () => {
    fc.assert(
      fc.property(fc.oneof(time, ago), ({ ms, text }) => {
        expect(parsePoint(text, NOW_MS)).toEqual({ kind: "time", ms });
      }),
      runs(800),
    );
  });

  test("with any fault are refused with advice, or mean what their text says", () => {
    const counts = { time: 0, refused: 0 };
    const campaign = runs(4000);
    fc.assert(
      fc.property(fc.oneof(damaged(point), damagedDigit(point), agoLike, text), (found) => {
        const outcome = decoded(() => parsePoint(found, NOW_MS));
        const said = readPoint(found.trim(), NOW_MS);
        if ("refusal" in outcome) {
          counts.refused++;
          expect(said, "it is a point").toBe(undefined);
          expectAdvice(outcome.refusal, found.trim());
          return;
        }
        if (outcome.value.kind === "time") counts.time++;
        expect(outcome.value).toEqual(said);
      }),
      campaign,
    );
    // Or neither side was hardly ever seen.
    expect(Math.min(counts.time, counts.refused) / campaign.numRuns).toBeGreaterThan(0.03);
  });

  /** It names what was given, says why that is none, and what would be. */
  function expectAdvice(refusal: ClusterError, given: string): void {
    expect(refusalOf({ refusal })).toBe("invalid/bad_point");
    const { message, details } = refusal;
    expect(message.length).toBeLessThan(1000);
    const quoted = JSON.stringify(given.length > 80 ? `${given.slice(0, 80)}…` : given);
    const [said, accepted = ""] = message.split("; give ");
    expect(said).toBe(`${quoted} is not a point in the history: ${details["reason"]}`);
    const reason = String(details["reason"]);
    expect(reason.length).toBeGreaterThan(10);
    const advised = /write (?:"(.*)"|(\S+T.*?|\S+ .*?Z)(?: for UTC.*)?)$/.exec(reason);
    if (reason.includes(": write ") || reason.includes("? write "))
      expect(
        decoded(() => parsePoint(advised?.[1] ?? advised?.[2] ?? "", NOW_MS)),
        reason,
      ).toHaveProperty("value");
    for (const way of ["an epoch", "a time with its zone", "how long ago", "now"]) expect(accepted).toContain(way);
  }

  test("that the advice gives as examples are points", () => {
    const outcome = decoded(() => parsePoint("yesterday", NOW_MS));
    const advice = "refusal" in outcome ? outcome.refusal.message.split("; give ")[1] : expect.fail("it was accepted");
    const examples = [...(advice ?? "").matchAll(/"([^"]+)"|\((\d+)\)/g)].map(
      ([, quoted, number]) => quoted ?? number ?? "",
    );
    expect(examples.length).toBeGreaterThanOrEqual(6);
    const kinds = examples.map((example) => parsePoint(example, NOW_MS).kind);
    expect([...new Set(kinds)].sort()).toEqual(["epoch", "newest", "time"]);
    expect(examples.map((example) => parsePoint(example, NOW_MS))).toEqual(
      examples.map((example) => readPoint(example, NOW_MS)),
    );
  });

  test("a time that is read is the moment that its text names; what names none is refused", () => {
    let readCount = 0;
    const campaign = runs(3000);
    const written = fc.constantFrom(
      "2026-02-28T23:59:59Z",
      "2024-02-29 00:00:00.5Z",
      "2026-11-20T12:00:00z",
      "1969-12-31T23:59:59.999+23:59",
    );
    fc.assert(
      fc.property(fc.oneof(damaged(written), damagedDigit(written)), (found) => {
        const ms = parseTime(found);
        expect(ms).toBe(readTime(found));
        if (ms !== undefined) readCount++;
      }),
      campaign,
    );
    expect(readCount / campaign.numRuns).toBeGreaterThan(0.15);
  });

  test("P10: of any length are answered at once", () => {
    const long = 200_000;
    for (const piece of ["1", "1w", "1 ", " ", "9s ", "2026-11-20T12:00:00.", "-", "\n1"])
      for (const end of ["", " ago", "Z", "x"]) decoded(() => parsePoint(`1${piece.repeat(long)}${end}`, NOW_MS));
  });
});
