/**
 * The Hono application that a node serves: the library's own routes, then the
 * user's (docs/architecture.md §6).
 */
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { ClusterError, type ErrorKind, isClusterError } from "../errors.ts";
import type { ClusterNode } from "./node.ts";
import { TO_HEADER } from "./node-requests.ts";

/** What handlers find in Hono's context: `c.var.node`. */
export interface NodeEnv {
  Variables: {
    /** The node that serves the request. */
    node: ClusterNode;
  };
}

/** A Hono application of the user's, whatever its types. */
// biome-ignore lint/suspicious/noExplicitAny: an application's variables, schema and base path are its own business.
export type UserApp = Hono<any, any, any>;

/** What a node serves besides the library's own routes. */
export interface NodeApps {
  /** Served by every node that is given it. */
  readonly app?: UserApp | undefined;
  /** Served only while the node leads; 503 with `error`, `leader` and `Retry-After` otherwise. */
  readonly leaderApp?: UserApp | undefined;
  /** Role → its application; `null` for a role without one. */
  readonly roles?: Readonly<Record<string, UserApp | null>> | undefined;
}

/** On every answer: the epoch that the node had reached. */
export const EPOCH_HEADER = "x-lbc-epoch";
/** On the 503 of a node that does not lead. */
export const NOT_LEADER_HEADER = "x-lbc-not-leader";
const RETRY_AFTER_SECONDS = "1";
/** Requests with these may be sent again though they may have taken effect (RFC 9110 §9.2.2). */
export const REPEATABLE_METHODS: readonly string[] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];

/** On the 421 of a node that is not the one that was meant: another run of it listened there before. */
export const MISDIRECTED_HEADER = "x-lbc-misdirected";

/**
 * The application that serves `node`.
 *
 * @param first goes before everything else
 */
export function composeApps(
  node: ClusterNode,
  internal: Hono<NodeEnv>,
  apps: NodeApps,
  first: MiddlewareHandler,
): Hono<NodeEnv> {
  const whole = new Hono<NodeEnv>();
  whole.use(first);
  whole.use(async (c, next) => {
    c.set("node", node);
    const to = c.req.header(TO_HEADER);
    if (to !== undefined && to !== node.uuid) {
      return c.json({ error: `this is node ${node.uuid}, not ${to}` }, 421, { [MISDIRECTED_HEADER]: "1" });
    }
    await next();
    const epoch = String(node.epoch.current);
    try {
      c.res.headers.set(EPOCH_HEADER, epoch);
    } catch {
      // Those of an answer that a handler got from `fetch` are immutable: copies the answer, which costs more.
      c.header(EPOCH_HEADER, epoch);
    }
    return undefined;
  });
  whole.route("/", internal);
  if (apps.app !== undefined) whole.route("/", apps.app);
  for (const app of Object.values(apps.roles ?? {})) {
    if (app !== null) whole.route("/", app);
  }
  if (apps.leaderApp !== undefined) whole.route("/", guarded(apps.leaderApp));
  whole.notFound((c) => c.json({ error: `no route for ${c.req.method} ${c.req.path}` }, 404));
  whole.onError((error, c) => {
    if (!isClusterError(error)) throw error;
    // What may be repeated can be asked again where the leader is by now.
    if (error.kind === "not_leader" && REPEATABLE_METHODS.includes(c.req.method)) c.header(NOT_LEADER_HEADER, "1");
    return c.json(error.toJSON(), statusOf(error.kind));
  });
  return whole;
}

/** The leader's application, each of its routes behind a check that the node leads. */
function guarded(leaderApp: UserApp): Hono<NodeEnv> {
  const guard = new Hono<NodeEnv>();
  for (const { method, path } of leaderApp.routes) {
    guard.on(method === "ALL" ? ALL_METHODS : [method], path, async (c, next) => {
      if (c.var.node.isLeading) return next();
      return notLeading(c);
    });
  }
  guard.route("/", leaderApp);
  return guard;
}

/**
 * The answer of a handler that did nothing because the node does not lead, or does no more: 503, with who leads. A
 * `leaderClient` that gets it asks again, whatever the method, where the leader is by then; so never answer with it what
 * may have had an effect.
 */
export function notLeading(c: Context<NodeEnv>): Response {
  return c.json({ error: "this node does not lead", leader: c.var.node.leader.current ?? null }, 503, {
    "Retry-After": RETRY_AFTER_SECONDS,
    [NOT_LEADER_HEADER]: "1",
  });
}

const ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** The HTTP status that says the same as an error's kind. */
export function statusOf(kind: ErrorKind): 400 | 409 | 429 | 500 | 502 | 503 {
  switch (kind) {
    case "invalid":
      return 400;
    case "fenced":
      return 409;
    case "overloaded":
      return 429;
    case "corrupt":
      return 500;
    case "outcome_unknown":
      return 502;
    case "not_leader":
    case "unavailable":
    case "closed":
      return 503;
  }
}

/** Names of the roles, sorted. */
export function roleNames(apps: NodeApps): readonly string[] {
  const names = Object.keys(apps.roles ?? {}).sort();
  const bad = names.find((name) => !/^[\w.-]{1,64}$/.test(name));
  if (bad !== undefined) {
    throw new ClusterError(
      "invalid",
      "bad_role",
      `role ${JSON.stringify(bad)}: a role's name is 1 to 64 letters, digits, dots, dashes, underscores`,
    );
  }
  return names;
}
