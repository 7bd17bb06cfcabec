/** Calls of the library that are being added to it: goes when they are there. */
import type { Point } from "../history/point.ts";
import type { LongCallOptions } from "../history/progress.ts";
import type { ObjectStore } from "../store/store.ts";

export interface HistoryCluster {
  export(
    point: Point,
    file: string,
    options?: LongCallOptions & { readonly overwrite?: boolean },
  ): Promise<{ epoch: number; bytes: number }>;
  fork(
    point: Point,
    store: ObjectStore,
    options: { readonly id: string } & LongCallOptions,
  ): Promise<{ epoch: number; bytes: number }>;
}
