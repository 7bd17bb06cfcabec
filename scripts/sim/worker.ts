/** A process that simulates the seeds it is told, one after the other. */
import process from "node:process";
import {
  PROFILES,
  profileOf,
  SIMULATION_INSTANCES,
  type SimulationResult,
  SqlitePool,
  simulate,
} from "../../src/testing/simulator/mod.ts";

/** What it is told. */
export interface Assignment {
  readonly seed: number;
  /** Name of a profile; `undefined`: that of the seed. */
  readonly profile: string | undefined;
}

/** What it answers. */
export interface Answer {
  readonly result: SimulationResult;
  readonly elapsedMs: number;
}

const pool = new SqlitePool();
await pool.fill(SIMULATION_INSTANCES);

process.on("message", async ({ seed, profile: name }: Assignment) => {
  const profile = PROFILES.find((one) => one.name === name) ?? profileOf(seed);
  const beganMs = performance.now();
  const result = await simulate({ seed, profile, pool });
  const answer: Answer = { result, elapsedMs: performance.now() - beganMs };
  process.send?.(answer);
});
process.on("disconnect", () => process.exit());
// The terminal sends it to everybody: the campaign decides what to do.
process.on("SIGINT", () => {});
process.send?.("ready");
