/**
 * Carries out one plan of a restore, and proves what it reads.
 *
 * ```
 *   snapshot ──pack──►──pack──►──wal──►      a WAL tells the checksum of the state before it
 *      └─────────┴────────┴─ unproven until it comes; a careful walk asks the epoch after each of them
 * ```
 */
import { ClusterError, isClusterError } from "../errors.ts";
import { packKey, snapshotKey, walKey } from "../format/keys.ts";
import type { RestorePlan, RestoreStep } from "../protocol/restore-plan.ts";
import { contradicts, isMisplaced, ReplicaState, type VerifiedEpoch } from "../sqlite/replica-state.ts";
import type { StoredObject } from "../store/store.ts";
import { ObjectGone } from "./object-gone.ts";
import { prefetch } from "./prefetch.ts";
import { readSnapshot, refuseSnapshot } from "./read-snapshot.ts";
import type { Restored, RestoreParts } from "./restore.ts";

/** What an error speaks against. */
export interface Suspects {
  /** Keys of objects: one of these sets is wrong, the likeliest first. */
  readonly alternatives: readonly (readonly string[])[];
  /** Whether a careful walk may tell which. */
  readonly isEachProvable: boolean;
}

export interface WalkOptions {
  /** The newest epoch that is known. */
  readonly newest: number;
  /** Asks the epoch after each snapshot and pack whether it is right, not only after the last of them. */
  readonly isCareful: boolean;
}

/** One walk from a base to the target. */
export class RestoreWalk {
  readonly #plan: RestorePlan;
  readonly #parts: RestoreParts;
  readonly #options: WalkOptions;
  /** Keys of what no WAL has confirmed yet, in the order of their use. */
  #unproven: string[] = [];
  readonly #steps: RestoreStep[] = [];
  #state!: ReplicaState;
  /** The last WAL that was applied. */
  #newest: StoredObject | undefined;
  #bytes = 0;
  #bytesTotal = 0;
  #headEpoch: number;

  constructor(plan: RestorePlan, parts: RestoreParts, options: WalkOptions) {
    this.#plan = plan;
    this.#parts = parts;
    this.#options = options;
    this.#headEpoch = options.newest;
  }

  async run(): Promise<Restored> {
    const { parallel, bytesMax, upTo } = this.#parts;
    const { base, steps } = this.#plan;
    this.#bytesTotal = steps.reduce((sum, { size }) => sum + size, 0);
    await this.#begin();
    const fetched = prefetch(
      steps,
      (step) => this.#fetch(stepKey(step)),
      ({ size }) => size,
      parallel,
      bytesMax,
    );
    for await (const { item, result } of fetched) {
      this.#apply(item, result);
      if (this.#options.isCareful && item.kind === "pack") await this.#confirm();
    }
    if (upTo === undefined) await this.#goOn();
    else await this.#confirm();
    const isProven = this.#unproven.length === 0;
    if (!isProven) await this.#endUnproven();
    const newest = this.#newest;
    return {
      state: this.#state,
      newestAgeMs: newest === undefined ? 0 : newest.nowMs - newest.lastModifiedMs,
      base,
      steps: this.#steps,
      isProven,
    };
  }

  suspects(error: ClusterError): Suspects {
    const object = String(error.details["object"]);
    const [first, ...others] = this.#unproven;
    const isItsOwn = error.code === "wal_corrupt" || error.code === "wrong_pack";
    if (first === undefined) {
      // Of two epochs that contradict each other either may be wrong.
      const before = contradicts(error) && this.#newest !== undefined ? [[this.#newest.key]] : [];
      return { alternatives: [[object], ...before], isEachProvable: false };
    }
    if (isItsOwn) return { alternatives: [[object]], isEachProvable: false };
    // The packs first: the base is the last thing to give up.
    const unproven = others.length === 0 ? [[first]] : [others, ...this.#unproven.map((key) => [key])];
    const alternatives = isUntold(error) && !this.#unproven.includes(object) ? [[object], ...unproven] : unproven;
    return { alternatives, isEachProvable: others.length > 0 };
  }

  async #begin(): Promise<void> {
    const { store, system, signal } = this.#parts;
    const { base } = this.#plan;
    if (base.kind === "wal") {
      this.#state = ReplicaState.empty(system);
      this.#apply({ kind: "wal", epoch: 0, size: 0 }, await this.#fetch(walKey(0)));
      return;
    }
    this.#unproven = [snapshotKey(base.epoch)];
    this.#state = await readSnapshot(store, system, base.epoch, this.#snapshotProgress, signal);
    if (this.#options.isCareful) await this.#confirm();
  }

  async #fetch(key: string): Promise<StoredObject> {
    const object = await this.#parts.store.get(key, { signal: this.#parts.signal });
    if (object === undefined) throw new ObjectGone(key);
    return object;
  }

  #apply(step: RestoreStep, object: StoredObject): void {
    if (step.kind === "pack") {
      this.#unproven.push(object.key);
      this.#state.applyPack(object.bytes, { from: step.from, to: step.epoch }, object.key);
    } else {
      this.#state.apply(this.#verify(object));
      this.#unproven = [];
      this.#newest = object;
    }
    this.#steps.push({ ...step, size: object.size });
    this.#advance(object.size);
  }

