/** A node's part of the network: its server, the internal routes, gossip, and the way to the leader. */
import { Hono } from "hono";
import { z } from "zod";
import { toBase64Url } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";
import type { Leader } from "../format/system-rows.ts";
import { RequestVerifier, requireClusterAuth, signRequest } from "../net/auth.ts";
import type { Listener } from "../net/server.ts";
import { runtimeName } from "../platform/system.ts";
import type { Member } from "../protocol/roster.ts";
import { VERSION } from "../version.ts";
import { composeApps, type NodeApps, type NodeEnv, notLeading } from "./apps.ts";
import type { DurableEpoch } from "./batch.ts";
import { Gossip, type GossipAnswer, type GossipReport } from "./gossip.ts";
import { LeaderClient } from "./leader-client.ts";
import type { ClusterNode, NodeIdentity } from "./node.ts";
import type { NodeParts } from "./parts.ts";

const NONCE_BYTES = 18;
/** Where the internal routes are. */
const INTERNAL = "/.lbc";

/** Serves requests; until a node is there, with 503. */
export class RequestGate {
  #handle: ((request: Request, info: object) => Response | Promise<Response>) | undefined;

  readonly fetch = (request: Request, info: object): Response | Promise<Response> => {
    if (this.#handle !== undefined) return this.#handle(request, info);
    return Response.json(
      { error: "the node is joining the cluster" },
      { status: 503, headers: { "Retry-After": "1" } },
    );
  };

  open(handle: (request: Request, info: object) => Response | Promise<Response>): void {
    this.#handle = handle;
  }
}

const memberShape = z.object({
  uuid: z.string().min(1).max(100),
  az: z.string().max(100),
  address: z.string().max(300),
  roles: z.array(z.string().max(64)).max(100),
  runtime: z.string().max(100),
  version: z.string().max(100),
  epoch: z.number().int(),
  startedAt: z.string().max(100),
});
const reportShape = z.object({ member: memberShape, leaving: z.boolean() });

export interface NetworkComponents {
  readonly parts: NodeParts;
  readonly identity: NodeIdentity;
  readonly listener: Listener;
  readonly gate: RequestGate;
  readonly apps: NodeApps;
  /** The cluster's secret; `undefined` in a cluster of the original without a configured one. */
  secret(): string | undefined;
}

export class NodeNetwork {
  readonly #components: NetworkComponents;
  #node!: ClusterNode;
  #gossip!: Gossip;
  #leaderClient!: LeaderClient;
  #verifier: RequestVerifier | undefined;

  constructor(components: NetworkComponents) {
    this.#components = components;
  }

  get leaderClient(): LeaderClient {
    return this.#leaderClient;
  }

