/**
 * Simulates lives of clusters, one for each seed, and judges them: `npm run sim -- --seeds N`.
 *
 * A life that breaks a promise is told with its seed, a plan of faults cut down to what it takes, and its story.
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { Command, InvalidArgumentError } from "commander";
import {
  Coverage,
  describePlan,
  type PlannedFault,
  PROFILES,
  profileOf,
  SIMULATION_INSTANCES,
  type SimulationResult,
  SqlitePool,
  shrinkPlan,
  simulate,
} from "../src/testing/simulator/mod.ts";
import { runFleet } from "./sim/fleet.ts";
import { coverageTable } from "./sim/tables.ts";

/** *Default* number of seeds. */
const SEEDS = 100;
const SHRINK_TRIES_MAX = 80;
const TRACE_LINES_MAX = 120;
const PROGRESS_EVERY_MS = 1000;

interface Options {
  readonly seeds: number;
  readonly seed: number;
  readonly minutes: number | undefined;
  readonly profile: string | undefined;
  readonly processes: number;
  readonly json: boolean;
  readonly trace: boolean;
}

const options = parseOptions();
const { exitCode } = options.trace ? await tell(options) : await campaign(options);
process.exitCode = exitCode;

function parseOptions(): Options {
  const whole = (text: string): number => {
    const number = Number(text);
    if (!Number.isSafeInteger(number) || number < 0) throw new InvalidArgumentError("a whole number is needed");
    return number;
  };
  const positive = (text: string): number => {
    const number = Number(text);
    if (!(number > 0)) throw new InvalidArgumentError("a number above 0 is needed");
    return number;
  };
  const profileName = (text: string): string => {
    const names = PROFILES.map(({ name }) => name);
    if (names.includes(text)) return text;
    throw new InvalidArgumentError(`one of ${names.join(", ")}`);
  };
  const options = new Command("sim")
    .description("Simulates lives of clusters and judges them. Ends with 1 if one breaks a promise.")
    .option("--seeds <n>", `how many, ${SEEDS} unless --minutes are given`, whole)
    .option("--seed <s>", "the first one", whole, 1)
    .option("--minutes <m>", "end after so long, whatever is left", positive)
    .option(
      "--profile <name>",
      `only ${PROFILES.map(({ name }) => name).join(", ")}; otherwise that of the seed`,
      profileName,
    )
    .option("--processes <n>", "at a time", whole, availableParallelism())
    .option("--json", "only a last line for programs", false)
    .option("--trace", "tell the story of the one seed", false)
    .parse()
    .opts<Omit<Options, "seeds"> & { readonly seeds?: number }>();
  return { ...options, seeds: options.seeds ?? (options.minutes === undefined ? SEEDS : Number.POSITIVE_INFINITY) };
}

