/** Asks the simulator: the only place that knows its command line and its answer. */
import type { SimulatorDetector, Verdict } from "./mutant.ts";
import { runCommand } from "./run-command.ts";

const FIRST_SEED = 1;
const TIME_SHARE = 0.7;

/** The last line of `npm run sim -- --json`. */
interface SimulatorAnswer {
  readonly failed: boolean;
  readonly seedsRun: number;
  /** The seed that failed … */
  readonly seed?: number;
  /** … and the rule that it broke. */
  readonly rule?: string;
}

/** @throws Error if it gives no answer */
export async function askSimulator(
  directory: string,
  { sim }: SimulatorDetector,
  timeLimitMs: number,
): Promise<Verdict> {
  const profile = sim.profile === undefined ? [] : ["--profile", sim.profile];
  const args = ["run", "--silent", "sim", "--", "--seeds", `${sim.seeds}`, "--seed", `${FIRST_SEED}`, "--json"];
  // It ends by itself a little before.
  const minutes = ["--minutes", String((timeLimitMs * TIME_SHARE) / 60_000)];
  const { exitCode, stdout, tail } = await runCommand("npm", [...args, ...profile, ...minutes], directory, timeLimitMs);
  // It may be the mutant, or a slow machine.
  if (exitCode === undefined) return { isCaught: false, problem: "the simulator did not end in time" };
  const answer = parseAnswer(stdout);
  if (answer === undefined) throw new Error(`the simulator gave no answer:\n${tail}`);
  if (!answer.failed) return { isCaught: false };
  const seed = answer.seed === undefined ? "" : `, seed ${answer.seed}`;
  return { isCaught: true, by: `simulator: ${answer.rule ?? "failed"}${seed}`, seeds: answer.seedsRun };
}

function parseAnswer(stdout: string): SimulatorAnswer | undefined {
  try {
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as SimulatorAnswer;
  } catch {
    return undefined;
  }
}
