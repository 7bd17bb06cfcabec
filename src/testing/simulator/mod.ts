/** Whole clusters in one process, in virtual time, the same again for the same seed. */
export type { BucketEvents, SimulatedBucket } from "./bucket.ts";
export { SimulatedCluster, type SimulatedClusterOptions } from "./cluster.ts";
export { Coverage, RECOVERIES } from "./coverage.ts";
export {
  describeFault,
  describePlan,
  FAULT_KINDS,
  type Fault,
  type FaultKind,
  type PlannedFault,
} from "./fault-plan.ts";
export type { MemberOptions, MemberRun, SimulatedMember } from "./member.ts";
export type { SimulatedNetwork } from "./network.ts";
export type { SimulatedProcess } from "./process.ts";
export { PROFILES, type Profile, profileOf } from "./profile.ts";
export { SeededRandom } from "./seeded-random.ts";
export { shrinkPlan } from "./shrink.ts";
export { SIMULATION_INSTANCES, type SimulationOptions, type SimulationResult, simulate } from "./simulation.ts";
export { SqlitePool } from "./sqlite-pool.ts";
export type { SimulatedStore } from "./store.ts";
export type { VirtualTime } from "./virtual-time.ts";
export { LOCAL_STORE, REMOTE_STORE, type StoreSpeed, type StoreWeather } from "./weather.ts";
