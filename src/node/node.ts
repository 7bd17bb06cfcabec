/** A node of a cluster: its database, its part in leading, its view of the others. */
import { defer } from "../base/deferred.ts";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import { ClusterHistory } from "../history/cluster-history.ts";
import type { RowChange } from "../history/diff.ts";
import { HistoryKeeper } from "../history/keeper.ts";
import { parsePoint } from "../history/parse-point.ts";
import type { OpenAtOptions, PastDb } from "../history/past.ts";
import type { Point } from "../history/point.ts";
import type { Restored, RestoredAt } from "../history/restore.ts";
import { expectManyListeners } from "../platform/listeners.ts";
import { type Watch, WatchSource } from "../platform/watch.ts";
import type { ClaimReason } from "../protocol/follow-state.ts";
import type { Instant } from "../protocol/moment.ts";
import type { Member, Role } from "../protocol/roster.ts";
import type { Db } from "../sqlite/reader.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { Transaction } from "../sqlite/writer.ts";
import type { ObjectStore } from "../store/store.ts";
import type { Ack, DurableEpoch } from "./batch.ts";
import { Following } from "./following.ts";
import type { HealthPhase } from "./health.ts";
import { Leadership, type LeadershipEnd } from "./leadership.ts";
import type { MemberFetch } from "./member-request.ts";
import type { NodeMetrics } from "./metrics.ts";
import type { NodeNetwork } from "./network.ts";
import { Orphans } from "./orphan.ts";
import type { NodeParts } from "./parts.ts";
import type { RoleClient, RoleClientOptions } from "./role-client.ts";
import { type Rollback, type RollbackOptions, Rollbacks } from "./rollback.ts";
import { rollbacksParts } from "./rollback-source.ts";
import { type NodeStatus, verifiedStatus } from "./status.ts";
import { describeLevel, Syncing, type SyncLevel } from "./syncing.ts";
import { type WaitOptions, withLimits } from "./waiting.ts";

/** Which node this is. */
export interface NodeIdentity {
  readonly uuid: string;
  readonly az: string;
  /** `host:port` that other nodes use. */
  readonly address: string;
  readonly roles: readonly string[];
  readonly startedAt: string;
  /** True if it joined as leader. */
  readonly candidate: boolean;
}

/** *Default* limit of `sync`. */
export const SYNC_TIMEOUT_MS = 10_000;
/** How long a leader that shuts down waits for its handlers before it hands over; their answers may take longer. */
const HANDOVER_WAIT_MS = 1000;

/** `node.db`: the present by itself, and the past on request. */
export interface NodeDb extends Db {
  /**
   * The database as of a point in time, while the node goes on: a second database in memory until it is closed.
   *
   * @throws ClusterError `invalid`: `bad_point`, `point_in_future`, `point_before_history`; `corrupt`
   */
  at(point: Point, options?: OpenAtOptions): Promise<PastDb>;
}

/** The parts of a node that `join` made for it. */
export interface NodeComponents {
  readonly parts: NodeParts;
  readonly replica: Replica;
  readonly identity: NodeIdentity;
  readonly network: NodeNetwork;
  readonly metrics: NodeMetrics;
  readonly restored: RestoredAt;
}

/** A node that joined a cluster. Made by `LittleBigCluster.joinAsLeader` and `joinAsFollower`. */
export class ClusterNode {
  readonly uuid: string;
  readonly az: string;
  /** `host:port` where other nodes reach this one. */
  readonly address: string;
  readonly roles: readonly string[];
  /** Reads the durable image of the epoch that this node has reached: synchronous, local. */
  readonly db: NodeDb;
  /** The cluster's object store, for data of the application's own. Keys below `.lbc/` are the library's. */
  readonly store: ObjectStore;
  readonly #components: NodeComponents;
  readonly #history: ClusterHistory;
  readonly #keeper: HistoryKeeper;
  readonly #syncing: Syncing;
  readonly #following: Following;
  readonly #rollbacks: Rollbacks;
  readonly #orphans: Orphans;
  readonly #leader: WatchSource<Leader | undefined>;
  readonly #members: WatchSource<readonly Member[]>;
  readonly #epoch: WatchSource<number>;
  readonly #role: WatchSource<Role>;
  #leadership: Leadership | undefined;
  #trouble: unknown;
  #failure: unknown;
  #isClosed = false;
  /** Ends what reads the history. */
  readonly #closing = new AbortController();
  #shutdown: Promise<void> | undefined;

