/**
 * Finds the epoch that a point in time means (docs/architecture.md §8).
 *
 * A time means the newest epoch whose `last_update` is not later. That is found by bisection, with one small read for
 * each halving, which relies on times that grow. They do while one leader leads and its clock is not set back. Where they
 * do not, because leaders' clocks differ or one was set, several epochs end a stretch that is not later than the time,
 * and the result is one of these: its `last_update` is not later, and that of the next epoch is. It is off by no more
 * than the clocks are; `history()` shows them all, and an epoch is always exact.
 */
import { ClusterError, isClusterError } from "../errors.ts";
import { type EpochFacts, readEpochFacts } from "./epoch-facts.ts";
import { type ParsedPoint, parsePoint, parseTime } from "./parse-point.ts";
import type { HistoryParts } from "./parts.ts";
import type { HistoryExtent, Point } from "./point.ts";

export { type ParsedPoint, parsePoint } from "./parse-point.ts";

/** A time may be so much later than now by the local clock: what another machine's clock says is "now" is no mistake. */
const CLOCK_TOLERANCE_MS = 60_000;
/** Epochs without a readable time that are passed over, one after the other, before the search gives up. */
const UNREADABLE_MAX = 64;

/** The epoch that a point means. */
export interface ResolvedPoint {
  readonly epoch: number;
  /** Its `last_update`; `undefined` if its WAL is not readable, though the epoch may be. */
  readonly time: string | undefined;
}

/**
 * Finds the epoch that a point means.
 *
 * @param extent what the store held a moment ago
 * @throws ClusterError `invalid`: `bad_point`, `point_in_future`, `point_before_history`; `unavailable`/`history_moved`
 *   if the retention passed the point meanwhile: ask for the extent again; `corrupt`/`history_unreadable` if too many
 *   epochs where the point should be are missing or damaged
 */
export async function resolvePoint(
  parts: HistoryParts,
  point: Point,
  extent: HistoryExtent,
  signal: AbortSignal | undefined,
): Promise<ResolvedPoint> {
  const nowMs = parts.settings.clock.wallMs();
  const search = new Search(parts, extent, signal);
  return await search.resolve(parsePoint(point, nowMs), nowMs);
}

/** An epoch whose time can be compared. */
interface TimedEpoch {
  readonly epoch: number;
  readonly time: string;
  readonly ms: number;
}

/** One search, which reads no epoch twice. */
class Search {
  readonly #parts: HistoryParts;
  readonly #extent: HistoryExtent;
  readonly #signal: AbortSignal | undefined;
  readonly #known = new Map<number, TimedEpoch | "missing" | "unreadable">();

  constructor(parts: HistoryParts, extent: HistoryExtent, signal: AbortSignal | undefined) {
    this.#parts = parts;
    this.#extent = extent;
    this.#signal = signal;
  }

  async resolve(parsed: ParsedPoint, nowMs: number): Promise<ResolvedPoint> {
    const { earliest, newest } = this.#extent;
    if (parsed.kind === "newest") return await this.#resolved(newest);
    if (parsed.kind === "time") return await this.#resolveTime(parsed.ms, nowMs);
    if (parsed.epoch > newest) {
      throw new ClusterError(
        "invalid",
        "point_in_future",
        `epoch ${parsed.epoch} does not exist yet: the newest is ${newest}`,
        { epoch: parsed.epoch, newest },
      );
    }
    if (parsed.epoch < earliest) await this.#refuseBeforeHistory(`epoch ${parsed.epoch}`, { epoch: parsed.epoch });
    return await this.#resolved(parsed.epoch);
  }

