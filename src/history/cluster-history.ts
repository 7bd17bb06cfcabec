/** What can be asked of a cluster's history, by a node or with nothing but the store. */
import { isClusterError } from "../errors.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { ReplicaState } from "../sqlite/replica-state.ts";
import type { ObjectStore } from "../store/store.ts";
import { type DiffSide, diffStates, type RowChange } from "./diff.ts";
import { type Exported, type ExportOptions, exportDatabase } from "./export.ts";
import { readExtent } from "./extent.ts";
import { type Forked, type ForkOptions, fork } from "./fork.ts";
import { findSnapshotUpTo } from "./listing.ts";
import { type EpochRecord, type HistoryOptions, history } from "./log.ts";
import type { HistoryParts } from "./parts.ts";
import { type OpenAtOptions, openPast, type PastDb, restoreReplica } from "./past.ts";
import type { HistoryExtent, Point } from "./point.ts";
import { type ResolvedPoint, resolvePoint } from "./points.ts";
import type { LongCallOptions } from "./progress.ts";
import { Retention, type VacuumReport } from "./retention.ts";
import { type VerifyWork, verifyHistory } from "./verify.ts";
import type { VerifyReport } from "./verify-report.ts";

/** How often a point is looked for again because the retention passed it meanwhile. */
const RESOLVE_ATTEMPTS_MAX = 3;

/** What `verify` looks at, and what it does about it. */
export interface VerifyOptions extends VerifyWork {
  /** Begins with the newest snapshot up to this point. *Default*: the earliest there is. */
  readonly from?: Point | undefined;
}

export class ClusterHistory {
  readonly #parts: HistoryParts;

  constructor(parts: HistoryParts) {
    this.#parts = parts;
  }

  extent(signal: AbortSignal | undefined): Promise<HistoryExtent> {
    return readExtent(this.#parts, signal);
  }

  /** The epoch that a point means. */
  async resolve(point: Point, signal: AbortSignal | undefined): Promise<ResolvedPoint> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await resolvePoint(this.#parts, point, await this.extent(signal), signal);
      } catch (error) {
        const hasMoved = isClusterError(error) && error.code === "history_moved";
        if (!hasMoved || attempt === RESOLVE_ATTEMPTS_MAX) throw error;
      }
    }
  }

  async openAt(point: Point, options: OpenAtOptions): Promise<PastDb> {
    const { epoch } = await this.resolve(point, options.signal);
    return await openPast(this.#parts, epoch, options);
  }

  async *list(options: HistoryOptions): AsyncGenerator<EpochRecord, void, undefined> {
    yield* history(this.#parts, await this.extent(options.signal), options);
  }

  /** The rows that differ between two points; both databases are in memory until it ends. */
  async *diff(pointA: Point, pointB: Point, options: OpenAtOptions): AsyncGenerator<RowChange, void, undefined> {
    const { signal } = options;
    const { clock } = this.#parts.settings;
    const [before, after] = [await this.resolve(pointA, signal), await this.resolve(pointB, signal)];
    const a = await restoreReplica(this.#parts, before.epoch, options);
    try {
      const b = await restoreReplica(this.#parts, after.epoch, options);
      try {
        yield* diffStates(sideOf(a), sideOf(b), { clock, signal });
      } finally {
        b.close();
      }
    } finally {
      a.close();
    }
  }

  /** Writes the database as of a point to a file. */
  async export(point: Point, file: string, options: ExportOptions): Promise<Exported> {
    return await this.#withState(point, options, (state) => exportDatabase(this.#parts, state, file, options));
  }

  /** Makes another cluster that begins as this one was. */
  async fork(point: Point, store: ObjectStore, options: ForkOptions): Promise<Forked> {
    return await this.#withState(point, options, (state) => fork(this.#parts, state, store, options));
  }

  async #withState<T>(
    point: Point,
    { signal }: LongCallOptions,
    action: (state: ReplicaState) => Promise<T>,
  ): Promise<T> {
    const { epoch } = await this.resolve(point, signal);
    const replica = await restoreReplica(this.#parts, epoch, { signal });
    try {
      return await action(replica.state);
    } finally {
      replica.close();
    }
  }

  /** Reads the history as somebody would who has nothing else. */
  async verify(options: VerifyOptions): Promise<VerifyReport> {
    const { from, signal } = options;
    const extent = await this.extent(signal);
    const first = from === undefined ? extent.earliest : (await this.resolve(from, signal)).epoch;
    const base = await findSnapshotUpTo(this.#parts.store, first, extent.earliest, signal);
    return await verifyHistory(this.#parts, extent, base ?? extent.earliest, options);
  }

  /** Deletes what is older than the retention. */
  async vacuum({ signal, onProgress }: LongCallOptions): Promise<VacuumReport> {
    let bytes = 0;
    return await new Retention(this.#parts).run(signal, (deleted) => {
      bytes += deleted;
      onProgress?.({ bytes, bytesTotal: bytes });
    });
  }
}

function sideOf({ context, state }: Replica): DiffSide {
  return { context, image: state.image };
}
