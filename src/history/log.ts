/** What happened: the epochs one by one. */
import { ClusterError, isClusterError } from "../errors.ts";
import { beforeEpochKey, walKey } from "../format/keys.ts";
import type { Leader } from "../format/system-rows.ts";
import type { ObjectStore } from "../store/store.ts";
import { PREFIX_BYTES, readEpochFacts } from "./epoch-facts.ts";
import { listPages } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent, Point } from "./point.ts";
import { resolvePoint } from "./points.ts";
import { prefetch } from "./prefetch.ts";

/** Epochs that are listed together: with their packs and snapshots they fit into a page or two. */
const WINDOW_EPOCHS = 900;

/** An epoch in the history. */
export interface EpochRecord {
  readonly epoch: number;
  /** `last_update`: an RFC 3339 time by the clock of the leader; information only. */
  readonly time: string | undefined;
  /** Who wrote it; `undefined` in epoch 0 and in the last epoch of a leader that stepped down. */
  readonly leader: Leader | undefined;
  /** Size of the WAL; 0 if it is missing. */
  readonly bytes: number;
  /** Pages that it changed, `_lbc`'s included; 0 if that cannot be read. */
  readonly pages: number;
  /** The epoch restores the state of `to`; it came after `from`. */
  readonly rollback: { readonly from: number; readonly to: number } | undefined;
  /** Why the epoch's own facts are not known: its WAL is missing or damaged. */
  readonly problem: string | undefined;
}

export interface HistoryOptions {
  /** The first epoch, *default* the earliest there is; so it is too for a point before that. */
  readonly from?: Point | undefined;
  /** The last epoch, *default* the newest there is; so it is too for a point after that. */
  readonly to?: Point | undefined;
  /** *Default* ascending. */
  readonly order?: "ascending" | "descending" | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The epochs between two points, both included, one small read for each. Epochs that come into being meanwhile are not
 * among them; those that the retention takes meanwhile have a `problem`.
 *
 * @throws ClusterError `invalid`: `bad_point`; `bad_range` if `from` is after `to`; `point_in_future` for a `from` and
 *   `point_before_history` for a `to` that leave nothing
 */
export async function* history(
  parts: HistoryParts,
  extent: HistoryExtent,
  options: HistoryOptions = {},
): AsyncGenerator<EpochRecord, void, undefined> {
  const { signal, order = "ascending" } = options;
  const first = await resolveEnd(parts, options.from, extent, "earliest", signal);
  const last = await resolveEnd(parts, options.to, extent, "newest", signal);
  if (first > last) {
    throw new ClusterError("invalid", "bad_range", `nothing is between epoch ${first} and ${last}: swap from and to`, {
      from: first,
      to: last,
    });
  }
  const { fetchParallel, fetchBytesMax } = parts.settings;
  for (const window of windows(first, last, order === "descending")) {
    const sizes = await walSizes(parts.store, window, signal);
    const read = (epoch: number) => readEpoch(parts, epoch, sizes.get(epoch), signal);
    // A WAL whose beginning does not tell is read whole: so its size is what may be held.
    const sizeOf = (epoch: number) => Math.max(PREFIX_BYTES, sizes.get(epoch) ?? 0);
    for await (const { result } of prefetch(epochsOf(window), read, sizeOf, fetchParallel, fetchBytesMax)) {
      signal?.throwIfAborted();
      yield result;
    }
  }
}

/** A point beyond an end of the history means that end. */
async function resolveEnd(
  parts: HistoryParts,
  point: Point | undefined,
  extent: HistoryExtent,
  end: "earliest" | "newest",
  signal: AbortSignal | undefined,
): Promise<number> {
  if (point === undefined) return extent[end];
  try {
    return (await resolvePoint(parts, point, extent, signal)).epoch;
  } catch (error) {
    const beyond = end === "earliest" ? "point_before_history" : "point_in_future";
    if (isClusterError(error) && error.code === beyond) return extent[end];
    throw error;
  }
}

/** Epochs from `first` to `last`, both included. */
interface Window {
  readonly first: number;
  readonly last: number;
  readonly descending: boolean;
}

function* windows(first: number, last: number, descending: boolean): Generator<Window, void, undefined> {
  if (descending) {
    for (let end = last; end >= first; end -= WINDOW_EPOCHS)
      yield { first: Math.max(first, end - WINDOW_EPOCHS + 1), last: end, descending };
  } else {
    for (let start = first; start <= last; start += WINDOW_EPOCHS)
      yield { first: start, last: Math.min(last, start + WINDOW_EPOCHS - 1), descending };
  }
}

function epochsOf({ first, last, descending }: Window): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => (descending ? last - index : first + index));
}

async function walSizes(
  store: ObjectStore,
  { first, last }: Window,
  signal: AbortSignal | undefined,
): Promise<Map<number, number>> {
  const sizes = new Map<number, number>();
  for await (const objects of listPages(store, beforeEpochKey(first), signal)) {
    for (const { kind, epoch, size } of objects) if (kind === "wal" && epoch <= last) sizes.set(epoch, size);
    const end = objects.at(-1);
    if (end !== undefined && (end.fromEpoch ?? end.epoch) > last) break;
  }
  return sizes;
}

async function readEpoch(
  { store }: HistoryParts,
  epoch: number,
  size: number | undefined,
  signal: AbortSignal | undefined,
): Promise<EpochRecord> {
  const unknown = { epoch, time: undefined, leader: undefined, bytes: size ?? 0, pages: 0, rollback: undefined };
  const missing = { ...unknown, bytes: 0, problem: `${walKey(epoch)} is missing` };
  if (size === undefined) return missing;
  try {
    const facts = await readEpochFacts(store, epoch, signal);
    if (facts === undefined) return missing;
    const { time, leader, bytes, pages, rollback } = facts;
    return { epoch, time, leader, bytes, pages, rollback, problem: undefined };
  } catch (error) {
    if (!isClusterError(error) || error.kind !== "corrupt") throw error;
    return { ...unknown, problem: error.message };
  }
}
