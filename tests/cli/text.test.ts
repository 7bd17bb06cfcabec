import { describe, expect, it } from "vitest";
import { splitSql } from "../../src/cli/sql/split.ts";
import { bytesText, durationText, parseDuration, printable } from "../../src/cli/text.ts";

describe("SQL is cut where a statement ends", () => {
  it.each([
    ["select 1; select 2;", ["select 1", "select 2"], ""],
    ["select 1", [], "select 1"],
    ["select ';'; select \";\", `;`, [;]", ["select ';'"], 'select ";", `;`, [;]'],
    ["select 'it''s;'; x", ["select 'it''s;'"], "x"],
    ["-- a; b\nselect 1;", ["-- a; b\nselect 1"], ""],
    ["/* a; b */ select 1; /* c */ -- d\n", ["/* a; b */ select 1"], ""],
    [";; ;", [], ""],
    ["select 'open;", [], "select 'open;"],
    ["select 1; /* open;", ["select 1"], "/* open;"],
    ["select 4-- minus\n-2;", ["select 4-- minus\n-2"], ""],
    ["", [], ""],
  ])("%j", (text, statements, rest) => {
    expect(splitSql(text)).toEqual({ statements, rest });
  });
});

describe("numbers are readable", () => {
  it("bytes", () => {
    expect([0, 1023, 1024, 1536, 5 * 1024 ** 3].map(bytesText)).toEqual([
      "0 B",
      "1023 B",
      "1.0 KiB",
      "1.5 KiB",
      "5.0 GiB",
    ]);
  });

  it("durations, both ways", () => {
    expect([5, 1500, 90_000, 5_400_000, 86_400_000 * 7].map(durationText)).toEqual([
      "5 ms",
      "1.5 s",
      "1.5 min",
      "1.5 h",
      "7 d",
    ]);
    expect(["500ms", "30s", "5m", "1.5h", "7d"].map(parseDuration)).toEqual([
      500, 30_000, 300_000, 5_400_000, 604_800_000,
    ]);
    for (const text of ["", "5", "5 parsecs", "-1s", "1h30m"]) expect(parseDuration(text)).toBeUndefined();
  });
});

it("what a terminal would obey is shown instead", () => {
  expect(printable("a\u001b[31mb\n\u009bc\u0007")).toBe("a\\x1b[31mb\\n\\x9bc\\x07");
  expect(printable("a\n\tb\r", true)).toBe("a\n\tb\\x0d");
});
