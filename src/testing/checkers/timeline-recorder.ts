/**
 * Writes down what each epoch of a history left in the log, as the epochs go by.
 */
import { ClusterError } from "../../errors.ts";
import type { Db } from "../../sqlite/reader.ts";
import type { Replica } from "../../sqlite/replica.ts";
import { CHECK_LOG_TABLE } from "../workloads/check-log.ts";
import type { Timeline } from "./operation.ts";

/** Lists of ids that are kept ready: checkers ask for epochs in their order, and often for the same one. */
const LISTS_KEPT = 64;

/** A leader's first epoch in the history. */
export interface LeaderChange {
  readonly epoch: number;
  readonly uuid: string;
}

/** What a history says, from the earliest epoch that there is; what was trimmed has no log. */
export interface StoredTimeline extends Timeline {
  readonly earliestEpoch: number;
  readonly leaderChanges: readonly LeaderChange[];
  /** Bytes of all WALs. */
  readonly walBytes: number;
}

/** The log as of an epoch: the first `length` of a line of ids that grows as long as nothing is rolled back. */
interface LogAt {
  readonly line: string[];
  readonly length: number;
}

/** Shown a replica at each epoch, in order, it makes the {@link StoredTimeline}. */
export class TimelineRecorder {
  readonly #earliest: number;
  readonly #epochs: LogAt[] = [];
  readonly #rollbacks = new Map<number, number>();
  readonly #written = new Map<string, number[]>();
  readonly #leaderChanges: LeaderChange[] = [];
  #line: string[] = [];
  #leader: string | undefined;
  #walBytes = 0;

  constructor(earliest: number) {
    this.#earliest = earliest;
  }

  /** The replica has moved to its next epoch. */
  record({ db, epoch, rows }: Replica, walBytes: number): void {
    this.#walBytes += walBytes;
    const leader = rows.leader?.uuid;
    if (leader !== undefined && leader !== this.#leader) this.#leaderChanges.push({ epoch, uuid: leader });
    this.#leader = leader;
    const isRollback = rows.rollback?.epoch === epoch;
    if (isRollback) this.#rollbacks.set(epoch, rows.rollback.to);
    if (!isRollback && hasEntry(db, this.#line.length, this.#line.at(-1))) this.#goOn(db, epoch);
    else this.#beginAnew(db, epoch, isRollback);
    const last = this.#epochs.at(-1);
    const { length } = this.#line;
    this.#epochs.push(last?.line === this.#line && last.length === length ? last : { line: this.#line, length });
  }

  timeline(): StoredTimeline {
    const earliestEpoch = this.#earliest;
    const epochs = this.#epochs;
    const written = this.#written;
    const kept = new Map<LogAt, readonly string[]>();
    return {
      earliestEpoch,
      newestEpoch: earliestEpoch + epochs.length - 1,
      leaderChanges: this.#leaderChanges,
      walBytes: this.#walBytes,
      rollbacks: this.#rollbacks,
      idsAt: (epoch) => {
        const at = epochs[epoch - earliestEpoch];
        if (at === undefined) return [];
        const ids = kept.get(at) ?? at.line.slice(0, at.length);
        kept.set(at, ids);
        if (kept.size > LISTS_KEPT) kept.delete(kept.keys().next().value as LogAt);
        return ids;
      },
      epochsOf: (id) => written.get(id) ?? [],
    };
  }

  #goOn(db: Db, epoch: number): void {
    for (const id of readAfter(db, this.#line.length)) {
      this.#line.push(id);
      this.#note(id, epoch);
    }
  }

  /** @param isRollback its ids were written by epochs before */
  #beginAnew(db: Db, epoch: number, isRollback: boolean): void {
    const before = new Set(this.#line);
    this.#line = readAfter(db, 0);
    if (!isRollback) for (const id of this.#line) if (!before.has(id)) this.#note(id, epoch);
  }

  #note(id: string, epoch: number): void {
    this.#written.set(id, [...(this.#written.get(id) ?? []), epoch]);
  }
}

/** Whether what was there is still there. */
function hasEntry(db: Db, seq: number, id: string | undefined): boolean {
  if (id === undefined) return true;
  return hasLog(db) && db.get<{ id: string }>(`SELECT id FROM ${CHECK_LOG_TABLE} WHERE seq = ?`, [seq])?.id === id;
}

function hasLog(db: Db): boolean {
  return db.get("SELECT 1 FROM sqlite_schema WHERE name = ?", [CHECK_LOG_TABLE]) !== undefined;
}

/** @throws ClusterError if a number is left out, for then lengths would say something else than they do */
function readAfter(db: Db, length: number): string[] {
  if (!hasLog(db)) return [];
  const sql = `SELECT seq, id FROM ${CHECK_LOG_TABLE} WHERE seq > ? ORDER BY seq`;
  return db.values<[number, string]>(sql, [length]).map(([seq, id], index) => {
    if (seq === length + 1 + index) return id;
    throw new ClusterError("corrupt", "log_incomplete", `${CHECK_LOG_TABLE} has no row ${length + 1 + index}`, { seq });
  });
}
