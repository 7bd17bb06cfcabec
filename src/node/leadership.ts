/**
 * One leadership, from its claim to its end: drives the commit protocol with
 * the real writer, the real store and the real clock.
 */
import { readClock } from "../base/clock.ts";
import { type Deferred, defer } from "../base/deferred.ts";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import type { Leader, SystemRows } from "../format/system-rows.ts";
import type { Wal } from "../format/wal.ts";
import { sha256Hex } from "../platform/system.ts";
import {
  acceptsTransactions,
  beginCommit,
  type CommitAction,
  type CommitEvent,
  type CommitSettings,
  type CommitState,
  stepCommit,
} from "../protocol/commit.ts";
import { elapsedMs, type Instant } from "../protocol/moment.ts";
import type { Replica } from "../sqlite/replica.ts";
import { BatchLostError, type SystemRowChanges, type Transaction, Writer } from "../sqlite/writer.ts";
import {
  type Ack,
  type Batch,
  type DurableEpoch,
  newBatch,
  nodeClosed,
  overloaded,
  rolledBack,
  rollingBack,
  steppedDown,
  unknownOutcome,
} from "./batch.ts";
import { EpochRequests, type OwnEpoch } from "./epoch-requests.ts";
import { Machine, momentOf } from "./machine.ts";
import { changedRows, nextRows } from "./next-rows.ts";
import type { NodeParts } from "./parts.ts";
import { type PendingRollback, sealRollback } from "./rollback-seal.ts";

/** How a leadership ended. */
export interface LeadershipEnd {
  /** `fenced` also for a claim that was lost. */
  readonly reason: "fenced" | "steppedDown" | "closed";
  /** Whether the claim ever became durable. */
  readonly wasLeading: boolean;
  /** As of when nobody else had gone on from the last epoch of ours. */
  readonly provenAt: Instant;
  /** History went on without the epoch that we created: what is after ours in the store cannot be trusted to be it. */
  readonly isLeftBehind: boolean;
}

interface SealedEpoch extends OwnEpoch {
  readonly batch: Batch;
  /** The system table after it. */
  readonly rows: SystemRows;
  readonly sealedAtMs: number;
}

/** An epoch of ours that is in the store. */
export interface DurableDetails {
  readonly epoch: number;
  readonly wal: Uint8Array;
  /** SHA-256 of the WAL, hexadecimal. */
  readonly hash: string;
  readonly transactions: number;
  /** From its sealing to its acknowledgement. */
  readonly latencyMs: number;
}

export interface LeadershipEvents {
  /** An epoch is durable and readable. The first one is the claim. */
  onDurable(durable: DurableDetails): void;
  /** An epoch that was created is not part of the history, and is to be deleted. */
  onOrphan(epoch: number): void;
}

export class Leadership {
  /** Resolves when it is over; rejects only for an impossible state, with which the node cannot go on. */
  readonly ended: Promise<LeadershipEnd>;
  readonly #parts: NodeParts;
  readonly #replica: Replica;
  readonly #self: Leader;
  readonly #events: LeadershipEvents;
  readonly #settings: CommitSettings;
  readonly #machine: Machine<CommitState, CommitEvent, CommitAction>;
  readonly #end: Deferred<LeadershipEnd> = defer();
  readonly #abort = new AbortController();
  readonly #requests: EpochRequests;
  #writer: Writer | undefined;
  #batch: Batch = newBatch();
  #sealed: SealedEpoch | undefined;
  /** To be sealed in place of transactions. */
  #rollback: PendingRollback | undefined;
  #isInTransaction = false;
  #wasLeading = false;
  #isOver = false;

  /** @param provenAt when the store was last asked for later epochs, and none was hidden */
  constructor(parts: NodeParts, replica: Replica, self: Leader, provenAt: Instant, events: LeadershipEvents) {
    this.#parts = parts;
    this.#replica = replica;
    this.#self = self;
    this.#events = events;
    this.ended = this.#end.promise;
    const { heartbeatIntervalMs, sessionTimeoutMs, retryBaseMs, retryMaxMs, budget, clock, random } = parts.settings;
    this.#settings = { heartbeatIntervalMs, sessionTimeoutMs, retryBaseMs, retryMaxMs, budget };
    const initial = beginCommit(replica.epoch, provenAt, this.#settings, momentOf(clock, random));
    this.#machine = new Machine(initial, {
      clock,
      random,
      tick: { type: "tick" },
      step: (state, event, moment) => stepCommit(state, event, this.#settings, moment),
      execute: (action) => this.#guarded(() => this.#execute(action)),
    });
    this.#requests = new EpochRequests(parts, replica, this.#abort.signal, (event) => this.#machine.dispatch(event));
  }