async function campaign({
  seeds,
  seed: first,
  minutes,
  profile,
  processes,
  json,
}: Options): Promise<{ exitCode: number }> {
  const beganMs = performance.now();
  const untilMs = minutes === undefined ? Number.POSITIVE_INFINITY : beganMs + minutes * 60_000;
  const coverage = new Coverage();
  const sums = { seeds: 0, simulatedMs: 0, events: 0, epochs: 0, operations: 0, acknowledged: 0, undecided: 0 };
  let failed: SimulationResult | undefined;
  let death: { readonly seed: number; readonly reason: string } | undefined;
  let next = first;
  let toldMs = beganMs;
  // A campaign may take hours: what it has done so far is told.
  let isStopped = false;
  process.once("SIGINT", () => {
    isStopped = true;
  });
  const line = () => {
    const wallMinutes = (performance.now() - beganMs) / 60_000;
    const perMinute = (count: number) => Math.round(count / wallMinutes).toLocaleString("en");
    const wanted = Number.isFinite(seeds) ? ` of ${seeds}` : "";
    return `${sums.seeds}${wanted} seeds, ${perMinute(sums.seeds)} a minute; ${perMinute(sums.simulatedMs / 60_000)} cluster-minutes a minute`;
  };
  await runFleet({
    processes,
    next: () => {
      const isFailed = failed !== undefined || death !== undefined;
      if (isFailed || isStopped || next >= first + seeds || performance.now() > untilMs) return undefined;
      return { seed: next++, profile };
    },
    onAnswer: ({ result }) => {
      sums.seeds++;
      for (const name of ["simulatedMs", "events", "epochs", "operations", "acknowledged"] as const)
        sums[name] += result[name];
      if (result.isUndecided) sums.undecided++;
      coverage.add(result.coverage);
      if (result.violations.length > 0) failed ??= result;
      if (!json && process.stderr.isTTY && performance.now() - toldMs > PROGRESS_EVERY_MS) {
        toldMs = performance.now();
        process.stderr.write(`\r${line()}   `);
      }
      return failed === undefined;
    },
    onDeath: ({ seed }, reason) => {
      death ??= { seed, reason };
    },
  });
  if (json) {
    const seed = failed?.seed ?? death?.seed;
    const rule = failed?.violations[0]?.rule ?? (death === undefined ? undefined : "the process died");
    console.log(JSON.stringify({ failed: seed !== undefined, seedsRun: sums.seeds, seed, rule }));
    return { exitCode: seed === undefined ? 0 : 1 };
  }
  if (process.stderr.isTTY) process.stderr.write("\r");
  console.log(coverageTable(coverage));
  console.log(`${line()}; ${sums.events.toLocaleString("en")} events`);
  console.log(
    `${sums.epochs.toLocaleString("en")} epochs, ${sums.operations.toLocaleString("en")} operations, ${sums.acknowledged.toLocaleString("en")} writes acknowledged`,
  );
  if (sums.undecided > 0) console.log(`${sums.undecided} with registers too entangled to decide`);
  if (death !== undefined) console.log(`\nSEED ${death.seed} ended its process:\n${death.reason}`);
  if (failed !== undefined) await explain(failed);
  return { exitCode: failed === undefined && death === undefined ? 0 : 1 };
}

/** The seed, the plan cut down, and the story. */
async function explain({ seed, profile: name, violations, plan }: SimulationResult): Promise<void> {
  const [violation] = violations;
  console.log(`\nSEED ${seed} (${name}) breaks ${violation?.promise}: ${violation?.rule}\n${violation?.text}\n`);
  const pool = new SqlitePool();
  await pool.fill(SIMULATION_INSTANCES);
  const profile = PROFILES.find((one) => one.name === name) ?? profileOf(seed);
  const run = (smaller: readonly PlannedFault[], onTrace?: (line: string) => void) =>
    simulate({ seed, profile, pool, plan: smaller, onTrace });
  const fails = async (smaller: readonly PlannedFault[]) =>
    (await run(smaller)).violations.some(({ rule }) => rule === violation?.rule);
  const small = await shrinkPlan(plan, fails, SHRINK_TRIES_MAX);
  console.log(`${small.length} of its ${plan.length} faults are enough:\n${describePlan(small)}\n`);
  const lines: string[] = [];
  await run(small, (line) => lines.push(line));
  if (lines.length > TRACE_LINES_MAX) console.log(`… ${lines.length - TRACE_LINES_MAX} lines before`);
  console.log(lines.slice(-TRACE_LINES_MAX).join("\n"));
  console.log(`\nAgain: npm run sim -- --seed ${seed} --profile ${name} --trace`);
}

/** One life, line by line. */
async function tell({ seed, profile: name }: Options): Promise<{ exitCode: number }> {
  const pool = new SqlitePool();
  await pool.fill(SIMULATION_INSTANCES);
  const profile = PROFILES.find((one) => one.name === name) ?? profileOf(seed);
  const result = await simulate({ seed, profile, pool, onTrace: (line) => console.log(line) });
  console.log(
    `\n${describePlan(result.plan)}\n\ntrace ${result.traceHash}, ${result.events} events, ${result.epochs} epochs`,
  );
  return { exitCode: result.violations.length === 0 ? 0 : 1 };
}
