import type { HistoryParts } from "../history/parts.ts";
import type { MeterSnapshot } from "../store/metered-store.ts";
import type { MetricsSink } from "./metrics-sink.ts";

/** What every loop of a node needs; every call of its store is counted. */
export interface NodeParts extends HistoryParts {
  readonly meter: { snapshot(): MeterSnapshot };
  readonly metrics: MetricsSink;
}