  async #resolveTime(ms: number, nowMs: number): Promise<ResolvedPoint> {
    const { earliest, newest } = this.#extent;
    const last = await this.#look(newest);
    if (typeof last === "object" && last.ms <= ms) {
      if (ms > nowMs + CLOCK_TOLERANCE_MS) refuseFuture(ms, last);
      return { epoch: newest, time: last.time };
    }
    if (typeof last !== "object" && ms > nowMs + CLOCK_TOLERANCE_MS)
      refuseFuture(ms, { epoch: newest, time: undefined });
    const first = await this.#firstTimed(earliest, newest);
    if (first.ms > ms)
      await this.#refuseBeforeHistory(new Date(ms).toISOString(), { time: new Date(ms).toISOString() });
    return await this.#bisect(first, ms);
  }

  /** `low` is not later than the time; of `high` that is not so, or not known. */
  async #bisect(first: TimedEpoch, ms: number): Promise<ResolvedPoint> {
    let low = first;
    let high = this.#extent.newest + 1;
    while (high - low.epoch > 1) {
      const middle = await this.#timedBetween(low.epoch, high);
      if (middle === undefined) break;
      if (middle.ms <= ms) low = middle;
      else high = middle.epoch;
    }
    await this.#checkGap(low.epoch, high);
    return { epoch: low.epoch, time: low.time };
  }

  /** An epoch with a time strictly between the two, as near to the middle as there is; `undefined` if none has one. */
  async #timedBetween(low: number, high: number): Promise<TimedEpoch | undefined> {
    const middle = low + Math.floor((high - low) / 2);
    for (let step = 0; step < UNREADABLE_MAX; step++) {
      // Upwards first: what the retention takes meanwhile is below.
      const up = middle + step;
      const down = middle - step;
      if (up >= high && down <= low) return undefined;
      if (up < high) {
        const found = await this.#look(up);
        if (typeof found === "object") return found;
      }
      if (down > low) {
        const found = await this.#look(down);
        if (typeof found === "object") return found;
      }
    }
    return await this.#giveUp(middle, low);
  }

  /** The first epoch from `earliest` on with a time: the state of the earliest may come from a snapshot without its WAL. */
  async #firstTimed(earliest: number, newest: number): Promise<TimedEpoch> {
    for (let epoch = earliest; epoch <= newest && epoch < earliest + UNREADABLE_MAX; epoch++) {
      const found = await this.#look(epoch);
      if (typeof found === "object") return found;
    }
    return await this.#giveUp(earliest, earliest);
  }

  /** Epochs that went away may have been nearer to the time than what is left below them. */
  async #checkGap(low: number, high: number): Promise<void> {
    for (let epoch = low + 1; epoch < high; epoch++) {
      if (this.#known.get(epoch) === "missing" && (await this.#isGone(low))) throw historyMoved(low);
    }
  }

  /** @param low an epoch that was there when the search began */
  async #giveUp(epoch: number, low: number): Promise<never> {
    if (await this.#isGone(low)) throw historyMoved(low);
    throw new ClusterError(
      "corrupt",
      "history_unreadable",
      `no time is readable around epoch ${epoch}: ${UNREADABLE_MAX} epochs or more are missing, damaged or without one; give an epoch instead of a time`,
      { epoch, ...this.#extent },
    );
  }

  async #isGone(epoch: number): Promise<boolean> {
    this.#known.delete(epoch);
    return (await this.#look(epoch)) === "missing";
  }

  async #look(epoch: number): Promise<TimedEpoch | "missing" | "unreadable"> {
    const known = this.#known.get(epoch);
    if (known !== undefined) return known;
    const found = timed(await this.#facts(epoch));
    this.#known.set(epoch, found);
    return found;
  }

  async #facts(epoch: number): Promise<EpochFacts | "missing" | "unreadable"> {
    try {
      return (await readEpochFacts(this.#parts.store, epoch, this.#signal)) ?? "missing";
    } catch (error) {
      if (!isClusterError(error) || error.kind !== "corrupt") throw error;
      const { message: reason, details } = error;
      this.#parts.log({ level: "warn", event: "epoch_unreadable", epoch, reason, details });
      return "unreadable";
    }
  }

  async #resolved(epoch: number): Promise<ResolvedPoint> {
    const facts = await this.#facts(epoch);
    return { epoch, time: typeof facts === "object" ? facts.time : undefined };
  }

  async #refuseBeforeHistory(what: string, details: Readonly<Record<string, unknown>>): Promise<never> {
    const { earliest, newest } = this.#extent;
    const first = await this.#firstTimed(earliest, newest).catch(() => undefined);
    const time = first?.epoch === earliest ? ` of ${first.time}` : "";
    throw new ClusterError(
      "invalid",
      "point_before_history",
      `${what} is before what the store still holds: the earliest point is epoch ${earliest}${time}`,
      { ...details, earliest, earliestTime: first?.epoch === earliest ? first.time : undefined },
    );
  }
}

function timed(facts: EpochFacts | "missing" | "unreadable"): TimedEpoch | "missing" | "unreadable" {
  if (typeof facts !== "object") return facts;
  const { epoch, time } = facts;
  const ms = time === undefined ? undefined : parseTime(time);
  return time === undefined || ms === undefined ? "unreadable" : { epoch, time, ms };
}

function refuseFuture(ms: number, newest: ResolvedPoint): never {
  const time = new Date(ms).toISOString();
  throw new ClusterError(
    "invalid",
    "point_in_future",
    `${time} is in the future: the newest epoch is ${newest.epoch}${newest.time === undefined ? "" : ` of ${newest.time}`}`,
    { time, newest: newest.epoch, newestTime: newest.time },
  );
}

function historyMoved(epoch: number): ClusterError {
  return new ClusterError(
    "unavailable",
    "history_moved",
    `epoch ${epoch} was deleted by the retention while the point was looked for: try again`,
    { epoch },
  );
}
