/** A node's part of the network: its server, its members, the streams of epochs, and the ways to the others. */
import { type Deferred, defer } from "../base/deferred.ts";
import { errorMessage } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import type { Point } from "../history/point.ts";
import type { Listener } from "../net/server.ts";
import { StreamMac } from "../net/stream-mac.ts";
import type { ClientTls } from "../net/tls.ts";
import { runtimeName } from "../platform/system.ts";
import { type Member, successorOf } from "../protocol/roster.ts";
import { VERSION } from "../version.ts";
import { composeApps, type NodeApps } from "./apps.ts";
import type { DurableEpoch } from "./batch.ts";
import { Door, registerDoor } from "./cluster-auth.ts";
import { healthRoutes } from "./health.ts";
import {
  ACCEPT_PATH,
  BARRIER_PATH,
  EPOCHS_PATH,
  GOSSIP_PATH,
  internalRoutes,
  LEADING_PATH,
} from "./internal-routes.ts";
import { LeaderClient } from "./leader-client.ts";
import type { DurableDetails } from "./leadership.ts";
import {
  type Acceptance,
  type Announcement,
  membersShape,
  type Report,
  type SubscribeRequest,
} from "./member-shape.ts";
import { Membership } from "./membership.ts";
import type { NodeMetrics } from "./metrics.ts";
import type { ClusterNode, NodeIdentity } from "./node.ts";
import { NodeRequests } from "./node-requests.ts";
import type { NodeParts } from "./parts.ts";
import { PeerPool } from "./peer-pool.ts";
import { Publisher } from "./publisher.ts";
import type { RequestGate } from "./request-gate.ts";
import { RoleClient, type RoleClientOptions } from "./role-client.ts";
import type { Rollback, RollbackOptions } from "./rollback.ts";
import { askRollback } from "./rollback-request.ts";
import { type OpenStream, Subscription } from "./subscription.ts";

/** A leader that does not answer a request for its stream by then is asked again. */
const SUBSCRIBE_TIMEOUT_MS = 10_000;
const ANNOUNCE_TIMEOUT_MS = 2000;
/** A standby that has not accepted the leadership by then does not keep the leader from stepping down. */
const ACCEPT_TIMEOUT_MS = 500;
/** Members that are told of a new leader at a time. */
const ANNOUNCE_PARALLEL = 32;

export interface NetworkComponents {
  readonly parts: NodeParts;
  readonly identity: NodeIdentity;
  readonly listener: Listener;
  readonly gate: RequestGate;
  readonly apps: NodeApps;
  readonly tls: ClientTls | undefined;
  readonly metrics: NodeMetrics;
  /** The cluster's secret; `undefined` in a cluster of the original without a configured one. */
  secret(): string | undefined;
}

/** What the network tells the node. */
export interface NetworkEvents {
  /** The members changed; `isNews` is false if only their progress did. */
  onMembers(members: readonly Member[], isNews: boolean): void;
  /** A leader's stream told of an epoch, or brought it. */
  onOffered(from: string, epoch: number, wal: Uint8Array | undefined): void;
  onStreamClosed(): void;
  onLeaderRefused(): void;
  /** The leader asked this node to lead next, and this node is about to accept. */
  onAccepting(): void;
  onHandover(): void;
}

/** An offer of the leadership that is being answered. */
interface HandOver {
  readonly successor: string | undefined;
  readonly accepted: Deferred<boolean>;
  /** Resolves when it was accepted, or never will be. */
  readonly over: Promise<void>;
}

export class NodeNetwork {
  readonly #components: NetworkComponents;
  readonly #pool: PeerPool;
  readonly #requests: NodeRequests;
  readonly #publisher: Publisher;
  readonly #roleClients = new Set<RoleClient>();
  #node!: ClusterNode;
  #membership!: Membership;
  #subscription!: Subscription;
  #leaderClient!: LeaderClient;
  #serve!: (request: Request) => Response | Promise<Response>;
  /** Who says that it leads since an epoch that has not been seen here. */
  #announced: Announcement | undefined;
  /** As a leader that steps down: whom it asked to lead next. */
  #handover: HandOver | undefined;
  #isLeaving = false;
  #listenerClosed: Promise<void> | undefined;

