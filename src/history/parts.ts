import type { Log } from "../base/log.ts";
import type { ClusterSettings } from "../config.ts";
import type { ObjectStore } from "../store/store.ts";

/** What everything that reads or keeps the history needs. */
export interface HistoryParts {
  readonly settings: ClusterSettings;
  /** The cluster's store. */
  readonly store: ObjectStore;
  readonly log: Log;
}