  /** Claims the next epoch. */
  start(): void {
    this.#machine.dispatch({ type: "tick" });
  }

  /** True once the claim is durable, until the end. */
  get isLeading(): boolean {
    return this.#machine.state.leading;
  }

  /** True while a transaction would be taken, or refused only because the store is silent. */
  get acceptsTransactions(): boolean {
    const { leading, steppingDown } = this.#machine.state;
    return leading && !steppingDown;
  }

  /** Transactions that are not acknowledged yet. */
  get pendingTransactions(): number {
    return this.#batch.transactions + (this.#sealed?.batch.transactions ?? 0);
  }

  /** How long ago, at the most, somebody else could have gone on without us, in milliseconds. */
  get provenAgeMs(): number {
    return elapsedMs(this.#machine.state.provenAt, readClock(this.#parts.settings.clock));
  }

  /** See `ClusterNode.transaction`. */
  transaction<T>(fn: (tx: Transaction) => T): Ack<T> {
    this.#admit();
    const batch = this.#batch;
    const writer = this.#openWriter();
    this.#isInTransaction = true;
    let value: T;
    try {
      value = writer.transact(fn);
    } catch (error) {
      this.#parts.metrics.transactionsLost("rolled_back", 1);
      throw this.#transactionFailed(error);
    } finally {
      this.#isInTransaction = false;
    }
    batch.transactions++;
    this.#submit(batch);
    return { value, durable: batch.durable.promise };
  }

  /** An epoch that begins after this call. */
  barrier(): Promise<DurableEpoch> {
    if (!acceptsTransactions(this.#machine.state, this.#settings, this.#parts.settings.clock.monotonicMs()))
      this.#refuse();
    this.#submit(this.#batch);
    return this.#batch.durable.promise;
  }

  /** Aborts when the leadership is over. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /**
   * Makes a state of before the next epoch to be sealed, and rejects the open batch. Transactions are refused until it
   * is sealed, which is when nothing is in flight.
   */
  async rollback(rollback: PendingRollback): Promise<DurableEpoch> {
    this.#checkWritable();
    this.#dropBatch(rolledBack(rollback.target.epoch));
    this.#rollback = rollback;
    this.#submit(this.#batch);
    return await this.#batch.durable.promise;
  }

  /** Writes what is pending and gives the leadership up; resolves when that is durable or the leadership is over. */
  async stepDown(): Promise<void> {
    // Who asks from inside a transaction function must not have it sealed half done.
    await null;
    this.#machine.dispatch({ type: "stepDown" });
    await this.#end.promise;
  }

  /** Ends at once, with nothing more asked of the store. */
  close(): void {
    if (this.#isOver) return;
    this.#finish("closed", false, unknownOutcome("the node was shut down before the store answered"), () =>
      nodeClosed(),
    );
  }

  #submit(batch: Batch): void {
    if (batch.isSubmitted) return;
    batch.isSubmitted = true;
    // At the end of this turn of the event loop: whoever is ready now shares the epoch.
    this.#parts.settings.clock.soon(() => {
      if (!this.#isOver && batch === this.#batch) this.#machine.dispatch({ type: "submitted" });
    });
  }

  #admit(): void {
    try {
      this.#checkAccepts();
    } catch (error) {
      this.#parts.metrics.transactionsLost("refused", 1);
      throw error;
    }
  }