  /** The node is complete: serves it and makes it known. */
  begin(node: ClusterNode, events: { onMembers(members: readonly Member[]): void }): void {
    const { parts, apps, gate, identity } = this.#components;
    this.#node = node;
    const whole = composeApps(node, this.#internalRoutes(), apps);
    gate.open((request, info) => whole.fetch(request, info));
    this.#leaderClient = new LeaderClient({
      parts,
      leader: node.leader,
      isSelf: (leader) => leader.uuid === identity.uuid,
      serve: (request) => whole.fetch(request),
    });
    this.#gossip = new Gossip(parts, {
      self: () => this.#member(),
      leader: () => node.leader.current,
      isLeading: () => node.role.current === "leader",
      report: (leader, report, signal) => this.#report(leader, report, signal),
      onMembers: events.onMembers,
    });
    this.#gossip.start();
  }

  /** Another node leads, or this one. */
  leaderChanged(previous: Leader | undefined): void {
    this.#gossip.leaderChanged(previous);
  }

  /** An epoch of the leader's that begins after this call. */
  async askBarrier(signal: AbortSignal | undefined, timeoutMs: number | undefined): Promise<DurableEpoch> {
    const path = `${INTERNAL}/barrier`;
    const limits = { ...(signal === undefined ? {} : { signal }), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
    const init = { method: "POST", idempotent: true, ...limits };
    const response = await this.#leaderClient.fetchSigned(path, init, () => this.#sign("POST", path, ""));
    if (response.ok) return (await response.json()) as DurableEpoch;
    throw new ClusterError(
      "unavailable",
      "barrier_refused",
      `the leader answered ${response.status}: ${await response.text()}`,
      { status: response.status },
    );
  }

  /** Lets answers in flight finish, then says goodbye. */
  async close(graceMs: number): Promise<void> {
    await this.#components.listener.close(graceMs);
    await this.#gossip.close();
    await this.#leaderClient.close();
  }

  /** Ends what `close` still waits for; safe twice. */
  async cut(): Promise<void> {
    await this.#leaderClient.close(0);
  }

  #member(): Member {
    const { uuid, az, address, roles, startedAt } = this.#components.identity;
    return {
      uuid,
      az,
      address,
      roles,
      startedAt,
      runtime: runtimeName(),
      version: VERSION,
      epoch: this.#node.epoch.current,
    };
  }

  async #report(leader: Leader, report: GossipReport, signal: AbortSignal): Promise<GossipAnswer> {
    const path = `${INTERNAL}/gossip`;
    const body = JSON.stringify(report);
    const headers = { ...this.#sign("POST", path, body), "content-type": "application/json" };
    const { sessionTimeoutMs } = this.#components.parts.settings;
    const init = { method: "POST", body, headers, signal };
    const response = await this.#leaderClient.send(leader, path, init, sessionTimeoutMs);
    if (!response.ok)
      throw new ClusterError("unavailable", "gossip_refused", `the leader answered ${response.status}`, {
        status: response.status,
      });
    return (await response.json()) as GossipAnswer;
  }

  #sign(method: string, path: string, body: string): Record<string, string> {
    const { parts, secret } = this.#components;
    const { clock, random } = parts.settings;
    const value = secret();
    if (value === undefined)
      throw new ClusterError("invalid", "no_secret", "the cluster has no secret: configure one to talk to its members");
    return {
      ...signRequest({
        method,
        path,
        body,
        secret: value,
        nowMs: clock.wallMs(),
        nonce: toBase64Url(random.bytes(NONCE_BYTES)),
      }),
    };
  }

  #internalRoutes(): Hono<NodeEnv> {
    const routes = new Hono<NodeEnv>();
    const node = this.#node;
    routes.get(`${INTERNAL}/status`, (c) => c.json(node.status()));
    routes.use(`${INTERNAL}/gossip`, (c, next) => this.#authenticate(c, next));
    routes.use(`${INTERNAL}/barrier`, (c, next) => this.#authenticate(c, next));
    routes.post(`${INTERNAL}/gossip`, async (c) => {
      const report = reportShape.safeParse(await c.req.json().catch(() => undefined));
      if (!report.success) return c.json({ error: "not a report of a member" }, 400);
      return c.json(this.#gossip.take(report.data));
    });
    routes.post(`${INTERNAL}/barrier`, async (c) => {
      if (node.role.current === "leader") return c.json(await node.barrier());
      return notLeading(c, node);
    });
    return routes;
  }

  async #authenticate(
    c: Parameters<ReturnType<typeof requireClusterAuth>>[0],
    next: () => Promise<void>,
  ): Promise<Response | undefined> {
    const { parts, secret } = this.#components;
    const value = secret();
    if (value === undefined) return c.json({ error: "the cluster has no secret, so nobody can authenticate" }, 401);
    this.#verifier ??= new RequestVerifier({ secret: value, clock: parts.settings.clock });
    const answer = await requireClusterAuth(this.#verifier, { bodyBytesMax: parts.settings.requestBytesMax })(c, next);
    return answer ?? undefined;
  }
}
