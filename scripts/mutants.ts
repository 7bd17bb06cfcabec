/**
 * Takes one safety measure at a time out of the real code and shows that somebody notices. Which measures, and who
 * should notice, is in `mutants/catalogue/`.
 *
 * ```
 * npm run mutants                      all of them, by tests and simulator
 * npm run mutants -- --tests-only      by tests alone
 * npm run mutants -- --sim SEEDS       by the simulator alone: what it finds, and after how many seeds
 * npm run mutants -- --sim SEEDS --profile NAME    the same, of one kind of lives
 * npm run mutants -- --only ID [ID…]   some
 * npm run mutants -- --list            what there is
 * ```
 *
 * The sources are not touched: each mutant lives in a copy. It ends with 1 if one survives, which is a missing test, and
 * with 2 if a mutant no longer fits the sources, a test fails without any, or nobody can tell.
 */
import { readdir } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Command, InvalidArgumentError } from "commander";
import { ALL_MUTANTS } from "./mutants/catalogue/all.ts";
import { hunt, isTestDetector } from "./mutants/hunt.ts";
import type { Mutant, Outcome } from "./mutants/mutant.ts";
import { mutantTable, outcomeTable } from "./mutants/report.ts";
import { failingTests } from "./mutants/test-detector.ts";
import { problemsOf, Workspace } from "./mutants/workspace.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PARALLEL_MAX = 8;
const BASELINE_LIMIT_MS = 10 * 60_000;

interface Options {
  readonly only?: readonly string[];
  readonly list?: boolean;
  readonly testsOnly?: boolean;
  /** The simulator alone, so many seeds. */
  readonly sim?: number;
  /** Of these lives, instead of those of the seeds. */
  readonly profile?: string;
  readonly parallel: number;
  readonly baseline: boolean;
}

function parseParallel(text: string): number {
  const parallel = Number(text);
  if (Number.isInteger(parallel) && parallel >= 1 && parallel <= PARALLEL_MAX) return parallel;
  throw new InvalidArgumentError(`a whole number from 1 to ${PARALLEL_MAX}`);
}

function parseSeeds(text: string): number {
  const seeds = Number(text);
  if (Number.isInteger(seeds) && seeds >= 1) return seeds;
  throw new InvalidArgumentError("a whole number above 0");
}

function chosen(only: readonly string[] | undefined): readonly Mutant[] {
  if (only === undefined) return ALL_MUTANTS;
  const unknown = only.filter((id) => !ALL_MUTANTS.some((mutant) => mutant.id === id));
  if (unknown.length > 0) throw new Error(`there is no mutant ${unknown.join(", ")}: see --list`);
  return ALL_MUTANTS.filter(({ id }) => only.includes(id));
}

/** The mutants with those detectors alone that are to be asked. */
function withDetectors(mutants: readonly Mutant[], { testsOnly, sim, profile }: Options): readonly Mutant[] {
  if (sim !== undefined) return mutants.map((mutant) => ({ ...mutant, caughtBy: [{ sim: { seeds: sim, profile } }] }));
  if (testsOnly !== true) return mutants;
  return mutants.map((mutant) => ({ ...mutant, caughtBy: mutant.caughtBy.filter(isTestDetector) }));
}

/** A test that fails anyway would seem to notice everything. */
async function checkBaseline(mutants: readonly Mutant[], { directory }: Workspace): Promise<void> {
  const detectors = mutants.flatMap((mutant) => mutant.caughtBy.filter(isTestDetector));
  const files = [...new Set(detectors.map(({ test }) => test))];
  // Without a name it would be all of them.
  if (files.length === 0) return;
  const failing = await failingTests(directory, files, BASELINE_LIMIT_MS);
  if (failing.length > 0) throw new Error(`these tests fail without any mutant:\n${failing.join("\n")}`);
}

function tell({ mutant, verdict, elapsedMs }: Outcome): void {
  const what = verdict.isCaught ? "ok      " : verdict.problem === undefined ? "SURVIVED" : "UNKNOWN ";
  console.log(`${what} ${mutant.id}, ${(elapsedMs / 1000).toFixed(1)} s`);
}

/** Says what is missing. Gives the exit code. */
function sumUp(outcomes: readonly Outcome[]): number {
  const idsOf = (belongs: (outcome: Outcome) => boolean) => outcomes.filter(belongs).map(({ mutant }) => mutant.id);
  const caught = idsOf(({ verdict }) => verdict.isCaught);
  const unknown = idsOf(({ verdict }) => !verdict.isCaught && verdict.problem !== undefined);
  const survivors = idsOf(({ verdict }) => !verdict.isCaught && verdict.problem === undefined);
  console.log(outcomeTable(outcomes));
  console.log(`${caught.length} of ${outcomes.length} mutants were caught`);
  if (survivors.length > 0) console.log(`SURVIVED, so a test is missing: ${survivors.join(", ")}`);
  if (unknown.length > 0) console.log(`UNKNOWN, see above: ${unknown.join(", ")}`);
  if (unknown.length > 0) return 2;
  return survivors.length > 0 ? 1 : 0;
}

async function run(options: Options): Promise<number> {
  const mutants = withDetectors(chosen(options.only), options);
  if (options.list) {
    console.log(mutantTable(mutants));
    return 0;
  }
  const problems = await problemsOf(ROOT, mutants);
  if (problems.length > 0) throw new Error(problems.join("\n"));
  const hunted = mutants.filter(({ caughtBy }) => caughtBy.length > 0);
  const rootFiles = await readdir(ROOT);
  const workspaces: Workspace[] = [];
  try {
    for (let count = 0; count < Math.min(options.parallel, hunted.length); count++)
      workspaces.push(await Workspace.create(ROOT, rootFiles));
    if (options.baseline && workspaces[0] !== undefined) await checkBaseline(hunted, workspaces[0]);
    const outcomes = await hunt(hunted, { workspaces, onOutcome: tell });
    const exitCode = sumUp(hunted.flatMap(({ id }) => outcomes.filter(({ mutant }) => mutant.id === id)));
    // What the simulator does not find others do.
    return options.sim === undefined ? exitCode : Math.min(exitCode, 0);
  } finally {
    for (const workspace of workspaces) await workspace.remove();
  }
}

const program = new Command("mutants")
  .description("shows that every safety measure is missed when it is taken away")
  .option("--only <ids...>", "these mutants")
  .option("--list", "what there is")
  .option("--tests-only", "without the simulator")
  .option("--sim <seeds>", "by the simulator alone, up to so many seeds: what it finds, and after how many", parseSeeds)
  .option("--profile <name>", "with --sim: of such lives only")
  .option("--parallel <count>", "so many at a time", parseParallel, 1)
  .option("--no-baseline", "take for granted that the tests pass without a mutant");
const options = program.parse().opts<Options>();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
try {
  process.exitCode = await run(options);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