  #checkAccepts(): void {
    const { settings } = this.#parts;
    if (this.#isInTransaction) {
      throw new ClusterError(
        "invalid",
        "nested_transaction",
        "transactions do not nest: use the tx that the function was given",
      );
    }
    this.#checkWritable();
    const { transactions } = this.#batch;
    if (transactions >= settings.pendingTransactionsMax) {
      throw overloaded("transactions", transactions, settings.pendingTransactionsMax);
    }
    const bytes = this.#writer?.pendingBytes ?? 0;
    if (transactions > 0 && bytes >= settings.pendingBytesMax)
      throw overloaded("bytes", bytes, settings.pendingBytesMax);
  }

  #checkWritable(): void {
    if (!acceptsTransactions(this.#machine.state, this.#settings, this.#parts.settings.clock.monotonicMs()))
      this.#refuse();
    if (this.#rollback !== undefined)
      throw rollingBack(`a rollback to epoch ${this.#rollback.target.epoch} is about to be written`);
  }

  #refuse(): never {
    if (!this.#machine.state.leading || this.#machine.state.steppingDown) {
      throw new ClusterError("not_leader", "not_leader", "this node does not lead", {
        leader: this.#replica.rows.leader,
      });
    }
    throw new ClusterError(
      "unavailable",
      "store_silent",
      `no epoch became durable for ${this.#settings.sessionTimeoutMs} ms: the store does not answer; transactions are refused until it does`,
      { sessionTimeoutMs: this.#settings.sessionTimeoutMs },
    );
  }

  #transactionFailed(error: unknown): unknown {
    if (!(error instanceof BatchLostError)) return error;
    const lost = new ClusterError(
      "unavailable",
      "batch_lost",
      `${error.message}; nothing of it was written`,
      {},
      { cause: error.cause },
    );
    this.#dropBatch(lost);
    const { cause } = error;
    if (!isClusterError(cause) || cause.code !== "SQLITE_NOMEM") return lost;
    // The others may try again; this one would fail again.
    const text =
      "the transaction needs more memory than SQLite can have, about 2 GiB: make it smaller; nothing was written";
    return new ClusterError("overloaded", cause.code, text, cause.details, { cause });
  }

  /** Rejects the open batch and starts again from what is sealed and durable. */
  #dropBatch(reason: ClusterError): void {
    const dropped = this.#batch;
    this.#batch = newBatch();
    this.#reject(dropped, reason);
    if (this.#sealed === undefined) this.#closeWriter();
  }

  /** Ends a batch that did not become durable. */
  #reject(batch: Batch, reason: ClusterError): void {
    this.#parts.metrics.transactionsLost(
      reason.kind === "outcome_unknown" ? "outcome_unknown" : "not_written",
      batch.transactions,
    );
    batch.durable.reject(reason);
  }

  #execute(action: CommitAction): boolean {
    switch (action.type) {
      case "seal":
        return this.#seal(action.epoch, action.leader);
      case "put":
        this.#put(action.epoch);
        return true;
      case "readBack":
        this.#requests.readBack(this.#sealedAs(action.epoch));
        return true;
      case "audit":
        this.#requests.audit(this.#sealedAs(action.epoch));
        return true;
      case "acknowledge":
        this.#acknowledge(action.epoch);
        return true;
      case "end":
        this.#endFrom(action);
        return false;
    }
  }

  #seal(epoch: number, leader: "claim" | "keep" | "remove"): boolean {
    const batch = this.#batch;
    const { clock } = this.#parts.settings;
    const rows = nextRows(this.#replica, epoch, { action: leader, self: this.#self }, clock.wallMs());
    const changes = changedRows(rows, leader !== "keep");
    const rollback = this.#rollback;
    this.#rollback = undefined;
    try {
      const made =
        rollback === undefined
          ? { wal: this.#openWriter().seal(changes), rows, walHash: undefined }
          : this.#sealRollback(rollback, changes);
      const hash = hashOf(made.wal, made.walHash);
      this.#sealed = { epoch, wal: made.wal, rows: made.rows, hash, batch, sealedAtMs: clock.monotonicMs() };
      this.#batch = newBatch();
      return true;
    } catch (error) {
      this.#parts.log({ level: "error", event: "seal_failed", epoch, reason: errorMessage(error) });
      this.#closeWriter();
      this.#dropBatch(
        new ClusterError(
          "unavailable",
          "seal_failed",
          `epoch ${epoch} could not be committed, nothing of it was written: ${errorMessage(error)}`,
          { epoch },
          {
            cause: error,
          },
        ),
      );
      this.#machine.dispatch({ type: "sealFailed" });
      return false;
    }
  }

  #sealRollback(rollback: PendingRollback, changes: SystemRowChanges): ReturnType<typeof sealRollback> {
    const { settings, log } = this.#parts;
    const beganMs = settings.clock.monotonicMs();
    this.#closeWriter();
    const sealed = sealRollback(this.#replica, rollback, changes, settings.random);
    this.#writer = Writer.openAbove(this.#replica.context, this.#replica.state.image, sealed.wal);
    const elapsedMs = Math.round(settings.clock.monotonicMs() - beganMs);
    log({
      level: "info",
      event: "rollback_sealed",
      epoch: sealed.epoch,
      to: rollback.target.epoch,
      pages: rollback.pages,
      elapsedMs,
    });
    return sealed;
  }

  #put(epoch: number): void {
    const sealed = this.#sealedAs(epoch);
    this.#requests.put(sealed);
    // While the request is on its way.
    this.#writer?.rewind();
    sealed.hash();
  }

  #acknowledge(epoch: number): void {
    const sealed = this.#sealedAs(epoch);
    const { wal, batch, rows, sealedAtMs } = sealed;
    const hash = sealed.hash();
    this.#replica.settle(this.#openWriter(), hash, rows);
    this.#sealed = undefined;
    this.#wasLeading = true;
    batch.durable.resolve({ epoch });
    const latencyMs = this.#parts.settings.clock.monotonicMs() - sealedAtMs;
    this.#events.onDurable({ epoch, wal: wal.bytes, hash, transactions: batch.transactions, latencyMs });
  }

  #endFrom(action: Extract<CommitAction, { type: "end" }>): void {
    const epoch = this.#replica.epoch + 1;
    if (action.deleteOurs) this.#events.onOrphan(epoch);
    const fenced = (what: string) =>
      new ClusterError("fenced", "fenced", `another node leads since epoch ${epoch}: ${what}`, {
        epoch,
        leader: this.#replica.rows.leader,
      });
    const sealedReason =
      action.sealedEpoch === "unknown"
        ? unknownOutcome(
            `another node leads, and whether epoch ${epoch} of ours was part of history cannot be told any more`,
          )
        : fenced("the transaction was not written");
    const openReason = () => (action.reason === "fenced" ? fenced("the transaction was not written") : steppedDown());
    this.#finish(action.reason, action.deleteOurs, sealedReason, openReason);
  }

  #finish(
    reason: LeadershipEnd["reason"],
    isLeftBehind: boolean,
    sealedReason: ClusterError,
    openReason: () => ClusterError,
  ): void {
    this.#isOver = true;
    this.#machine.stop();
    this.#abort.abort(new ClusterError("closed", "leadership_over", "the leadership is over"));
    if (this.#sealed !== undefined) this.#reject(this.#sealed.batch, sealedReason);
    this.#sealed = undefined;
    this.#reject(this.#batch, openReason());
    this.#closeWriter();
    this.#end.resolve({ reason, wasLeading: this.#wasLeading, provenAt: this.#machine.state.provenAt, isLeftBehind });
  }

  #sealedAs(epoch: number): SealedEpoch {
    if (this.#sealed?.epoch !== epoch) throw new Error(`epoch ${epoch} is not the sealed one`);
    return this.#sealed;
  }

  #openWriter(): Writer {
    this.#writer ??= this.#replica.openWriter();
    return this.#writer;
  }

  #closeWriter(): void {
    this.#writer?.close();
    this.#writer = undefined;
  }

  #guarded(action: () => boolean): boolean {
    try {
      return action();
    } catch (error) {
      this.#parts.log({ level: "error", event: "leadership_crashed", reason: errorMessage(error) });
      this.#isOver = true;
      this.#machine.stop();
      this.#abort.abort();
      if (this.#sealed !== undefined)
        this.#reject(this.#sealed.batch, unknownOutcome(`the node failed: ${errorMessage(error)}`));
      this.#reject(this.#batch, nodeClosed());
      this.#end.reject(error);
      return false;
    }
  }
}

/** The SHA-256 of a WAL, made when it is first asked for. */
function hashOf(wal: Wal, known: string | undefined): () => string {
  let hash = known;
  return () => {
    hash ??= sha256Hex(wal.bytes);
    return hash;
  };
}
