import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readFetch } from "../../src/net/fetch-request.ts";
import { headerRecord } from "../../src/net/header-record.ts";
import { canonicalPath } from "../../src/net/path.ts";
import { TurnGate } from "../../src/net/turn-gate.ts";
import { clusterErrorOf } from "../support/errors.ts";

const ORIGIN = "http://localhost";
/** Paths of the characters and sequences that matter to URL parsing. */
const pathPiece = fc.oneof(
  fc.constantFrom("/", ".", "..", "%2e", "%", "?", "#", "\\", "'", '"', " ", "\t", "ä", "^", "|"),
  fc.string(),
);

describe("what is read without the standard's classes means what they say", () => {
  it("a path", () => {
    fc.assert(
      fc.property(fc.array(pathPiece, { maxLength: 8 }), (pieces) => {
        const path = `/${pieces.join("")}`;
        if (!URL.canParse(ORIGIN + path)) return;
        const expected = new URL(ORIGIN + path).href.slice(ORIGIN.length);
        expect(canonicalPath(path)).toBe(expected);
        expect(canonicalPath(expected)).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it("the path of a URL", async () => {
    await fc.assert(
      fc.asyncProperty(fc.webUrl({ withQueryParameters: true, withFragments: true }), async (text) => {
        const { pathname, search } = new URL(text);
        const expected = canonicalPath(pathname + search);
        for (const input of [text, new URL(text), new Request(text)]) {
          // An empty query may stay.
          expect([expected, `${expected}?`]).toContain((await readFetch(input, {}, 0)).path);
        }
      }),
    );
  });

  it("headers", () => {
    const name = fc.constantFrom(
      "a",
      "A",
      "content-type",
      "Content-Type",
      "x_y",
      "x-z",
      "__proto__",
      "cookie",
      "bad name",
      "",
    );
    const value = fc.oneof(fc.string(), fc.constantFrom("", " spaced ", "two words", "ä", "a\nb", "\u0100"));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 4 }), (pairs) => {
        const record = Object.fromEntries(pairs);
        let expected: [string, string][] | undefined;
        try {
          expected = [...new Headers(record)];
        } catch {
          // Not headers.
        }
        if (expected === undefined) expect(clusterErrorOf(() => headerRecord(record)).code).toBe("bad_header");
        else expect(Object.entries(headerRecord(record)).sort()).toEqual(expected.sort());
      }),
      { numRuns: 1000 },
    );
  });
});

describe("the turn gate", () => {
  it("lets everyone in, in order, and no more than so many in a turn", async () => {
    const gate = new TurnGate(3);
    const entered: number[] = [];
    const all = Array.from({ length: 10 }, async (_, id) => {
      await gate.enter();
      entered.push(id);
    });
    await Promise.resolve();
    expect(entered, "in the first turn").toEqual([0, 1, 2]);
    for (let before = 3; entered.length < 10; before = entered.length) {
      await new Promise((resolve) => setImmediate(resolve));
      expect(entered.length - before).toBeLessThanOrEqual(3);
    }
    await Promise.all(all);
    expect(entered).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});
