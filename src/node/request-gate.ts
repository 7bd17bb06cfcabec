/** What a node's listener hands its requests to. */
import { Hono } from "hono";
import type { ClusterSettings } from "../config.ts";
import { healthRoutes, JOINING } from "./health.ts";

type Handle = (request: Request, info: object) => Response | Promise<Response>;

/** Serves requests; until a node is there, with its health and 503. */
export class RequestGate {
  readonly #joining: Handle;
  #handle: Handle | undefined;
  #running = 0;
  #onIdle: (() => void)[] = [];

  constructor(settings: Pick<ClusterSettings, "readyLagMaxMs" | "openEndpoints">) {
    const health = settings.openEndpoints.includes("health") ? healthRoutes(JOINING, settings) : new Hono();
    health.notFound((c) => c.json({ error: "the node is joining the cluster" }, 503, { "Retry-After": "1" }));
    this.#joining = (request) => health.fetch(request);
  }

  readonly fetch = async (request: Request, info: object): Promise<Response> => {
    this.#running++;
    try {
      return await (this.#handle ?? this.#joining)(request, info);
    } finally {
      this.#running--;
      if (this.#running === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
    }
  };

  /** From now on the node answers. */
  open(handle: Handle): void {
    this.#handle = handle;
  }

  /** Resolves when no handler runs. Bodies of answers may still be on their way. */
  idle(): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }
}