  /** Nodes are made by joining. */
  constructor(components: NodeComponents) {
    this.#components = components;
    const { parts, replica, identity, restored } = components;
    this.uuid = identity.uuid;
    this.az = identity.az;
    this.address = identity.address;
    this.roles = identity.roles;
    const history = new ClusterHistory(parts);
    this.#history = history;
    expectManyListeners(this.#closing.signal);
    this.db = Object.assign(replica.db, {
      at: async (point: Point, options: OpenAtOptions = {}) => {
        this.#checkOpen();
        return await history.openAt(point, this.#untilClosed(options));
      },
    });
    this.store = parts.store;
    this.#keeper = new HistoryKeeper(parts, replica);
    this.#keeper.restored(restored);
    this.#rollbacks = new Rollbacks(rollbacksParts(parts, replica));
    this.#orphans = new Orphans(parts);
    const closed = () => this.#closedError();
    this.#leader = new WatchSource<Leader | undefined>(replica.rows.leader, closed);
    this.#members = new WatchSource<readonly Member[]>([], closed);
    this.#epoch = new WatchSource(replica.epoch, closed);
    this.#role = new WatchSource<Role>(identity.candidate ? "standby" : "follower", closed);
    this.#following = new Following(parts, replica, identity.candidate, restored, {
      onApplied: (epoch, walBytes, source) => {
        parts.metrics.epochsApplied(source, 1, walBytes);
        this.#onEpoch(epoch);
      },
      onBootstrapped: (again) => this.#onRestored(again),
      onClaim: (reason, provenAt) => this.#claim(reason, provenAt),
      onTrouble: (reason) => {
        this.#trouble = reason;
      },
    });
    this.#syncing = new Syncing(parts, {
      epoch: () => replica.epoch,
      leadingProvenAgeMs: () => (this.#leadership?.isLeading ? this.#leadership.provenAgeMs : undefined),
      provenAt: () => this.#following.provenAt,
      silentMs: () => this.#following.silentMs,
      offeredEpoch: () => this.#following.offeredEpoch,
      barrier: (signal, timeoutMs) => this.barrier(signal, timeoutMs),
      want: (epoch, untilMs) => this.#following.want(epoch, untilMs),
    });
  }

  /** Who leads, as of the epoch that this node has reached; `undefined` after a graceful step-down. */
  get leader(): Watch<Leader | undefined> {
    return this.#leader;
  }

  /** Who is in the cluster, this node included. */
  get members(): Watch<readonly Member[]> {
    return this.#members;
  }

  /** The epoch that `db` shows. */
  get epoch(): Watch<number> {
    return this.#epoch;
  }

  /** What this node does. Losing the leadership is an event, not an end: the node goes on as a standby. */
  get role(): Watch<Role> {
    return this.#role;
  }

  /** How long epochs may have been missing here, in milliseconds; 0 while the leader's stream says that there are none. */
  get lagMs(): number {
    return this.#leadership?.isLeading ? 0 : this.#following.lagMs;
  }

  /** Whether transactions are taken now: also false while the leadership is being handed over. */
  get isLeading(): boolean {
    return this.#leadership?.acceptsTransactions === true;
  }

  /** Where the node's life is. */
  phase(): HealthPhase {
    if (this.#failure !== undefined) return "failed";
    if (this.#isClosed) return "closed";
    return this.#shutdown === undefined ? "joined" : "leaving";
  }

  /** Sends requests to whoever leads. */
  get leaderClient(): { readonly fetch: MemberFetch } {
    return this.#components.network.leaderClient;
  }

  /** Sends requests to the members with a role, in turn; those of the own zone first, unless told otherwise. */
  connectToRole(role: string, options: RoleClientOptions = {}): RoleClient {
    this.#checkOpen();
    return this.#components.network.connectToRole(role, options);
  }

  /**
   * Runs `fn` as one transaction on the leader: synchronously, all or nothing,
   * seeing the writes of those before it. It becomes durable with the epoch
   * that it shares with its neighbours; until `ack.durable` resolves nobody
   * else sees it.
   *
   * @throws what `fn` throws; ClusterError `not_leader`, `unavailable`, `overloaded`, `invalid` for what
   *   transactions may not do
   */
  transaction<T>(fn: (tx: Transaction) => T): Ack<T> {
    this.#checkOpen();
    return this.#expectLeadership().transaction(fn);
  }

  /**
   * Restores the state that the database had at a point in time, by one new epoch; on a node that does not lead the
   * leader is asked to. History stays: followers apply it like any other epoch, and it can be rolled back. Transactions
   * go on while the state of then is read; those that wait for their epoch when it is written end with `fenced`
   * `rolled_back`, and for a moment new ones are refused with `unavailable` `rolling_back`.
   *
   * Without `timeoutMs` it takes as long as it takes; waiting for a leader to ask, 10 s.
   *
   * @throws ClusterError `invalid` for what is no point, or not in the history; `unavailable`: `rolling_back` if another
   *   one is under way, `no_leader`, `wait_timeout`; `fenced` if the leadership ended first; `outcome_unknown`; `corrupt`
   *   if the state of then cannot be read. With `outcome_unknown`, and after its own signal ended the waiting, it may be
   *   written; with everything else nothing was.
   */
  async rollback(point: Point, options: RollbackOptions = {}): Promise<Rollback> {
    this.#checkOpen();
    const { parts, network } = this.#components;
    parsePoint(point, parts.settings.clock.wallMs());
    const leadership = this.#leadership;
    if (leadership?.acceptsTransactions) return await this.#rollbacks.run(leadership, point, options);
    return await network.askRollback(point, options);
  }

  /** Resolves when this node leads. */
  async waitForLeadership(options: WaitOptions = {}): Promise<void> {
    this.#checkOpen();
    if (!this.#components.identity.candidate) {
      throw new ClusterError(
        "invalid",
        "not_a_candidate",
        "the node joined as follower, it never leads: use joinAsLeader",
      );
    }
    await this.#withLimit("waitForLeadership", options, undefined, async (signal) => {
      while (this.#role.current !== "leader") await this.#role.changed({ signal });
    });
  }

  /** Writes what is pending, gives up the leadership, and goes on as a standby that lets others lead first. */
  async stepDown(options: WaitOptions = {}): Promise<void> {
    this.#checkOpen();
    const leadership = this.#expectLeadership();
    await this.#withLimit("stepDown", options, undefined, async () => {
      await this.#components.network.handOver();
      await leadership.stepDown();
    });
  }

  /**
   * Waits until `db` is as fresh as asked for.
   *
   * @throws ClusterError `unavailable`/`wait_timeout` after `timeoutMs`, *default* 10 s
   */
  async sync(level: SyncLevel, options: WaitOptions = {}): Promise<DurableEpoch> {
    this.#checkOpen();
    const timeoutMs = options.timeoutMs ?? SYNC_TIMEOUT_MS;
    await this.#withLimit(describeLevel(level), options, timeoutMs, (signal) =>
      this.#syncing.sync(level, signal, timeoutMs),
    );
    return { epoch: this.#epoch.current };
  }

  /** An epoch that begins after this call, of whoever leads: what was acknowledged before is in it. */
  barrier(signal?: AbortSignal, timeoutMs?: number): Promise<DurableEpoch> {
    const { network } = this.#components;
    const barrier = this.leaderBarrier().then((own) => own ?? network.askBarrier(signal, timeoutMs));
    // Nobody has to look at it.
    barrier.catch(() => {});
    return barrier;
  }

  /** The same as the leader: `undefined` if this node does not lead, or leads no more before the epoch is durable. */
  async leaderBarrier(): Promise<DurableEpoch | undefined> {
    const leadership = this.#leadership;
    if (!leadership?.isLeading) return undefined;
    try {
      return await leadership.barrier();
    } catch (error) {
      if (isClusterError(error) && (error.kind === "fenced" || error.kind === "not_leader")) return undefined;
      throw error;
    }
  }

  /** The rows that differ between two points, table by table; both databases are in memory until it ends. */
  diff(pointA: Point, pointB: Point, options: OpenAtOptions = {}): AsyncIterable<RowChange> {
    this.#checkOpen();
    return this.#history.diff(pointA, pointB, this.#untilClosed(options));
  }

  /** What the node knows, as `/.lbc/status` shows it. */
  status(): NodeStatus {
    const { replica, identity, parts, metrics } = this.#components;
    const { image } = replica.state;
    return {
      cluster_id: parts.settings.id,
      this: { uuid: this.uuid, az: this.az, address: this.address },
      roles: this.roles,
      role: this.#role.current,
      is_leader: this.#role.current === "leader",
      leader: this.#leader.current ?? null,
      members: this.#members.current,
      replica: {
        epoch: replica.epoch,
        state_checksum: image.stateChecksum,
        last_update: replica.rows.lastUpdate ?? null,
        snapshot_epoch: this.#keeper.snapshotEpoch,
        lag_ms: Math.round(this.lagMs),
        is_streaming: this.#components.network.isStreaming,
        trouble: this.#trouble === undefined ? null : errorMessage(this.#trouble),
      },
      db: { pages: image.pageCount, size: image.byteLength, pins: image.pinCount },
      history: {
        earliest_epoch: this.#keeper.earliestEpoch ?? null,
        verified: verifiedStatus(this.#keeper.lastDrill),
      },
      store: { url: parts.store.url, ...parts.meter.snapshot(), usd_per_month: metrics.usdPerMonth() ?? null },
      started_at: identity.startedAt,
    };
  }

  /**
   * Leaves: writes what is pending, gives up the leadership, lets answers in
   * flight finish, says goodbye. Takes at most `shutdownTimeoutMs`; safe twice.
   */
  shutdown(): Promise<void> {
    this.#shutdown ??= this.#close();
    return this.#shutdown;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown();
  }

  /** Called once by `join`, when everything else is in place. */
  begin(): void {
    const { parts, replica, network, metrics, restored } = this.#components;
    metrics.begin({
      clusterId: parts.settings.id,
      uuid: this.uuid,
      az: this.az,
      meter: parts.meter,
      epoch: () => replica.epoch,
      lagMs: () => this.lagMs,
      isLeader: () => this.#role.current === "leader",
      memberCount: () => this.#members.current.length,
      acksPending: () => this.#leadership?.pendingTransactions ?? 0,
      snapshotEpoch: () => this.#keeper.snapshotEpoch,
      earliestEpoch: () => this.#keeper.earliestEpoch,
      lastDrill: () => this.#keeper.lastDrill,
      image: () => replica.state.image,
      pushed: () => network.pushed,
    });
    this.#countRestored(restored);
    network.begin(this, {
      onMembers: (members, isNews) => (isNews ? this.#members.set(members) : this.#members.refresh(members)),
      onOffered: (from, epoch, wal) => this.#following.offered(from, epoch, wal),
      onStreamClosed: () => this.#following.streamClosed(),
      onLeaderRefused: () => this.#following.leaderRefused(),
      onAccepting: () => this.#following.accepting(),
      onHandover: () => this.#following.handover(),
    });
    this.#following.start();
  }

  async #close(): Promise<void> {
    const { parts, network, replica } = this.#components;
    const { clock, shutdownTimeoutMs } = parts.settings;
    const timeUp = defer<void>();
    const cancel = clock.after(shutdownTimeoutMs, () => timeUp.resolve());
    // While there is still a listener that the successor can answer.
    if (this.#leadership?.isLeading) await Promise.race([network.handOver(), timeUp.promise]);
    // Handlers that run may still write; but a slow one must not keep the cluster without a leader.
    const handedOver = defer<void>();
    const cancelWait = clock.after(HANDOVER_WAIT_MS, () => handedOver.resolve());
    const left = network.leave(shutdownTimeoutMs);
    await Promise.race([left, timeUp.promise, handedOver.promise]);
    cancelWait();
    this.#following.close();
    const leadership = this.#leadership;
    if (leadership?.isLeading) {
      await Promise.race([leadership.stepDown(), timeUp.promise]).catch(() => {});
    }
    leadership?.close();
    const closing = [network.close(), this.#keeper.follow(), this.#orphans.settled()];
    await Promise.race([Promise.all(closing), timeUp.promise]);
    this.#orphans.close();
    await network.cut();
    cancel();
    this.#isClosed = true;
    const reason = this.#closedError();
    this.#closing.abort(reason);
    this.#syncing.close(reason);
    for (const watch of [this.#leader, this.#members, this.#epoch, this.#role]) watch.close();
    replica.close();
    parts.log({ level: "info", event: "node_closed", uuid: this.uuid });
  }

  #claim(claimReason: ClaimReason, provenAt: Instant): void {
    const { parts, replica, identity, network } = this.#components;
    const { uuid, az, address } = identity;
    parts.log({ level: "info", event: "claiming", epoch: replica.epoch + 1, reason: claimReason });
    const leadership = new Leadership(parts, replica, { uuid, az, address }, provenAt, {
      onDurable: (durable) => {
        const { epoch, wal, transactions, latencyMs } = durable;
        parts.metrics.epochDurable({ transactions, walBytes: wal.length, latencyMs });
        network.publish(durable);
        this.#onEpoch(epoch);
        if (this.#role.current !== "leader" && leadership.isLeading) this.#onLeading(claimReason);
      },
      onOrphan: (epoch) => this.#orphans.delete(epoch),
    });
    this.#leadership = leadership;
    leadership.ended.then(
      (end) => this.#onLeadershipEnded(end),
      (error: unknown) => this.#fail(error),
    );
    leadership.start();
  }

  #onLeading(claimReason: ClaimReason): void {
    const { parts, network } = this.#components;
    parts.log({ level: "info", event: "leading", epoch: this.#epoch.current, reason: claimReason });
    parts.metrics.tookOver(claimReason);
    this.#keeper.lead();
    this.#role.set("leader");
    network.lead();
  }

  #onLeadershipEnded(end: LeadershipEnd): void {
    this.#leadership = undefined;
    const { parts, replica, network } = this.#components;
    parts.metrics.leadershipEnded(end);
    if (end.wasLeading)
      parts.log({ level: "warn", event: "leadership_ended", epoch: replica.epoch, reason: end.reason });
    void this.#keeper.follow();
    if (this.#role.current === "leader") {
      // Who leaves does not stand by.
      if (this.#shutdown === undefined) this.#role.set("standby");
      network.stoppedLeading();
    }
    this.#following.leadershipEnded(end);
  }

  #onEpoch(epoch: number): void {
    this.#keeper.applied(epoch);
    this.#noteRollback(epoch);
    this.#changed();
  }

  #noteRollback(epoch: number): void {
    const { parts, replica } = this.#components;
    const { rollback } = replica.rows;
    if (rollback?.epoch !== epoch) return;
    parts.metrics.rolledBack();
    parts.log({ level: "warn", event: "rolled_back", epoch, from: rollback.from, to: rollback.to });
  }

  #onRestored(again: Restored): void {
    this.#keeper.restored(again);
    this.#countRestored(again);
    this.#changed();
  }

  /** The replica moved: tells everyone who watches or waits. */
  #changed(): void {
    const { replica, network } = this.#components;
    const previous = this.#leader.current;
    const next = replica.rows.leader;
    this.#epoch.set(replica.epoch);
    if (previous?.uuid !== next?.uuid || previous?.address !== next?.address) {
      this.#leader.set(next);
      if (next !== undefined) this.#following.leaderChanged(next.uuid);
      network.leaderChanged(previous);
    }
    network.epochReached(replica.epoch);
    this.#syncing.reached(replica.epoch);
  }

  #countRestored({ base, state, steps }: Restored): void {
    const walBytes = steps.reduce((sum, { size }) => sum + size, 0);
    this.#components.parts.metrics.epochsApplied("bootstrap", state.epoch - base.epoch, walBytes);
  }

  #expectLeadership(): Leadership {
    if (this.#leadership !== undefined) return this.#leadership;
    throw new ClusterError("not_leader", "not_leader", "this node does not lead", {
      leader: this.#leader.current ?? null,
    });
  }

  #untilClosed(options: OpenAtOptions): OpenAtOptions {
    const { signal } = this.#closing;
    return { ...options, signal: options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]) };
  }

  #checkOpen(): void {
    if (this.#failure !== undefined || this.#isClosed) throw this.#closedError();
  }

  /** An impossible state: better no node than a wrong one. */
  #fail(error: unknown): void {
    this.#failure = error;
    this.#components.parts.log({ level: "error", event: "node_failed", reason: errorMessage(error) });
    void this.shutdown();
  }

  #closedError(): ClusterError {
    if (this.#failure === undefined) return new ClusterError("closed", "node_closed", "the node was shut down");
    return new ClusterError(
      "closed",
      "node_failed",
      `the node stopped: ${errorMessage(this.#failure)}`,
      {},
      { cause: this.#failure },
    );
  }

  #withLimit(
    what: string,
    options: WaitOptions,
    timeoutMs: number | undefined,
    action: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { clock } = this.#components.parts.settings;
    const { signal } = options;
    const limits = { what, timeoutMs: options.timeoutMs ?? timeoutMs, signal, clock, epoch: () => this.#epoch.current };
    return withLimits(limits, action);
  }
}
