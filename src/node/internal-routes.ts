/** What a node serves below `/.lbc` (docs/architecture.md §6). */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import type { z } from "zod";
import type { OpenEndpoint } from "../config.ts";
import { NONCE_HEADER } from "../net/auth.ts";
import { type NodeEnv, notLeading } from "./apps.ts";
import {
  type Announcement,
  acceptanceShape,
  announcementShape,
  type Report,
  reportShape,
  rollbackShape,
  type SubscribeRequest,
  subscribeShape,
} from "./member-shape.ts";
import type { ClusterNode } from "./node.ts";
import { ROLLBACK_PATH, rollbackAnswer } from "./rollback-request.ts";

export const EPOCHS_PATH = "/.lbc/epochs";
export const GOSSIP_PATH = "/.lbc/gossip";
export const LEADING_PATH = "/.lbc/leading";
export const ACCEPT_PATH = "/.lbc/accept";
export const BARRIER_PATH = "/.lbc/barrier";

/** Whom the routes ask. */
export interface InternalHost {
  readonly node: ClusterNode;
  /** Lets only members on. */
  readonly members: MiddlewareHandler;
  readonly openEndpoints: readonly OpenEndpoint[];
  readonly health: Hono;
  readonly metrics: { text(): Promise<string>; readonly contentType: string };
  /** As the leader: a stream of what is after the epoch. `nonce` names the request. */
  subscribe(request: SubscribeRequest, nonce: string): ReadableStream<Uint8Array>;
  /** As the leader: takes what a member tells of itself. */
  report(report: Report): void;
  /** Another node says that it leads. */
  announced(announcement: Announcement): void;
  /** As the leader: the member would lead next. */
  accepted(uuid: string): void;
}

export function internalRoutes(host: InternalHost): Hono<NodeEnv> {
  const routes = new Hono<NodeEnv>();
  const { node, members, openEndpoints } = host;
  const close = (endpoint: OpenEndpoint, path: string) => {
    if (!openEndpoints.includes(endpoint)) routes.use(path, members);
  };
  close("status", "/.lbc/status");
  close("health", "/.lbc/health/*");
  close("metrics", "/.lbc/metrics");
  const paths = ["/.lbc/members", EPOCHS_PATH, GOSSIP_PATH, LEADING_PATH, ACCEPT_PATH, BARRIER_PATH, ROLLBACK_PATH];
  for (const path of paths) routes.use(path, members);

  routes.get("/.lbc/status", (c) => c.json(node.status()));
  routes.route("/", host.health);
  routes.get("/.lbc/metrics", async (c) => {
    const text = await host.metrics.text();
    return c.body(text, 200, { "Content-Type": host.metrics.contentType, "Cache-Control": "no-store" });
  });
  routes.get("/.lbc/members", (c) => c.json(node.members.current));
  routes.post(GOSSIP_PATH, async (c) => {
    const report = await bodyOf(c, reportShape);
    if (report === undefined) return c.json({ error: "not a report of a member" }, 400);
    if (node.role.current !== "leader") return notLeading(c);
    host.report(report);
    return c.json({ members: report.wantsRoster ? node.members.current : null });
  });
  routes.post(EPOCHS_PATH, async (c) => {
    const request = await bodyOf(c, subscribeShape);
    if (request === undefined) return c.json({ error: "not a request for epochs" }, 400);
    if (node.role.current !== "leader") return notLeading(c);
    c.header("Content-Type", "application/octet-stream");
    return c.body(host.subscribe(request, c.req.header(NONCE_HEADER) ?? ""));
  });
  routes.post(LEADING_PATH, async (c) => {
    const announcement = await bodyOf(c, announcementShape);
    if (announcement === undefined) return c.json({ error: "not an announcement of a leader" }, 400);
    host.announced(announcement);
    return c.json({});
  });
  routes.post(ACCEPT_PATH, async (c) => {
    const acceptance = await bodyOf(c, acceptanceShape);
    if (acceptance === undefined) return c.json({ error: "not an acceptance of the leadership" }, 400);
    if (node.role.current !== "leader") return notLeading(c);
    host.accepted(acceptance.uuid);
    return c.json({});
  });
  routes.post(BARRIER_PATH, async (c) => {
    // Never of whoever leads instead: that may be this node, as far as it knows.
    const barrier = await node.leaderBarrier();
    return barrier === undefined ? notLeading(c) : c.json(barrier);
  });
  routes.post(ROLLBACK_PATH, async (c) => {
    const request = await bodyOf(c, rollbackShape);
    if (request === undefined) return c.json({ error: "not a request for a rollback" }, 400);
    if (!node.isLeading) return notLeading(c);
    c.header("Content-Type", "application/json");
    return c.body(rollbackAnswer((signal) => node.rollback(request.point, { signal })));
  });
  return routes;
}

async function bodyOf<T>(c: Context, shape: z.ZodType<T>): Promise<T | undefined> {
  return shape.safeParse(await c.req.json().catch(() => undefined)).data;
}
