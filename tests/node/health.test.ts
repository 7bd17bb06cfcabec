import { describe, expect, it } from "vitest";
import { type HealthPhase, type HealthSource, healthRoutes, JOINING } from "../../src/node/health.ts";

const LIVE = "http://node/.lbc/health/live";
const READY = "http://node/.lbc/health/ready";
const settings = { readyLagMaxMs: 1000 };

function at(phase: HealthPhase, lagMs: number = 0): HealthSource {
  return { phase: () => phase, epoch: () => 42, lagMs: () => lagMs };
}

async function ask(source: HealthSource, url: string) {
  const response = await healthRoutes(source, settings).request(url);
  const { headers, status } = response;
  const isJson = headers.get("content-type") === "application/json";
  return { status, body: isJson ? await response.json() : undefined, headers };
}

describe("health", () => {
  it.each(["joining", "joined", "leaving"] as const)("a node that is %s is live", async (phase) => {
    const { status, body, headers } = await ask(at(phase), LIVE);
    expect([status, body, headers.get("retry-after")]).toEqual([200, { status: "live" }, null]);
  });

  it.each(["closed", "failed"] as const)("a node that is %s is neither live nor ready", async (phase) => {
    const live = await ask(at(phase), LIVE);
    expect([live.status, live.body, live.headers.get("retry-after")]).toEqual([503, { status: phase }, "1"]);
    const ready = await ask(at(phase), READY);
    expect([ready.status, ready.body]).toEqual([503, { status: phase, epoch: 42, lag_ms: 0 }]);
  });

  it("a node that has joined is ready up to the limit of its lag, and lagging beyond", async () => {
    expect(await ask(at("joined", 0.4), READY)).toMatchObject({
      status: 200,
      body: { status: "ready", epoch: 42, lag_ms: 0 },
    });
    expect(await ask(at("joined", 1000), READY)).toMatchObject({ status: 200, body: { lag_ms: 1000 } });
    const lagging = await ask(at("joined", 1001), READY);
    expect([lagging.status, lagging.body]).toEqual([503, { status: "lagging", epoch: 42, lag_ms: 1001 }]);
    expect(lagging.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
  });

  it("a node that cannot tell its lag is not ready", async () => {
    for (const lagMs of [Number.POSITIVE_INFINITY, Number.NaN])
      expect(await ask(at("joined", lagMs), READY)).toMatchObject({
        status: 503,
        body: { status: "lagging", epoch: 42, lag_ms: null },
      });
  });

  it("a node that joins has no epoch to tell, one that leaves is not to be sent requests", async () => {
    const joining = await ask(JOINING, READY);
    expect([joining.status, joining.body]).toEqual([503, { status: "joining" }]);
    expect((await ask(JOINING, LIVE)).status).toBe(200);
    const leaving = await ask(at("leaving"), READY);
    expect([leaving.status, leaving.body]).toEqual([503, { status: "leaving", epoch: 42, lag_ms: 0 }]);
    for (const { headers } of [joining, leaving]) expect(headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
  });

  it("an answer is not kept by anyone on the way; HEAD answers like GET, and nothing else does", async () => {
    const routes = healthRoutes(at("joined"), settings);
    for (const url of [LIVE, READY]) {
      expect((await ask(at("joined"), url)).headers.get("cache-control")).toBe("no-store");
      const head = await routes.request(url, { method: "HEAD" });
      expect([head.status, await head.text()]).toEqual([200, ""]);
      expect((await routes.request(url, { method: "POST" })).status).toBe(404);
    }
  });
});
