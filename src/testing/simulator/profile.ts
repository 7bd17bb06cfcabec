/** Kinds of simulated clusters: how fast they live, and what their faults are made for. */
import type { ClusterOptions } from "../../config.ts";
import { LOCAL_STORE, REMOTE_STORE, type StoreSpeed } from "./weather.ts";

export interface Profile {
  readonly name: string;
  /** The fewest and the most. */
  readonly members: readonly [number, number];
  /** Of the members; a time-out of theirs is the unit of most faults. */
  readonly settings: Partial<ClusterOptions> & { readonly sessionTimeoutMs: number; readonly retentionMs: number };
  /** Time with faults. */
  readonly faultyMs: number;
  /** Between two faults, on average. */
  readonly faultEveryMs: number;
  readonly acrossRetention: boolean;
  /** `absences`: only members that are away for about as long as the retention, and what befalls them then. */
  readonly plan: "any" | "absences";
  readonly store: StoreSpeed;
  /** A call that is not answered fails after this. */
  readonly storeTimeoutMs: number;
  /** Between two operations of a client, on average. */
  readonly thinkMs: number;
  readonly clientCount: number;
  /** After the last fault everything has come to rest within this. */
  readonly settleMs: number;
}

const HOUR_MS = 3_600_000;

/** Short time-outs, much traffic: election, fencing, the stream. */
const BRISK: Profile = {
  name: "brisk",
  members: [3, 7],
  settings: {
    heartbeatIntervalMs: 500,
    sessionTimeoutMs: 2000,
    pollIntervalMs: 200,
    eagerPollIntervalMs: 20,
    retryBaseMs: 10,
    retryMaxMs: 500,
    gossipIntervalMs: 1000,
    retentionMs: HOUR_MS,
    snapshot: { walBytesMin: 65_536, databaseFraction: 0.1, objectsMax: 24, intervalMinMs: 2000 },
    requestBudget: "unlimited",
  },
  faultyMs: 30_000,
  faultEveryMs: 2500,
  acrossRetention: false,
  plan: "any",
  store: LOCAL_STORE,
  storeTimeoutMs: 10_000,
  thinkMs: 400,
  clientCount: 4,
  settleMs: 40_000,
};

/** The same, over soon. */
const SHORT: Profile = {
  ...BRISK,
  name: "short",
  members: [3, 5],
  faultyMs: 8000,
  faultEveryMs: 800,
  thinkMs: 250,
  storeTimeoutMs: 4000,
  clientCount: 3,
};

/**
 * Half of that, at twice the pace: most seeds are such lives, for what breaks a promise takes two or three faults, and
 * many small choices of them find it sooner than a few large ones.
 */
const FLASH: Profile = {
  ...SHORT,
  name: "flash",
  members: [3, 4],
  settings: {
    ...SHORT.settings,
    heartbeatIntervalMs: 250,
    sessionTimeoutMs: 1000,
    pollIntervalMs: 100,
    gossipIntervalMs: 500,
    shutdownTimeoutMs: 1000,
    snapshot: { walBytesMin: 65_536, databaseFraction: 0.1, objectsMax: 24, intervalMinMs: 1000 },
  },
  faultyMs: 4000,
  faultEveryMs: 400,
  storeTimeoutMs: 1500,
  thinkMs: 150,
  clientCount: 2,
};

/** The settings that a cluster has by default, on a store some 20 ms away. */
const STANDARD: Profile = {
  name: "standard",
  members: [3, 7],
  settings: { sessionTimeoutMs: 20_000, retentionMs: HOUR_MS, snapshot: { objectsMax: 24 } },
  faultyMs: 6 * 60_000,
  faultEveryMs: 30_000,
  acrossRetention: false,
  plan: "any",
  store: REMOTE_STORE,
  storeTimeoutMs: 10_000,
  thinkMs: 5000,
  clientCount: 4,
  settleMs: 180_000,
};

/** Slow and long: the retention passes by, and members are away for longer than it. */
const RETENTION: Profile = {
  name: "retention",
  members: [3, 5],
  settings: {
    heartbeatIntervalMs: 60_000,
    sessionTimeoutMs: 150_000,
    pollIntervalMs: 30_000,
    eagerPollIntervalMs: 1000,
    gossipIntervalMs: 60_000,
    retentionMs: HOUR_MS,
    retentionIntervalMs: 120_000,
    snapshot: { objectsMax: 6, intervalMinMs: 60_000 },
    requestBudget: "unlimited",
  },
  faultyMs: 5 * HOUR_MS,
  faultEveryMs: 15 * 60_000,
  acrossRetention: true,
  plan: "any",
  store: REMOTE_STORE,
  storeTimeoutMs: 10_000,
  thinkMs: 240_000,
  clientCount: 3,
  settleMs: 20 * 60_000,
};

/** One long absence. */
const ABSENCE: Profile = {
  ...RETENTION,
  name: "absence",
  members: [3, 4],
  settings: { ...RETENTION.settings, snapshot: { objectsMax: 3, intervalMinMs: 60_000 } },
  faultyMs: 1.4 * HOUR_MS,
  plan: "absences",
};

export const PROFILES: readonly Profile[] = [FLASH, SHORT, BRISK, STANDARD, RETENTION, ABSENCE];

/** Of any hundred seeds, the kinds of lives that they are: the long ones take longer to compute. */
export function profileOf(seed: number): Profile {
  const share = seed % 100;
  if (share < 90) return FLASH;
  if (share < 93) return SHORT;
  if (share < 97) return ABSENCE;
  if (share === 97) return BRISK;
  return share === 98 ? STANDARD : RETENTION;
}
