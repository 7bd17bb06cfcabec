import type { Log } from "../base/log.ts";
import type { ClusterSettings } from "../config.ts";
import type { MeterSnapshot } from "../store/metered-store.ts";
import type { ObjectStore } from "../store/store.ts";
import type { MetricsSink } from "./metrics-sink.ts";

/** What every loop of a node needs. */
export interface NodeParts {
  readonly settings: ClusterSettings;
  /** The cluster's store, every call of which is counted. */
  readonly store: ObjectStore;
  readonly meter: { snapshot(): MeterSnapshot };
  readonly metrics: MetricsSink;
  readonly log: Log;
}
