/** Letting in only who holds the cluster's secret. */
import type { Context, MiddlewareHandler, Next } from "hono";
import { RequestVerifier, requireClusterAuth } from "../net/auth.ts";
import type { NodeEnv } from "./apps.ts";
import type { ClusterNode } from "./node.ts";
import type { NodeParts } from "./parts.ts";

/** The door of one node: the verifier behind it remembers what it has seen. */
export class Door {
  readonly #parts: NodeParts;
  readonly #uuid: string;
  readonly #secret: () => string | undefined;
  #check: MiddlewareHandler | undefined;

  constructor(parts: NodeParts, uuid: string, secret: () => string | undefined) {
    this.#parts = parts;
    this.#uuid = uuid;
    this.#secret = secret;
  }

  /** Lets the request on, or answers 401, 413 or 503. */
  readonly middleware: MiddlewareHandler = async (c: Context, next: Next): Promise<Response | undefined> => {
    const secret = this.#secret();
    if (secret === undefined) return c.json({ error: "the cluster has no secret, so nobody can authenticate" }, 401);
    const { clock, requestBytesMax: bodyBytesMax } = this.#parts.settings;
    this.#check ??= requireClusterAuth(new RequestVerifier({ secret, to: this.#uuid, clock }), { bodyBytesMax });
    return (await this.#check(c, next)) ?? undefined;
  };
}

const doors = new WeakMap<ClusterNode, Door>();

/** Makes a node's door known to {@link clusterAuth}. */
export function registerDoor(node: ClusterNode, door: Door): void {
  doors.set(node, door);
}

/**
 * Hono middleware for routes of your own that only members of the cluster may use: requests that another node signed
 * with the cluster's secret, as `leaderClient.fetch(path, { authenticate: true })` does. Everything else gets 401
 * `{ error, code }` and the handler does not run. The body is read into memory, at most `requestBytesMax`.
 *
 * ```ts
 * const app = new Hono<NodeEnv>().use("/admin/*", clusterAuth()).post("/admin/drain", (c) => c.text("draining"));
 * ```
 */
export function clusterAuth(): MiddlewareHandler<NodeEnv> {
  return async (c, next) => {
    const door = doors.get(c.var.node);
    if (door === undefined) throw new Error("clusterAuth() is for applications that a node serves");
    return await door.middleware(c, next);
  };
}
