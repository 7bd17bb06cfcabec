/** What people, other machines and buckets write in words: points in time, paths, addresses, keys, SQL for the shell. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitSql } from "../../src/cli/sql/split.ts";
import type { ClusterError } from "../../src/errors.ts";
import { epochText, packKey, parseEpochText, parseKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { parsePoint, parseTime } from "../../src/history/parse-point.ts";
import { formatAddress, parseAddress } from "../../src/net/address.ts";
import { canonicalPath, pathOfUrl } from "../../src/net/path.ts";
import { decoded, mutatedText, mutations, refusalOf, runs } from "../support/fuzz-mutations.ts";
import { readPoint, readTime } from "./fixtures/read-point.ts";

const NOW_MS = Date.parse("2026-11-20T12:00:00Z");
const text = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: "binary", maxLength: 60 }));

/** A valid text with faults. */
function damaged(valid: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(valid, valid, mutations).map(([one, other, faults]) => mutatedText(one, faults, other));
}

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

/** A predicate: `read` makes something of the text. */
function isRead(read: (text: string) => unknown): (text: string) => void {
  return (found) => {
    expect(read(found)).toBeDefined();
  };
}

describe("keys of a bucket", () => {
  const epoch = fc.oneof(fc.nat(20_000), fc.maxSafeNat());
  const key = fc.oneof(
    epoch.map(walKey),
    epoch.map(snapshotKey),
    fc
      .tuple(fc.nat(2 ** 40), fc.integer({ min: 1, max: 20_000 }))
      .map(([from, length]) => packKey(from, from + length)),
  );

  test("mean one object each: what is read of a key makes that very key", () => {
    fc.assert(
      fc.property(fc.oneof(key, damaged(key), text), (found) => {
        const outcome = decoded(() => parseKey(found));
        const parsed = "value" in outcome ? outcome.value : expect.fail("it was refused with an error");
        if (parsed === undefined) return;
        const { kind, epoch, fromEpoch } = parsed;
        const again =
          kind === "wal" ? walKey(epoch) : kind === "snapshot" ? snapshotKey(epoch) : packKey(fromEpoch ?? -1, epoch);
        expect(again).toBe(found);
      }),
      runs(3000),
    );
    fc.assert(fc.property(key, isRead(parseKey)), runs(300));
  });

  test("a marker's text is an epoch's, or nothing", () => {
    fc.assert(
      fc.property(fc.oneof(epoch.map(epochText), damaged(epoch.map(epochText)), text), (found) => {
        const epoch = parseEpochText(found);
        if (epoch !== undefined) expect(epochText(epoch)).toBe(found);
      }),
      runs(1500),
    );
  });
});

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
      fc.property(fc.oneof(damaged(point), damagedDigit(point), text), (found) => {
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
    expect(String(details["reason"]).length).toBeGreaterThan(10);
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

describe("paths", () => {
  const segment = fc.constantFrom(
    "a",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "",
    "a b",
    "é",
    "\\",
    "%",
    "%zz",
    "@",
    ":",
    "#",
    "?",
    "'",
    "𝄞",
    "\t",
    "//",
    "[",
    "|",
  );
  const path = fc.array(segment, { maxLength: 8 }).map((segments) => `/${segments.join("/")}`);

  test("mean the same to client, signer and server: what is canonical stays as it is, and is what a URL makes of it", () => {
    fc.assert(
      fc.property(fc.oneof(path, damaged(path), text), (found) => {
        const outcome = decoded(() => canonicalPath(found));
        if ("refusal" in outcome) {
          expect(refusalOf(outcome)).toBe("invalid/bad_path");
          return;
        }
        const { value } = outcome;
        expect(value.startsWith("/")).toBe(true);
        expect(canonicalPath(value)).toBe(value);
        expect(new URL(`http://localhost${found}`).href).toBe(`http://localhost${value}`);
        expect(pathOfUrl(`https://other.example:1234${value}`)).toBe(value);
        expect(/^[\x21-\x7e]*$/.test(value)).toBe(true);
      }),
      runs(5000),
    );
  });

  test("P10: of any length are answered at once", () => {
    for (const piece of ["/", "a", "/a", "/.", "?", "%", "/..", "&="])
      decoded(() => canonicalPath(`/${piece.repeat(100_000)} `));
  });
});

describe("addresses", () => {
  const address = fc.oneof(
    fc.tuple(fc.domain(), fc.nat(65_535)).map(([host, port]) => `${host}:${port}`),
    fc.tuple(fc.ipV4(), fc.nat(65_535)).map(([host, port]) => `${host}:${port}`),
    fc.tuple(fc.ipV6(), fc.nat(65_535)).map(([host, port]) => `[${host}]:${port}`),
    fc.nat(65_535).map((port) => `:${port}`),
  );

  test("are refused, or name a host and a port that name the same again", () => {
    fc.assert(
      fc.property(fc.oneof(address, damaged(address), text), (found) => {
        const outcome = decoded(() => parseAddress(found));
        if ("refusal" in outcome) {
          expect(refusalOf(outcome)).toBe("invalid/bad_address");
          return;
        }
        const { value } = outcome;
        expect(parseAddress(formatAddress(value))).toEqual(value);
        expect(Number.isInteger(value.port) && value.port >= 0 && value.port <= 65_535).toBe(true);
        expect(value.host).not.toMatch(/[\s/[\]@]/);
        if (!/^:?\d+$/.test(found)) expect(found.replaceAll(/[[\]]/g, "")).toMatch(new RegExp(`:0*${value.port}$`));
      }),
      runs(4000),
    );
    fc.assert(fc.property(address, isRead(parseAddress)), runs(300));
  });
});

describe("SQL for the shell", () => {
  const piece = fc.constantFrom("SELECT 1", ";", "'", "''", '"', "`", "[", "]", "--", "\n", "/*", "*/", " ", "a", "é");
  const script = fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join(""));

  test("loses nothing but white space, comments and semicolons when it is cut into statements", () => {
    fc.assert(
      fc.property(fc.oneof(script, damaged(script)), (sql) => {
        const { statements, rest } = splitSql(sql);
        let at = 0;
        for (const statement of statements) {
          const found = sql.indexOf(statement, at);
          expect(found).toBeGreaterThanOrEqual(at);
          at = found + statement.length;
          expect(statement).not.toBe("");
          expect(sql.slice(at)).toMatch(/^\s*;/);
        }
        if (rest !== "") expect(sql.trimEnd().endsWith(rest)).toBe(true);
        // Cut once, a statement is whole: it has no end within. The line's end may be that of its last comment.
        for (const statement of statements) expect(splitSql(`${statement}\n;`).statements).toEqual([statement]);
      }),
      runs(2500),
    );
  });

  test("ends at the semicolons that stand in no text, name or comment, and nowhere else", () => {
    const token = fc.constantFrom("SELECT 1", "';'", '";--"', "`;`", "[;]", "/* ; ' */", "-- ; /*\n", " ");
    fc.assert(
      fc.property(fc.array(fc.array(token, { maxLength: 5 }), { maxLength: 5 }), (groups) => {
        const texts = groups.map((tokens) => tokens.join(""));
        const isStatement = groups.map((tokens) =>
          tokens.some((token) => token !== " " && !/^(?:--|\/\*)/.test(token)),
        );
        const { statements, rest } = splitSql(`${texts.join(";")};`);
        expect(statements).toEqual(texts.filter((_, index) => isStatement[index]).map((text) => text.trim()));
        expect(rest).toBe("");
      }),
      runs(1000),
    );
  });

  test("is cut the same whether it comes at once or line by line", () => {
    fc.assert(
      fc.property(script, script, (first, second) => {
        const whole = splitSql(`${first}\n${second}`);
        const begun = splitSql(`${first}\n`);
        const rest = splitSql(begun.rest === "" ? second : `${begun.rest}\n${second}`);
        expect([...begun.statements, ...rest.statements].map(squeezed)).toEqual(whole.statements.map(squeezed));
      }),
      runs(2500),
    );
  });
});

/** Comments between statements go with one of them, or with none. */
function squeezed(sql: string): string {
  return sql.replace(/^(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)+/, "").replace(/\s+/g, " ");
}
