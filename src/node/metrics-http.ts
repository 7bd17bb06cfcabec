/** Requests that a node serves: how many, by method and class of status, and how long until their answer began. */
import type { MiddlewareHandler } from "hono";
import { Counter, Histogram, type Registry } from "prom-client";
import type { Clock } from "../base/clock.ts";
import { LATENCY_BUCKETS_SECONDS } from "./metrics-store.ts";

const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
/** A client may send any word as method: the rest is one label, so that nobody fills the memory with them. */
const OTHER = "other";
const CLASSES: readonly string[] = [OTHER, "1xx", "2xx", "3xx", "4xx", "5xx"];

/** Goes before every other middleware, once. */
export function httpMetrics(registry: Registry, clock: Clock): MiddlewareHandler {
  const requests = new Counter({
    name: "lbc_http_requests_total",
    help: "Requests that the node served, by method and class of status.",
    labelNames: ["method", "status"],
    registers: [registry],
  });
  const duration = new Histogram({
    name: "lbc_http_request_duration_seconds",
    help: "How long it took until the answer to a request began, by method.",
    labelNames: ["method"],
    buckets: LATENCY_BUCKETS_SECONDS,
    registers: [registry],
  });
  const served = (request: Request, status: number, beganMs: number) => {
    const method = METHODS.has(request.method) ? request.method : OTHER;
    requests.inc({ method, status: CLASSES[Math.floor(status / 100)] ?? OTHER });
    duration.observe({ method }, (clock.monotonicMs() - beganMs) / 1000);
  };
  return async (c, next) => {
    const beganMs = clock.monotonicMs();
    try {
      await next();
    } catch (error) {
      // What no handler took, the server answers.
      served(c.req.raw, 500, beganMs);
      throw error;
    }
    served(c.req.raw, c.res.status, beganMs);
  };
}
