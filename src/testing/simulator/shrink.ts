/** Cuts a plan of faults down to those that are needed for a violation. */
import type { PlannedFault } from "./fault-plan.ts";

/**
 * A plan that still fails, from which no single fault can be taken away, as far as `triesMax` tries tell: delta debugging
 * (A. Zeller, R. Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
 *
 * @param fails whether a plan leads to the same violation
 */
export async function shrinkPlan(
  plan: readonly PlannedFault[],
  fails: (plan: readonly PlannedFault[]) => Promise<boolean>,
  triesMax: number,
): Promise<readonly PlannedFault[]> {
  let current = plan;
  let tries = 0;
  for (let size = Math.ceil(current.length / 2); size >= 1; ) {
    let isSmaller = false;
    for (let start = 0; start < current.length && tries < triesMax; ) {
      const without = [...current.slice(0, start), ...current.slice(start + size)];
      tries++;
      if (await fails(without)) {
        current = without;
        isSmaller = true;
      } else {
        start += size;
      }
    }
    if (tries >= triesMax) break;
    if (size === 1 && !isSmaller) break;
    size = isSmaller && size === 1 ? 1 : Math.floor(size / 2) || (isSmaller ? 1 : 0);
  }
  return current;
}
