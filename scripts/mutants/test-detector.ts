/** Asks a file of tests. */
import { randomUUID } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { TestDetector, Verdict } from "./mutant.ts";
import { runCommand } from "./run-command.ts";

const VITEST = "node_modules/vitest/vitest.mjs";
const CONFIG = "scripts/mutants/vitest.config.ts";
/** A failure of these kinds says that the mutant is no program, not that a test noticed it. */
const NO_PROGRAM = /^(?:ReferenceError|SyntaxError)\b|Transform failed/;

/** The part of vitest's JSON report that is read here. */
interface Report {
  readonly testResults: readonly {
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/**
 * Whether a test fails.
 *
 * @throws Error if no test could run, or none matched
 */
export async function askTests(directory: string, detector: TestDetector, timeLimitMs: number): Promise<Verdict> {
  const { test, name } = detector;
  const selection = name === undefined ? [] : ["-t", name];
  const report = await runTests(directory, [test, "--bail", "1", ...selection], timeLimitMs);
  if (report === "time is up") return { isCaught: true, by: `${test}: did not end`, seeds: undefined };
  const results = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  const failed = results.find(({ status }) => status === "failed");
  const why = failed?.failureMessages?.[0] ?? report.testResults.find(({ message }) => message)?.message ?? "";
  if (NO_PROGRAM.test(why)) throw new Error(`${test} cannot run: ${why}`);
  if (failed !== undefined) return { isCaught: true, by: `${test}: ${failed.fullName}`, seeds: undefined };
  if (why !== "") return { isCaught: true, by: `${test}: ${why.split("\n")[0]}`, seeds: undefined };
  if (!results.some(({ status }) => status === "passed"))
    throw new Error(`${test}${name === undefined ? "" : ` -t ${name}`}: no test ran`);
  return { isCaught: false };
}

/** Names of the tests that fail without any mutant. */
export async function failingTests(
  directory: string,
  files: readonly string[],
  timeLimitMs: number,
): Promise<readonly string[]> {
  const report = await runTests(directory, files, timeLimitMs);
  if (report === "time is up") return [`the tests did not end within ${timeLimitMs / 1000} s`];
  return report.testResults.flatMap(({ assertionResults, message }) => {
    const failed = assertionResults.filter(({ status }) => status === "failed").map(({ fullName }) => fullName);
    return failed.length === 0 && message ? [message] : failed;
  });
}

async function runTests(
  directory: string,
  args: readonly string[],
  timeLimitMs: number,
): Promise<Report | "time is up"> {
  const output = join(directory, `report-${randomUUID()}.json`);
  const flags = ["--config", CONFIG, "--reporter", "json", "--outputFile", output];
  try {
    const { exitCode, tail } = await runCommand(
      process.execPath,
      [VITEST, "run", ...args, ...flags],
      directory,
      timeLimitMs,
    );
    if (exitCode === undefined) return "time is up";
    const text = await readFile(output, "utf8").catch(() => undefined);
    if (text === undefined) throw new Error(`vitest ${args.join(" ")} gave no report:\n${tail}`);
    return JSON.parse(text) as Report;
  } finally {
    await rm(output, { force: true });
  }
}
