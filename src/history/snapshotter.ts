/**
 * Snapshots by the leader, in the background: the bytes come from a pin of the
 * image, so writes go on meanwhile.
 */
import { errorMessage } from "../errors.ts";
import { epochText, LAST_SNAPSHOT_KEY, snapshotKey } from "../format/keys.ts";
import { isSnapshotDue } from "../protocol/snapshots.ts";
import type { Replica } from "../sqlite/replica.ts";
import { readSnapshotMarker } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";

export class Snapshotter {
  readonly #parts: HistoryParts;
  readonly #replica: Replica;
  #snapshotEpoch = 0;
  #beganAtMs = Number.NEGATIVE_INFINITY;
  #leading: AbortController | undefined;
  #running: Promise<void> | undefined;
  #onEpoch: () => void = () => {};

  constructor(parts: HistoryParts, replica: Replica) {
    this.#parts = parts;
    this.#replica = replica;
  }

  /** The newest snapshot that this node knows of. */
  get snapshotEpoch(): number {
    return this.#snapshotEpoch;
  }

  /** An epoch became part of the replica, in whatever role. */
  applied(): void {
    this.#onEpoch();
    this.#consider();
  }

  /** The replica was read anew from this base. */
  rebased(baseEpoch: number): void {
    this.#snapshotEpoch = baseEpoch;
  }

  /** Begins the leader's part: the marker tells what earlier leaders have done. */
  lead(): void {
    const leading = new AbortController();
    this.#leading = leading;
    this.#beganAtMs = Number.NEGATIVE_INFINITY;
    readSnapshotMarker(this.#parts.store, leading.signal).then(
      (epoch) => {
        if (leading.signal.aborted) return;
        if (epoch !== undefined) this.#snapshotEpoch = Math.max(this.#snapshotEpoch, epoch);
        this.#replica.state.changes.divideAt(this.#snapshotEpoch);
        this.#consider();
      },
      (error: unknown) => this.#parts.log({ level: "warn", event: "marker_unread", reason: errorMessage(error) }),
    );
  }

  /** Ends it; resolves when nothing of it runs any more. */
  async follow(): Promise<void> {
    this.#leading?.abort();
    this.#leading = undefined;
    this.#onEpoch();
    await this.#running;
  }

  #consider(): void {
    const leading = this.#leading;
    if (leading === undefined || this.#running !== undefined) return;
    const { settings, log } = this.#parts;
    const nowMs = settings.clock.monotonicMs();
    const { epoch, state } = this.#replica;
    const situation = {
      ...state.changes.costAfter(this.#snapshotEpoch),
      epochs: epoch - this.#snapshotEpoch,
      databaseBytes: state.image.byteLength,
      sinceLastMs: nowMs - this.#beganAtMs,
    };
    if (!isSnapshotDue(situation, settings.snapshot)) return;
    this.#beganAtMs = nowMs;
    state.changes.divideAt(epoch);
    this.#running = this.#take(epoch, leading.signal)
      .catch((error: unknown) => {
        if (!leading.signal.aborted)
          log({ level: "warn", event: "snapshot_failed", epoch, reason: errorMessage(error) });
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #take(epoch: number, signal: AbortSignal): Promise<void> {
    const { store, log, settings } = this.#parts;
    const { state } = this.#replica;
    const pin = state.image.pin();
    try {
      const source = { byteLength: pin.byteLength, read: (offset: number, length: number) => pin.copy(offset, length) };
      await store.put(snapshotKey(epoch), source, { signal });
      log({
        level: "info",
        event: "snapshot_written",
        epoch,
        bytes: pin.byteLength,
        pagesSaved: pin.savedPages,
        elapsedMs: Math.round(settings.clock.monotonicMs() - this.#beganAtMs),
      });
    } finally {
      pin.release();
    }
    // The next epoch holds the checksum that proves the snapshot: only with it is it one to start from.
    for (signal.throwIfAborted(); this.#replica.epoch <= epoch; signal.throwIfAborted()) {
      await new Promise<void>((resolve) => {
        this.#onEpoch = resolve;
      });
    }
    await store.put(LAST_SNAPSHOT_KEY, new TextEncoder().encode(epochText(epoch)), { signal });
    this.#snapshotEpoch = epoch;
    state.changes.forgetUpTo(epoch);
  }
}