  #verify(object: StoredObject): VerifiedEpoch {
    try {
      return this.#state.verify(object.bytes, object.key);
    } catch (error) {
      // If they do not fit, it is the snapshot or the pack that is not what it should be.
      const [only, ...others] = this.#unproven;
      if (!isClusterError(error) || !contradicts(error) || only === undefined || others.length > 0) throw error;
      const { where, expected, found } = error.details as Record<"where" | "expected" | "found", string>;
      refuseSnapshot(only, where, found, expected);
    }
  }

  /** Epochs that came after the listing. */
  async #goOn(): Promise<void> {
    const { store, signal } = this.#parts;
    for (;;) {
      const epoch = this.#state.epoch + 1;
      const next = await store.get(walKey(epoch), { signal });
      if (next === undefined) return;
      this.#apply({ kind: "wal", epoch, size: next.size }, next);
    }
  }

  /** Asks the next epoch whether this state is right; that it is damaged, or at the wrong place, says nothing of this one. */
  async #confirm(): Promise<void> {
    const { store, signal } = this.#parts;
    const next = await store.get(walKey(this.#state.epoch + 1), { signal });
    if (next === undefined) return;
    try {
      this.#verify(next);
      this.#unproven = [];
    } catch (error) {
      if (!isClusterError(error)) throw error;
      if (contradicts(error) || error.code === "snapshot_corrupt") throw error;
    }
  }

  /** Nothing after it tells whether the state is right. */
  async #endUnproven(): Promise<void> {
    const { upTo } = this.#parts;
    const { epoch } = this.#state;
    if (upTo === undefined || upTo >= this.#options.newest) return await this.#adoptOwnWal();
    throw new ClusterError(
      "corrupt",
      "history_unproven",
      `epoch ${epoch} cannot be proven: ${this.#unproven.join(", ")} may be wrong, and ${walKey(epoch + 1)}, which would tell, is missing or damaged; choose another epoch`,
      { object: this.#unproven.at(-1), where: "state checksum", expected: "confirmed", found: "untold", epoch },
    );
  }

  /** What is the newest there is: its own epoch's WAL proves the pages that changed last. */
  async #adoptOwnWal(): Promise<void> {
    const { store, signal, log } = this.#parts;
    const { epoch } = this.#state;
    const own = await store.get(walKey(epoch), { signal });
    if (own === undefined) {
      const reason = "neither its epoch nor the next is in the store";
      log({ level: "warn", event: "snapshot_unproven", epoch, reason });
      return;
    }
    this.#state.adoptWal(own.bytes, own.key);
    this.#newest = own;
  }

  get #snapshotProgress(): { expect(bytes: number): void; arrived(bytes: number): void } {
    return {
      expect: (bytes) => {
        this.#bytesTotal += bytes;
      },
      arrived: (bytes) => this.#advance(bytes),
    };
  }

  #advance(bytes: number): void {
    this.#bytes += bytes;
    this.#bytesTotal = Math.max(this.#bytesTotal, this.#bytes);
    const epoch = this.#state?.epoch ?? this.#plan.base.epoch;
    this.#headEpoch = Math.max(this.#headEpoch, epoch);
    const { onProgress } = this.#parts;
    onProgress?.({ bytes: this.#bytes, bytesTotal: this.#bytesTotal, epoch, headEpoch: this.#headEpoch });
  }
}

function stepKey(step: RestoreStep): string {
  return step.kind === "wal" ? walKey(step.epoch) : packKey(step.from, step.epoch);
}

/** It may be the object itself, or what it was applied to. */
function isUntold(error: ClusterError): boolean {
  return (
    isMisplaced(error) ||
    error.code === "wrong_cluster" ||
    error.code === "unknown_format" ||
    error.code === "system_table_unreadable"
  );
}
