/** The catalogue of `npm run mutants`: a text that fits no more would break nothing, and nobody would notice. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { ALL_MUTANTS } from "../../scripts/mutants/catalogue/all.ts";
import { problemsOf } from "../../scripts/mutants/workspace.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("every mutant fits the sources exactly once, has a name of its own and somebody who notices", async () => {
  expect(await problemsOf(ROOT, ALL_MUTANTS)).toEqual([]);
  expect(ALL_MUTANTS.length).toBeGreaterThan(190);
});

test("every test that should notice is there", () => {
  const tests = ALL_MUTANTS.flatMap(({ caughtBy }) => caughtBy.flatMap((by) => ("test" in by ? [by.test] : [])));
  expect([...new Set(tests)].filter((file) => !existsSync(`${ROOT}/${file}`))).toEqual([]);
});
