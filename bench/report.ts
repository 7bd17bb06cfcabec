/** Figures, their goals, and how they are shown. */
import Table from "cli-table3";

/** One measured number. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly goal: string;
  /** `undefined` where there is no goal. */
  readonly isMet: boolean | undefined;
  readonly detail: string;
}

/** A figure with its goal. */
export function figure(
  name: string,
  value: number,
  options: {
    readonly atLeast?: number | undefined;
    readonly atMost?: number | undefined;
    readonly detail?: string;
  } = {},
): Figure {
  const { atLeast, atMost, detail = "" } = options;
  if (atLeast !== undefined) return { name, value, goal: `≥ ${atLeast}`, isMet: value >= atLeast, detail };
  if (atMost !== undefined) return { name, value, goal: `≤ ${atMost}`, isMet: value <= atMost, detail };
  return { name, value, goal: "", isMet: undefined, detail };
}

/** The figures as a table for people. */
export function table(figures: readonly Figure[]): string {
  const rows = new Table({
    head: ["figure", "value", "goal", "", "detail"],
    style: { head: [], border: [], compact: true },
  });
  for (const { name, value, goal, isMet, detail } of figures) {
    rows.push([
      name,
      value >= 100 ? String(Math.round(value)) : value.toFixed(2),
      goal,
      isMet === undefined ? "" : isMet ? "met" : "MISSED",
      detail,
    ]);
  }
  return rows.toString();
}
