import { onTestFinished } from "vitest";
import type { LogEvent } from "../../src/base/log.ts";
import { parseClusterOptions } from "../../src/config.ts";
import { walKey } from "../../src/format/keys.ts";
import { encodeChain, encodeLeader, encodeRollback, type Leader } from "../../src/format/system-rows.ts";
import { parseWal } from "../../src/format/wal.ts";
import type { HistoryParts } from "../../src/history/parts.ts";
import { MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { sha256Hex, systemClock } from "../../src/platform/system.ts";
import { WalLayer } from "../../src/sqlite/image.ts";
import type { Replica } from "../../src/sqlite/replica.ts";
import { type SystemRowChanges, type Transaction, Writer } from "../../src/sqlite/writer.ts";
import { newReplica } from "./cluster-database.ts";

/** What an epoch tells. */
export interface EpochSpec {
  /** `last_update`. */
  readonly time: string;
  readonly leader?: Leader | null;
  readonly rollback?: { readonly from: number; readonly to: number };
  readonly write?: (tx: Transaction) => void;
}

/** A history in a store, written epoch by epoch as a leader does, with whatever times. */
export class WrittenHistory {
  readonly store: ObjectStore;
  readonly replica: Replica;
  #writer: Writer | undefined;

  private constructor(store: ObjectStore, replica: Replica) {
    this.store = store;
    this.replica = replica;
  }

  static async create(specs: readonly EpochSpec[], store: ObjectStore = new MemoryStore()): Promise<WrittenHistory> {
    const history = new WrittenHistory(store, await newReplica());
    onTestFinished(() => history.close());
    for (const spec of specs) await history.append(spec);
    return history;
  }

  /** With a minute between one epoch and the next, from noon. */
  static minutes(count: number): Promise<WrittenHistory> {
    return WrittenHistory.create(Array.from({ length: count }, (_, minute) => ({ time: minuteText(minute) })));
  }

  get newest(): number {
    return this.replica.epoch;
  }

  async append({ time, leader, rollback, write }: EpochSpec): Promise<void> {
    const { state, context } = this.replica;
    const epoch = state.epoch + 1;
    const rows: Record<string, string | number | null> = { last_update: time };
    if (leader !== undefined) rows["leader"] = leader === null ? null : encodeLeader(leader);
    if (rollback !== undefined) rows["rollback"] = encodeRollback({ epoch, ...rollback });
    if (state.walHash !== undefined)
      rows["chain"] = encodeChain({ epoch: state.epoch, wal: state.walHash, state: state.image.stateChecksum });
    this.#writer ??= Writer.create(context, state.image, { cluster_id: "test", format: 1 });
    if (write !== undefined) this.#writer.transact(write);
    await this.#seal(this.#writer, rows, epoch);
  }

  close(): void {
    this.#writer?.close();
    this.replica.close();
  }

  async #seal(writer: Writer, rows: SystemRowChanges, epoch: number): Promise<void> {
    const { bytes } = writer.seal(rows);
    const layer = new WalLayer(this.replica.state.image, parseWal(bytes, "sealed"));
    this.replica.settle(writer, sha256Hex(bytes), this.replica.system.read(layer, "sealed"));
    await this.store.put(walKey(epoch), bytes);
  }
}

/** 12:00 and so many minutes, and milliseconds. */
export function minuteText(minute: number, ms = 0): string {
  return new Date(minuteMs(minute) + ms).toISOString();
}

export function minuteMs(minute: number): number {
  return Date.parse("2026-11-20T12:00:00Z") + minute * 60_000;
}

/** What reads the history from there, at a fixed time. */
export function partsAt(store: ObjectStore, nowMs: number): HistoryParts & { readonly events: LogEvent[] } {
  const events: LogEvent[] = [];
  const clock = { ...systemClock, wallMs: () => nowMs };
  const log = (event: LogEvent) => events.push(event);
  return { settings: parseClusterOptions({ id: "test", store, clock, log }), store, log, events };
}
