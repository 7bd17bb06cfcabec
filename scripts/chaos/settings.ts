/** How a run is set up: short time-outs, so that a minute sees much, and bounds, so that an hour does not fill the machine. */
import type { ClusterOptions } from "../../src/mod.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const EPOCHS_MAX = 50_000;
const EPOCHS_PER_SECOND_MAX = 60;
const OPERATIONS_MAX = 300_000;
const OPERATIONS_PER_SECOND_MAX = 250;
const SNAPSHOTS_MAX = 60;
const SNAPSHOT_INTERVAL_MIN_MS = 2000;
/** Room for the history of a run on a store of files, per second. */
const DISK_BYTES_PER_SECOND = 3 * 1024 * 1024;
const DISK_BYTES_MIN = 256 * 1024 * 1024;
const DISK_BYTES_MAX = 6 * 1024 * 1024 * 1024;

export const CLUSTER_ID = "chaos";
export const SESSION_TIMEOUT_MS = 2000;
export const CLIENT_COUNT = 16;

/** Of every member, and of who judges. */
export function clusterSettings(seconds: number): Omit<ClusterOptions, "store"> {
  const perSecond = Math.min(EPOCHS_PER_SECOND_MAX, EPOCHS_MAX / seconds);
  return {
    id: CLUSTER_ID,
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
    heartbeatIntervalMs: 400,
    pollIntervalMs: 200,
    retryMaxMs: 500,
    gossipIntervalMs: 250,
    shutdownTimeoutMs: 4000,
    requestBudget: { perSecond, burst: perSecond * 2 },
    snapshot: {
      walBytesMin: 1024 * 1024,
      intervalMinMs: Math.max(SNAPSHOT_INTERVAL_MIN_MS, Math.ceil((seconds * 1000) / SNAPSHOTS_MAX)),
    },
    // The whole history is read afterwards.
    retentionMs: 30 * DAY_MS,
  };
}

/** Between two operations of a client, at the most. */
export function clientPauseMaxMs(seconds: number): number {
  const perSecond = Math.min(OPERATIONS_PER_SECOND_MAX, OPERATIONS_MAX / seconds);
  return (2000 * CLIENT_COUNT) / perSecond;
}

export function diskBytesMax(seconds: number): number {
  return Math.min(DISK_BYTES_MAX, Math.max(DISK_BYTES_MIN, seconds * DISK_BYTES_PER_SECOND));
}
