/** What people, other machines and buckets write in words: paths, addresses, keys, SQL for the shell. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { splitSql } from "../../src/cli/sql/split.ts";
import { epochText, packKey, parseEpochText, parseKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { formatAddress, parseAddress } from "../../src/net/address.ts";
import { canonicalPath, pathOfUrl } from "../../src/net/path.ts";
import { damaged, decoded, refusalOf, runs } from "../support/fuzz-mutations.ts";

const text = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: "binary", maxLength: 60 }));

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