  constructor(components: NetworkComponents) {
    this.#components = components;
    const { parts, identity, tls, secret } = components;
    const { clock, random, transport } = parts.settings;
    this.#pool = new PeerPool({ clock, random, transport, tls, scheme: tls === undefined ? "http" : "https" });
    this.#requests = new NodeRequests({ parts, uuid: identity.uuid, pool: this.#pool, secret });
    this.#publisher = new Publisher();
  }

  get leaderClient(): LeaderClient {
    return this.#leaderClient;
  }

  /** Whether the leader's stream is open. */
  get isStreaming(): boolean {
    return this.#subscription.isOpen;
  }

  /** The streams of this node, and what was sent on them since it started. */
  get pushed(): { readonly subscribers: number; readonly frames: number; readonly bytes: number } {
    return { subscribers: this.#publisher.subscribers.size, ...this.#publisher.sent };
  }

  /** The node is complete: serves it and makes it known. */
  begin(node: ClusterNode, events: NetworkEvents): void {
    const { parts, apps, gate, identity, metrics, secret } = this.#components;
    this.#node = node;
    const door = new Door(parts, identity.uuid, secret);
    registerDoor(node, door);
    const internal = internalRoutes({
      node,
      members: door.middleware,
      openEndpoints: parts.settings.openEndpoints,
      health: healthRoutes(
        { phase: () => node.phase(), epoch: () => node.epoch.current, lagMs: () => node.lagMs },
        parts.settings,
      ),
      metrics,
      subscribe: (request, nonce) => this.#subscribe(request, nonce),
      report: (report) => this.#take(report),
      announced: (announcement) => this.#onAnnounced(announcement),
      accepted: (uuid) => {
        if (this.#handover?.successor === uuid) this.#handover.accepted.resolve(true);
      },
    });
    const whole = composeApps(node, internal, apps, metrics.middleware);
    this.#serve = (request) => whole.fetch(request);
    this.#leaderClient = new LeaderClient({
      parts,
      pool: this.#pool,
      leader: node.leader,
      uuid: identity.uuid,
      serve: this.#serve,
      sign: (method, path, body, to) => this.#requests.sign(method, path, body, to),
    });
    this.#subscription = this.#newSubscription(events);
    this.#membership = this.#newMembership(events);
    gate.open((request, info) => whole.fetch(request, info));
    this.#membership.start();
    this.#retarget();
  }

  /** The replica names another leader, or none. */
  leaderChanged(previous: Leader | undefined): void {
    this.#membership.follow(previous);
    this.#retarget();
  }

