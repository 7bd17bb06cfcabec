/** Asks the detectors of each mutant until one notices. */

import type { Detector, Mutant, Outcome, SimulatorDetector, TestDetector, Verdict } from "./mutant.ts";
import { askSimulator } from "./simulator-detector.ts";
import { askTests } from "./test-detector.ts";
import type { Workspace } from "./workspace.ts";

/** Of one detector. */
const TIME_LIMIT_MS = 120_000;

export interface HuntOptions {
  /** One for each that is hunted at the same time. */
  readonly workspaces: readonly Workspace[];
  onOutcome(outcome: Outcome): void;
}

export async function hunt(mutants: readonly Mutant[], options: HuntOptions): Promise<readonly Outcome[]> {
  const waiting = [...mutants];
  const outcomes: Outcome[] = [];
  const work = async (workspace: Workspace): Promise<void> => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const outcome = await huntOne(mutant, workspace);
      outcomes.push(outcome);
      options.onOutcome(outcome);
    }
  };
  await Promise.all(options.workspaces.map(work));
  return outcomes;
}

async function huntOne(mutant: Mutant, workspace: Workspace): Promise<Outcome> {
  const beganMs = performance.now();
  const verdict = await workspace
    .with(mutant, () => askAll(workspace.directory, mutant.caughtBy))
    .catch((error: unknown): Verdict => {
      return { isCaught: false, problem: error instanceof Error ? error.message : String(error) };
    });
  return { mutant, verdict, elapsedMs: performance.now() - beganMs };
}

/** @throws Error if the mutant is no program, or a detector cannot tell */
async function askAll(directory: string, detectors: readonly Detector[]): Promise<Verdict> {
  let last: Verdict = { isCaught: false };
  for (const detector of detectors) {
    const verdict = await ask(directory, detector);
    if (verdict.isCaught) return verdict;
    if (verdict.problem !== undefined) last = verdict;
  }
  return last;
}

async function ask(directory: string, detector: Detector): Promise<Verdict> {
  if (isTestDetector(detector)) return await askTests(directory, detector, TIME_LIMIT_MS);
  return await askSimulator(directory, detector as SimulatorDetector, TIME_LIMIT_MS);
}

export function isTestDetector(detector: Detector): detector is TestDetector {
  return "test" in detector;
}
