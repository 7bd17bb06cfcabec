/** What the routes between nodes do with a node that is about to change its mind. */
import { Hono } from "hono";
import { expect, it } from "vitest";
import { NOT_LEADER_HEADER, type NodeEnv } from "../../src/node/apps.ts";
import { BARRIER_PATH, type InternalHost, internalRoutes } from "../../src/node/internal-routes.ts";
import type { ClusterNode } from "../../src/node/node.ts";

/** One whose leadership has just ended while it leaves: its role says nothing of that any more. */
const LEAVING: Partial<Record<keyof ClusterNode, unknown>> = {
  role: { current: "leader" },
  leader: { current: undefined },
  leaderBarrier: async () => undefined,
  barrier: () => expect.fail("it asked whoever leads: itself, which asked whoever leads"),
};

it("a node that is asked as the leader for a barrier never asks whoever leads", async () => {
  const node = LEAVING as unknown as ClusterNode;
  const host: Partial<InternalHost> = {
    node,
    members: async (_c, next) => await next(),
    openEndpoints: [],
    health: new Hono(),
  };
  const app = new Hono<NodeEnv>();
  app.use(async (c, next) => {
    c.set("node", node);
    await next();
  });
  app.route("/", internalRoutes(host as InternalHost));
  const response = await app.request(BARRIER_PATH, { method: "POST" });
  expect(response.status).toBe(503);
  expect(response.headers.has(NOT_LEADER_HEADER)).toBe(true);
});
