import process from "node:process";
import type { TestProject } from "vitest/node";
import { startRgw } from "./store/rgw.ts";

/** vitest's global setup: one Ceph RGW for the whole run. With `LBC_REQUIRE_RGW=1` (in CI) it must start. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { state, stop } = await startRgw();
  if ("missing" in state) {
    if (process.env.LBC_REQUIRE_RGW === "1") throw new Error(`Ceph RGW is required: ${state.missing}`);
    console.warn(`Tests against Ceph RGW are skipped: ${state.missing}`);
  }
  project.provide("rgw", state);
  return stop;
}
