/**
 * A bystander at the bucket, who sees every epoch the moment it is created and knows the history therefore: which bytes
 * were the first at each number, and what database they make. No node can ask it.
 */
import type { Clock } from "../../base/clock.ts";
import { errorMessage } from "../../errors.ts";
import { epochText, parseKey } from "../../format/keys.ts";
import { sha256Hex } from "../../platform/system.ts";
import { Replica } from "../../sqlite/replica.ts";
import type { Violation } from "../checkers/operation.ts";
import { type StoredTimeline, TimelineRecorder } from "../checkers/timeline-recorder.ts";
import { SeededRandom } from "./seeded-random.ts";
import type { SqliteLease } from "./sqlite-pool.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** One epoch of the history. */
export interface WitnessedEpoch {
  readonly walHash: string;
  /** Of the database as of it. */
  readonly stateChecksum: string;
  /** Uuid of the node that wrote it. */
  readonly writer: string | undefined;
  readonly createdAtMs: number;
}

const STANDING: Clock = { monotonicMs: () => 0, wallMs: () => 0, after: () => () => {}, soon: () => () => {} };

export class Witness {
  readonly #time: VirtualTime;
  readonly #replica: Replica;
  readonly #recorder = new TimelineRecorder(0);
  readonly #epochs: WitnessedEpoch[] = [];
  /** The bytes that stand at a number now: their hash. */
  readonly #present = new Map<number, string>();
  readonly #deleted = new Set<number>();
  /** When the snapshot of an epoch was written; at the last time: that is its age. */
  readonly #snapshots = new Map<number, number>();
  readonly #onViolation: (violation: Violation) => void;

  private constructor(time: VirtualTime, replica: Replica, onViolation: (violation: Violation) => void) {
    this.#time = time;
    this.#replica = replica;
    this.#onViolation = onViolation;
  }

  static async create(
    time: VirtualTime,
    lease: SqliteLease,
    onViolation: (violation: Violation) => void,
  ): Promise<Witness> {
    const replica = await Replica.create(STANDING, new SeededRandom("witness"), lease.open);
    return new Witness(time, replica, onViolation);
  }

  get newestEpoch(): number {
    return this.#epochs.length - 1;
  }

  epoch(epoch: number): WitnessedEpoch | undefined {
    return this.#epochs[epoch];
  }

  timeline(): StoredTimeline {
    return this.#recorder.timeline();
  }

  /** The newest epoch whose snapshot was written before then. */
  snapshotBefore(ms: number): number | undefined {
    const old = [...this.#snapshots].filter(([, writtenAtMs]) => writtenAtMs <= ms).map(([epoch]) => epoch);
    return old.length === 0 ? undefined : Math.max(...old);
  }

  /** The lowest number whose WAL was never deleted: one that was, and was created again, may stay for a while. */
  get lowestPresent(): number | undefined {
    const untouched = [...this.#present.keys()].filter((epoch) => !this.#deleted.has(epoch));
    return untouched.length === 0 ? undefined : Math.min(...untouched);
  }

  onPut(key: string, bytes: Uint8Array): void {
    const parsed = parseKey(key);
    if (parsed?.kind === "snapshot") this.#snapshots.set(parsed.epoch, this.#time.nowMs);
    if (parsed?.kind !== "wal") return;
    const { epoch } = parsed;
    const hash = sha256Hex(bytes);
    this.#time.witness(`${epoch} ${hash}`);
    this.#present.set(epoch, hash);
    // Trimmed, and created again by one that was away; also its own bytes, if nobody had told it that they are there.
    if (epoch > this.newestEpoch) this.#apply(epoch, bytes, hash);
  }

  onDeleted(key: string): void {
    const parsed = parseKey(key);
    if (parsed?.kind !== "wal") return;
    const { epoch } = parsed;
    const hash = this.#present.get(epoch);
    this.#present.delete(epoch);
    this.#deleted.add(epoch);
    if (hash !== this.#epochs[epoch]?.walHash) return;
    if (epoch === this.newestEpoch) this.#violated("P1", "the newest epoch was deleted", `epoch ${epoch}`);
  }

  #apply(epoch: number, bytes: Uint8Array, walHash: string): void {
    if (epoch !== this.newestEpoch + 1) {
      this.#violated("P2", "an epoch was created beyond the next one", `${epoch}, the newest is ${this.newestEpoch}`);
      return;
    }
    try {
      const before = epoch === 0 ? undefined : this.#replica.rows.leader?.uuid;
      this.#replica.apply(this.#replica.verify(bytes, `epoch ${epoch}`));
      this.#recorder.record(this.#replica, bytes.length);
      this.#epochs.push({
        walHash,
        stateChecksum: this.#replica.state.image.stateChecksum,
        writer: this.#replica.rows.leader?.uuid ?? before,
        createdAtMs: this.#time.nowMs,
      });
    } catch (error) {
      this.#violated("P2", "an epoch does not continue the history", `${epochText(epoch)}: ${errorMessage(error)}`);
    }
  }

  #violated(promise: string, rule: string, text: string): void {
    this.#onViolation({ promise, rule, text });
  }
}
