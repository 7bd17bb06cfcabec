/**
 * Health for load balancers and orchestrators: whether the process is to be
 * restarted (`live`), and whether it is to be sent requests (`ready`).
 */
import { Hono } from "hono";

/** Where a node's life is. */
export type HealthPhase = "joining" | "joined" | "leaving" | "closed" | "failed";

/** What health is judged by. */
export interface HealthSource {
  phase(): HealthPhase;
  /** The epoch that the node has reached. */
  epoch(): number;
  /** How far it is behind, milliseconds; `Infinity` if it cannot tell. */
  lagMs(): number;
}

/** An answer: 200 or 503, and its JSON. */
export interface HealthAnswer {
  readonly status: 200 | 503;
  readonly body: HealthBody;
}

export interface HealthBody {
  readonly status: "live" | "ready" | "lagging" | Exclude<HealthPhase, "joined">;
  readonly epoch?: number;
  /** `null` if the node cannot tell. */
  readonly lag_ms?: number | null;
}

/** A node that has not joined yet: nothing of it can be asked. */
export const JOINING: HealthSource = { phase: () => "joining", epoch: () => -1, lagMs: () => Number.POSITIVE_INFINITY };

/** The process serves: also while it joins and leaves. */
export function liveness(phase: HealthPhase): HealthAnswer {
  const isOver = phase === "closed" || phase === "failed";
  return isOver ? { status: 503, body: { status: phase } } : { status: 200, body: { status: "live" } };
}

/** The node has joined, and what it reads is recent. */
export function readiness(source: HealthSource, lagMaxMs: number): HealthAnswer {
  const phase = source.phase();
  if (phase === "joining") return { status: 503, body: { status: phase } };
  const lagMs = source.lagMs();
  const state = { epoch: source.epoch(), lag_ms: Number.isFinite(lagMs) ? Math.round(lagMs) : null };
  if (phase !== "joined") return { status: 503, body: { status: phase, ...state } };
  if (lagMs <= lagMaxMs) return { status: 200, body: { status: "ready", ...state } };
  return { status: 503, body: { status: "lagging", ...state } };
}

export const LIVE_PATH = "/.lbc/health/live";
export const READY_PATH = "/.lbc/health/ready";
/** A probe that comes sooner learns nothing new. */
const RETRY_AFTER_SECONDS = "1";

/** `GET` of {@link LIVE_PATH} and {@link READY_PATH}. */
export function healthRoutes(source: HealthSource, settings: { readonly readyLagMaxMs: number }): Hono {
  const routes = new Hono();
  routes.get(LIVE_PATH, () => response(liveness(source.phase())));
  routes.get(READY_PATH, () => response(readiness(source, settings.readyLagMaxMs)));
  return routes;
}

function response({ status, body }: HealthAnswer): Response {
  const retryAfter = status === 503 ? { "Retry-After": RETRY_AFTER_SECONDS } : {};
  return Response.json(body, { status, headers: { "Cache-Control": "no-store", ...retryAfter } });
}
