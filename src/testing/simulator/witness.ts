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

interface WrittenSnapshot {
  /** At the last time: that is its age. */
  writtenAtMs: number;
  /** At the first time: since then it can be started from. */
  readonly completedAtMs: number;
  isPresent: boolean;
}

interface WrittenPack {
  readonly epoch: number;
  readonly writtenAtMs: number;
}

/** How much sooner than the retention says something may go: what clocks that run a little wrong make of an hour. */
const RETENTION_SLACK_MS = 10_000;

const STANDING: Clock = { monotonicMs: () => 0, wallMs: () => 0, after: () => () => {}, soon: () => () => {} };

export class Witness {
  readonly #time: VirtualTime;
  readonly #replica: Replica;
  readonly #recorder = new TimelineRecorder(0);
  readonly #epochs: WitnessedEpoch[] = [];
  /** The bytes that stand at a number now: their hash. */
  readonly #present = new Map<number, string>();
  readonly #deleted = new Set<number>();
  readonly #snapshots = new Map<number, WrittenSnapshot>();
  /** Packs that are there. */
  readonly #packs = new Map<string, WrittenPack>();
  readonly #retentionMs: number;
  readonly #onViolation: (violation: Violation) => void;

  private constructor(
    time: VirtualTime,
    replica: Replica,
    retentionMs: number,
    onViolation: (violation: Violation) => void,
  ) {
    this.#time = time;
    this.#replica = replica;
    this.#retentionMs = retentionMs;
    this.#onViolation = onViolation;
  }

  static async create(
    time: VirtualTime,
    lease: SqliteLease,
    retentionMs: number,
    onViolation: (violation: Violation) => void,
  ): Promise<Witness> {
    const replica = await Replica.create(STANDING, new SeededRandom("witness"), lease.open);
    return new Witness(time, replica, retentionMs, onViolation);
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

  /** The newest epoch whose snapshot has been there, as it is, since then. */
  snapshotBefore(ms: number): number | undefined {
    const old = [...this.#snapshots].filter(([, { writtenAtMs, isPresent }]) => isPresent && writtenAtMs <= ms);
    return old.length === 0 ? undefined : Math.max(...old.map(([epoch]) => epoch));
  }

  /** What is there and should be gone, as nothing before that epoch is needed. What came late may stay for a while. */
  unneeded(boundary: number): string[] {
    const sinceMs = this.#snapshots.get(boundary)?.writtenAtMs ?? 0;
    // A number that was deleted once, and is there again, was created by one that was away.
    const wals = [...this.#present.keys()].filter((epoch) => epoch < boundary && !this.#deleted.has(epoch));
    const snapshots = [...this.#snapshots].filter(
      ([epoch, { isPresent, writtenAtMs }]) => isPresent && epoch < boundary && writtenAtMs < sinceMs,
    );
    const packs = [...this.#packs].filter(([, { epoch, writtenAtMs }]) => epoch <= boundary && writtenAtMs < sinceMs);
    return [
      ...wals.map((epoch) => `epoch ${epoch}`),
      ...snapshots.map(([epoch]) => `the snapshot of ${epoch}`),
      ...packs.map(([key]) => key),
    ];
  }

  onPut(key: string, bytes: Uint8Array): void {
    const parsed = parseKey(key);
    const { nowMs } = this.#time;
    if (parsed?.kind === "snapshot") {
      const completedAtMs = this.#snapshots.get(parsed.epoch)?.completedAtMs ?? nowMs;
      this.#snapshots.set(parsed.epoch, { writtenAtMs: nowMs, completedAtMs, isPresent: true });
    }
    if (parsed?.kind === "pack") this.#packs.set(key, { epoch: parsed.epoch, writtenAtMs: nowMs });
    if (parsed?.kind !== "wal") return;
    const { epoch } = parsed;
    const hash = sha256Hex(bytes);
    this.#time.witness(`${epoch} ${hash}`);
    const before = this.#present.get(epoch);
    if (before !== undefined && before !== hash)
      this.#violated("P2", "an epoch was overwritten", `epoch ${epoch}: ${before}, now ${hash}`);
    this.#present.set(epoch, hash);
    // Trimmed, and created again by one that was away; also its own bytes, if nobody had told it that they are there.
    if (epoch > this.newestEpoch) this.#apply(epoch, bytes, hash);
  }

  onDeleted(key: string): void {
    const parsed = parseKey(key);
    if (parsed === undefined) return;
    const { kind, epoch } = parsed;
    if (kind === "pack") this.#packs.delete(key);
    if (kind === "snapshot") {
      const snapshot = this.#snapshots.get(epoch);
      if (snapshot !== undefined) snapshot.isPresent = false;
    }
    if (kind === "wal") {
      const hash = this.#present.get(epoch);
      this.#present.delete(epoch);
      this.#deleted.add(epoch);
      if (hash !== this.#epochs[epoch]?.walHash) return;
      if (epoch === this.newestEpoch) this.#violated("P1", "the newest epoch was deleted", `epoch ${epoch}`);
    }
    // Also a pack up to the boundary goes.
    const boundary = this.#oldestNeeded();
    if (epoch >= boundary && !(kind === "pack" && epoch === boundary))
      this.#violated(
        "P1",
        "something was deleted too soon",
        `${key}: the history since epoch ${boundary} is to be kept`,
      );
  }

  /** What came after the newest snapshot that was there a retention ago is to be kept. */
  #oldestNeeded(): number {
    const beforeMs = this.#time.nowMs - this.#retentionMs + RETENTION_SLACK_MS;
    const old = [...this.#snapshots].filter(([, { completedAtMs }]) => completedAtMs <= beforeMs);
    return Math.max(0, ...old.map(([epoch]) => epoch));
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
