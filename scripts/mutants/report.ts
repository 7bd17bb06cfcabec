import Table from "cli-table3";
import type { Detector, Mutant, Outcome } from "./mutant.ts";

const PLAIN = { style: { head: [], border: [] } };

/** What became of each. */
export function outcomeTable(outcomes: readonly Outcome[]): string {
  const table = new Table({
    ...PLAIN,
    head: ["mutant", "promise", "caught by", "seeds", "s"],
    colWidths: [32, 9, 92, 7, 7],
    wordWrap: true,
  });
  for (const { mutant, verdict, elapsedMs } of outcomes) {
    const by = verdict.isCaught ? verdict.by : (verdict.problem ?? "SURVIVED");
    const seeds = verdict.isCaught ? (verdict.seeds ?? "") : "";
    table.push([mutant.id, mutant.promise, by, seeds, (elapsedMs / 1000).toFixed(1)]);
  }
  return table.toString();
}

/** What there is. */
export function mutantTable(mutants: readonly Mutant[]): string {
  const table = new Table({
    ...PLAIN,
    head: ["mutant", "promise", "what is broken", "asked"],
    colWidths: [32, 9, 70, 40],
    wordWrap: true,
  });
  for (const { id, promise, broken, caughtBy } of mutants)
    table.push([id, promise, broken, caughtBy.map(describeDetector).join("\n")]);
  return table.toString();
}

function describeDetector(detector: Detector): string {
  if ("test" in detector) return detector.test.replace(/^tests\//, "");
  return `simulator, ${detector.sim.seeds} seeds`;
}