  /** The node has reached an epoch. */
  epochReached(epoch: number): void {
    if (this.#announced === undefined || this.#announced.epoch > epoch) return;
    this.#announced = undefined;
    this.#retarget();
  }

  /** This node leads. */
  lead(): void {
    this.#announced = undefined;
    this.#retarget();
    this.#membership.lead();
    void this.#announce();
  }

  /** An epoch of this node's is durable. */
  publish({ epoch, wal, hash }: DurableDetails): void {
    this.#publisher.publish({ epoch, wal, hash });
  }

  /**
   * This node is about to step down: agrees with a standby that it leads next, if there is one that answers. Who asks while
   * that is under way waits for the same answer.
   */
  handOver(): Promise<void> {
    // Once a leadership: afterwards its last epoch may be on its way, and who accepts then knows nothing of what follows it.
    this.#handover ??= this.#offerLead();
    return this.#handover.over;
  }

  #offerLead(): HandOver {
    const { parts, identity } = this.#components;
    const { clock } = parts.settings;
    const accepted = defer<boolean>();
    const successor = successorOf(this.#membership.members, this.#publisher.subscribers, identity.az);
    // Who is leaving hears no answer.
    if (successor === undefined || this.#isLeaving) return { successor, accepted, over: Promise.resolve() };
    const cancelWait = clock.after(ACCEPT_TIMEOUT_MS, () => accepted.resolve(false));
    this.#publisher.handOver(successor, "offer");
    const over = accepted.promise.then((isAccepted) => {
      cancelWait();
      if (isAccepted) this.#publisher.handOver(successor, "handover");
    });
    return { successor, accepted, over };
  }

  /** This node leads no more. */
  stoppedLeading(): void {
    this.#handover?.accepted.resolve(false);
    this.#handover = undefined;
    this.#publisher.end();
    this.#membership.selfChanged();
    this.#retarget();
  }

  connectToRole(role: string, options: RoleClientOptions): RoleClient {
    const { parts, identity } = this.#components;
    const client = new RoleClient(
      {
        parts,
        pool: this.#pool,
        members: this.#node.members,
        uuid: identity.uuid,
        az: identity.az,
        serve: this.#serve,
        sign: (method, path, body, to) => this.#requests.sign(method, path, body, to),
        onClosed: () => this.#roleClients.delete(client),
      },
      role,
      options,
    );
    this.#roleClients.add(client);
    return client;
  }

  /** An epoch of the leader's that begins after this call. */
  async askBarrier(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<DurableEpoch> {
    return await this.#leaderClient.postForJson<DurableEpoch>(BARRIER_PATH, { signal, timeoutMs });
  }

  /** Asks the leader for a rollback. */
  askRollback(point: Point, options: RollbackOptions): Promise<Rollback> {
    const { clock } = this.#components.parts.settings;
    return askRollback(this.#leaderClient.fetch, point, options, { clock, epoch: () => this.#node.epoch.current });
  }

  /**
   * Takes no more requests and, unless it leads, says goodbye. Resolves when no handler runs any more; answers may take
   * `graceMs`.
   */
  async leave(graceMs: number): Promise<void> {
    this.#isLeaving = true;
    const { listener, gate } = this.#components;
    this.#listenerClosed = listener.close(graceMs);
    this.#membership.leave();
    if (this.#node.role.current !== "leader") {
      this.#subscription.follow(undefined);
      await this.#membership.close();
    }
    await gate.idle();
  }

  /** Lets answers in flight finish, then closes everything. */
  async close(): Promise<void> {
    this.#publisher.end();
    await this.#membership.close();
    this.#subscription.follow(undefined);
    await this.#listenerClosed;
    await this.#leaderClient.close();
    for (const client of this.#roleClients) await client.close();
    await this.#pool.close();
  }

  /** Ends what `close` still waits for; safe twice. */
  async cut(): Promise<void> {
    // Asked to leave, the listener has as long as the whole shutdown, but began later.
    await Promise.all([this.#pool.close(0), this.#components.listener.close(0)]);
  }

  /** Follows the stream of whoever leads, or says so. */
  #retarget(): void {
    const { uuid } = this.#components.identity;
    const leader = this.#announced?.leader ?? this.#node.leader.current;
    const isOurs = this.#node.role.current === "leader" || leader?.uuid === uuid;
    this.#subscription.follow(isOurs || this.#isLeaving ? undefined : leader);
    const addresses = new Set(this.#membership.members.map(({ address }) => address));
    if (leader !== undefined) addresses.add(leader.address);
    this.#pool.keep(addresses);
  }

  #newSubscription(events: NetworkEvents): Subscription {
    const { parts, metrics } = this.#components;
    return new Subscription(parts, {
      open: (leader, signal) => this.#openStream(leader, signal),
      onOffered: events.onOffered,
      onFrame: (bytes) => metrics.frameReceived(bytes),
      onRoster: (members) => this.#membership.told(members),
      onOffer: (leader) => {
        if (this.#node.role.current !== "standby" || this.#isLeaving) return;
        events.onAccepting();
        void this.#accept(leader);
      },
      onHandover: events.onHandover,
      onClosed: (isOurs) => {
        if (!isOurs) metrics.fellBackToStore();
        events.onStreamClosed();
      },
      onRefused: (leader) => {
        if (leader.uuid === this.#node.leader.current?.uuid) events.onLeaderRefused();
      },
      onFailed: (leader) => {
        if (leader.uuid !== this.#announced?.leader.uuid) return;
        this.#announced = undefined;
        this.#retarget();
      },
    });
  }

  #newMembership(events: NetworkEvents): Membership {
    const node = this.#node;
    return new Membership(this.#components.parts, {
      self: () => this.#member(),
      leader: () => node.leader.current,
      isLeading: () => node.role.current === "leader",
      isStreaming: () => this.#subscription.isOpen,
      subscribers: () => this.#publisher.subscribers,
      report: (leader, report, signal) => this.#report(leader, report, signal),
      isRefusing: (address) => this.#requests.isRefusing(address),
      publish: (members) => this.#publisher.publishRoster(members),
      onMembers: (members, isNews) => {
        events.onMembers(members, isNews);
        if (isNews) this.#retarget();
      },
    });
  }

  #member(): Member {
    const { uuid, az, address, roles, startedAt } = this.#components.identity;
    const node = this.#node;
    return {
      uuid,
      az,
      address,
      role: node.role.current,
      roles,
      runtime: runtimeName(),
      version: VERSION,
      epoch: node.epoch.current,
      lagMs: Math.round(node.lagMs),
      startedAt,
    };
  }

  async #openStream(leader: Leader, signal: AbortSignal): Promise<OpenStream> {
    const request: SubscribeRequest = { member: this.#member(), epoch: this.#node.epoch.current };
    const limits = { signal, timeoutMs: SUBSCRIBE_TIMEOUT_MS, bodyTimeoutMs: Number.POSITIVE_INFINITY };
    const { response, nonce } = await this.#requests.post(leader, EPOCHS_PATH, request, limits);
    const name = { nonce, from: leader.uuid, to: this.#components.identity.uuid };
    return { response, mac: new StreamMac(this.#requests.secret(), name) };
  }

  #subscribe({ member, epoch }: SubscribeRequest, nonce: string): ReadableStream<Uint8Array> {
    const name = { nonce, from: this.#components.identity.uuid, to: member.uuid };
    const stream = this.#publisher.subscribe({
      member: member.uuid,
      epoch,
      mac: new StreamMac(this.#requests.secret(), name),
      onLost: () => this.#membership.lost(member.uuid),
    });
    this.#membership.take({ member, isLeaving: false });
    return stream;
  }

  #take(report: Report): void {
    if (report.isLeaving) this.#publisher.drop(report.member.uuid);
    this.#membership.take(report);
  }

  async #report(leader: Leader, report: Report, signal: AbortSignal): Promise<readonly Member[] | undefined> {
    const { sessionTimeoutMs } = this.#components.parts.settings;
    const limits = { signal, timeoutMs: sessionTimeoutMs };
    const { response } = await this.#requests.post(leader, GOSSIP_PATH, report, limits);
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`the leader answered ${response.status}`);
    }
    const { members } = (await response.json()) as { members: unknown };
    return members === null ? undefined : membersShape.parse(members);
  }

  /** If that does not arrive in time, the leader steps down without a successor. */
  async #accept(leader: Leader): Promise<void> {
    const acceptance: Acceptance = { uuid: this.#components.identity.uuid };
    try {
      const limits = { timeoutMs: ACCEPT_TIMEOUT_MS };
      const { response } = await this.#requests.post(leader, ACCEPT_PATH, acceptance, limits);
      await response.body?.cancel();
    } catch (error) {
      const { log } = this.#components.parts;
      log({ level: "debug", event: "acceptance_lost", to: leader.uuid, reason: errorMessage(error) });
    }
  }

  #onAnnounced(announcement: Announcement): void {
    if (this.#node.role.current === "leader" || announcement.epoch <= this.#node.epoch.current) return;
    this.#announced = announcement;
    this.#retarget();
  }

  /** Tells the members of the last roster that this node leads: they need not wait until they find out. */
  async #announce(): Promise<void> {
    const { identity, parts } = this.#components;
    const { uuid, az, address } = identity;
    const announcement: Announcement = { leader: { uuid, az, address }, epoch: this.#node.epoch.current };
    const others = this.#membership.members.filter((member) => member.uuid !== uuid);
    const tell = async (): Promise<void> => {
      for (let next = others.pop(); next !== undefined && !this.#isLeaving; next = others.pop()) {
        try {
          await this.#requests.postOnce(next, LEADING_PATH, announcement, { timeoutMs: ANNOUNCE_TIMEOUT_MS });
        } catch (error) {
          parts.log({ level: "debug", event: "announcement_lost", to: next.uuid, reason: errorMessage(error) });
        }
      }
    };
    await Promise.all(Array.from({ length: ANNOUNCE_PARALLEL }, tell));
  }
}
