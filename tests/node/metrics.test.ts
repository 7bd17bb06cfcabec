import { Hono } from "hono";
import { Registry, register } from "prom-client";
import { describe, expect, it } from "vitest";
import { NodeMetrics } from "../../src/node/metrics.ts";
import { httpMetrics } from "../../src/node/metrics-http.ts";
import type { MetricsSource } from "../../src/node/metrics-sink.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { MeteredStore } from "../../src/store/metered-store.ts";
import { FaultyStore } from "../../src/testing/faulty-store.ts";
import { ManualClock } from "../store/manual-clock.ts";
import { join, lead, newStore, QUIET } from "../support/cluster.ts";
import { parsePrometheus, sampleValue } from "../support/prometheus.ts";
import { until } from "../support/wait.ts";

const BODY = new TextEncoder().encode("body");
const HOUR_MS = 60 * 60_000;

function setup(source: Partial<MetricsSource> = {}) {
  const clock = new ManualClock();
  const metrics = new NodeMetrics(clock);
  const below = new FaultyStore(new MemoryStore({ clock }), { clock });
  const store = new MeteredStore(below, { clock, onRequest: (kind, request) => metrics.storeRequest(kind, request) });
  const node: MetricsSource = {
    clusterId: "test",
    uuid: "u-1",
    az: "AZ1",
    meter: store,
    epoch: () => 7,
    lagMs: () => 1500,
    isLeader: () => true,
    memberCount: () => 3,
    acksPending: () => 4,
    earliestEpoch: () => undefined,
    lastDrill: () => undefined,
    snapshotEpoch: () => 5,
    image: () => ({ pageCount: 2, byteLength: 8192, pinCount: 1 }),
    pushed: () => ({ subscribers: 2, frames: 10, bytes: 1000 }),
    ...source,
  };
  const value = async (name: string, labels: Record<string, string> = {}) =>
    sampleValue(await metrics.text(), name, labels);
  return { clock, metrics, below, store, node, value };
}

/** Everything that there can be has happened. */
async function busy() {
  const all = setup();
  const { metrics, node, clock, store } = all;
  metrics.begin(node);
  metrics.epochDurable({ transactions: 3, walBytes: 9000, latencyMs: 12 });
  metrics.epochDurable({ transactions: 0, walBytes: 5000, latencyMs: 31_000 });
  for (const outcome of ["not_written", "outcome_unknown", "rolled_back", "refused"] as const)
    metrics.transactionsLost(outcome, 2);
  metrics.epochsApplied("push", 1, 100);
  metrics.epochsApplied("store", 1, 200);
  metrics.epochsApplied("bootstrap", 40, 300);
  for (const reason of ["vacant", "silent", "stale", "refused"] as const) metrics.tookOver(reason);
  metrics.leadershipEnded({ reason: "fenced", wasLeading: true });
  metrics.leadershipEnded({ reason: "fenced", wasLeading: false });
  metrics.leadershipEnded({ reason: "steppedDown", wasLeading: true });
  metrics.frameReceived(64);
  metrics.fellBackToStore();
  await store.put("a", BODY);
  clock.advance(60_000);
  await store.get("a");
  const app = new Hono().use(metrics.middleware).get("/", (c) => c.text("hello"));
  await app.request("/");
  await app.request("/", { method: "PROPFIND" });
  return all;
}

describe("metrics", () => {
  it("are in the Prometheus text format, before the node has joined, then, and when everything has happened", async () => {
    const { metrics, node } = setup();
    expect(metrics.contentType).toBe("text/plain; version=0.0.4; charset=utf-8");
    const early = parsePrometheus(await metrics.text());
    metrics.begin(node);
    const joined = parsePrometheus(await metrics.text());
    const late = parsePrometheus(await (await busy()).metrics.text());
    expect(early.size).toBeGreaterThan(10);
    expect([...late.keys()]).toEqual([...joined.keys()]);
    expect([...joined.keys()]).toEqual(expect.arrayContaining([...early.keys()]));
    for (const [name, { help }] of late) {
      expect(name).toMatch(/^lbc_[a-z_]+$/);
      expect(name, "base units only").not.toMatch(/(_ms|_milliseconds|_mib|_kib|_percent)(_|$)/);
      expect(help, name).toMatch(/^[A-Z].+[.]$/);
    }
  });

  it("cover what an operator asks for", async () => {
    const { value } = await busy();
    const expected: readonly [string, Record<string, string>, number][] = [
      ["lbc_epoch", {}, 7],
      ["lbc_lag_seconds", {}, 1.5],
      ["lbc_is_leader", {}, 1],
      ["lbc_members", {}, 3],
      ["lbc_acks_pending", {}, 4],
      ["lbc_snapshot_epoch", {}, 5],
      ["lbc_database_pages", {}, 2],
      ["lbc_database_bytes", {}, 8192],
      ["lbc_database_pins", {}, 1],
      ["lbc_epochs_durable_total", {}, 2],
      ["lbc_epoch_transactions_sum", {}, 3],
      ["lbc_epoch_transactions_bucket", { le: "0" }, 1],
      ["lbc_epoch_bytes_sum", {}, 14_000],
      ["lbc_epoch_seal_to_durable_seconds_bucket", { le: "0.01" }, 0],
      ["lbc_epoch_seal_to_durable_seconds_bucket", { le: "0.02" }, 1],
      ["lbc_epoch_seal_to_durable_seconds_bucket", { le: "30" }, 1],
      ["lbc_epoch_seal_to_durable_seconds_count", {}, 2],
      ["lbc_transactions_total", { outcome: "durable" }, 3],
      ["lbc_transactions_total", { outcome: "outcome_unknown" }, 2],
      ["lbc_epochs_applied_total", { source: "push" }, 1],
      ["lbc_epochs_applied_total", { source: "store" }, 1],
      ["lbc_epochs_applied_total", { source: "bootstrap" }, 40],
      ["lbc_epochs_applied_bytes_total", { source: "bootstrap" }, 300],
      ["lbc_takeovers_total", { reason: "vacant" }, 1],
      ["lbc_takeovers_total", { reason: "stale" }, 1],
      ["lbc_fencings_total", {}, 1],
      ["lbc_claims_lost_total", {}, 1],
      ["lbc_push_subscribers", {}, 2],
      ["lbc_push_frames_sent_total", {}, 10],
      ["lbc_push_sent_bytes_total", {}, 1000],
      ["lbc_push_frames_received_total", {}, 1],
      ["lbc_push_received_bytes_total", {}, 64],
      ["lbc_push_fallbacks_total", {}, 1],
      ["lbc_http_requests_total", { method: "GET", status: "2xx" }, 1],
    ];
    for (const [name, labels, wanted] of expected) expect([name, await value(name, labels)]).toEqual([name, wanted]);
    expect(await value("lbc_process_resident_memory_bytes")).toBeGreaterThan(10_000_000);
  });

  it("a counter is there before it moves, so that its first increase is seen", async () => {
    const { metrics, node, value } = setup();
    metrics.begin(node);
    expect(await value("lbc_takeovers_total", { reason: "silent" })).toBe(0);
    expect(await value("lbc_transactions_total", { outcome: "not_written" })).toBe(0);
    expect(await value("lbc_epochs_applied_total", { source: "push" })).toBe(0);
    expect(await value("lbc_store_requests_total", { kind: "list" })).toBe(0);
    expect(await value("lbc_store_request_duration_seconds_count", { kind: "list" })).toBe(0);
  });

  it("a lag that the node cannot tell is infinite", async () => {
    const { metrics, node, value } = setup({ lagMs: () => Number.POSITIVE_INFINITY });
    metrics.begin(node);
    expect(await value("lbc_lag_seconds")).toBe(Number.POSITIVE_INFINITY);
  });

  it("name the node once, whatever its names hold", async () => {
    const odd = 'a"b\\c\nd{},é';
    const { metrics, node } = setup({ clusterId: odd, az: "" });
    metrics.begin(node);
    const info = parsePrometheus(await metrics.text()).get("lbc_node_info");
    expect(info?.samples).toMatchObject([{ value: 1, labels: { cluster_id: odd, uuid: "u-1", az: "" } }]);
    expect(info?.samples[0]?.labels["runtime"]).toMatch(/^(node|deno|bun) \d/);
  });

  it("of several nodes in one process are apart, and nothing is registered for the process", async () => {
    const [one, other] = [setup(), setup()];
    for (const { metrics, node } of [one, other]) metrics.begin(node);
    one.metrics.fellBackToStore();
    expect(await one.value("lbc_push_fallbacks_total")).toBe(1);
    expect(await other.value("lbc_push_fallbacks_total")).toBe(0);
    expect((await register.metrics()).trim()).toBe("");
  });

  it("read at the same time do not disturb each other", async () => {
    const { metrics } = await busy();
    const texts = await Promise.all(Array.from({ length: 8 }, () => metrics.text()));
    const timeless = (text: string) => text.replace(/^lbc_process_.*$/gm, "");
    for (const text of texts) {
      parsePrometheus(text);
      expect(timeless(text)).toBe(timeless(texts[0] ?? ""));
    }
  });
});

describe("the tests' reader of the format", () => {
  const head = (name: string, type: string) => `# HELP ${name} Text.\n# TYPE ${name} ${type}\n`;
  const histogram = (buckets: string, count: number) =>
    `${head("h", "histogram")}${buckets}h_sum 1\nh_count ${count}\n`;

  it.each([
    ["no end of line", `${head("a", "gauge")}a 1`],
    ["no HELP", "# TYPE a gauge\na 1\n"],
    ["no TYPE", "# HELP a Text.\na 1\n"],
    ["a TYPE of another name", "# HELP a Text.\n# TYPE b gauge\na 1\n"],
    ["twice the same metric", `${head("a", "gauge")}a 1\n${head("a", "gauge")}`],
    ["a sample of another metric", `${head("a", "gauge")}b 1\n`],
    ["two samples with the same labels", `${head("a", "gauge")}a{x="1",y="2"} 1\na{y="2",x="1"} 2\n`],
    ["samples with other labels", `${head("a", "gauge")}a{x="1"} 1\na{y="2"} 2\n`],
    ["a label twice", `${head("a", "gauge")}a{x="1",x="2"} 1\n`],
    ["a quotation mark in a label", `${head("a", "gauge")}a{x="1"2"} 1\n`],
    ["not a number", `${head("a", "gauge")}a undefined\n`],
    ["a word for a number", `${head("a", "gauge")}a Nan\n`],
    ["a counter below 0", `${head("a_total", "counter")}a_total -1\n`],
    ["a counter that is not called one", `${head("a", "counter")}a 1\n`],
    ["a gauge that is called a counter", `${head("a_total", "gauge")}a_total 1\n`],
    ["buckets that fall", histogram('h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\n', 1)],
    ["bounds that fall", histogram('h_bucket{le="2"} 0\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\n', 1)],
    ["no last bucket", histogram('h_bucket{le="1"} 1\n', 1)],
    ["a count that is not that of the last bucket", histogram('h_bucket{le="+Inf"} 1\n', 2)],
  ])("refuses %s", (_, text) => {
    expect(() => parsePrometheus(text)).toThrow();
  });

  it("reads what is well formed", () => {
    const text = `${head("a", "gauge")}a{x="1\\n\\"\\\\"} +Inf\na{x=""} -1.5e-7\n\n${histogram('h_bucket{le="0.5"} 0\nh_bucket{le="+Inf"} 1\n', 1)}`;
    expect(sampleValue(text, "a", { x: '1\n"\\' })).toBe(Number.POSITIVE_INFINITY);
    expect(sampleValue(text, "a", { x: "" })).toBe(-1.5e-7);
    expect(sampleValue(text, "h_bucket", { le: "0.5" })).toBe(0);
    expect(sampleValue(text, "a", { x: "other" })).toBeUndefined();
  });
});

describe("metrics of the store", () => {
  it("are the meter's counts, also of what was before the node joined, and never twice", async () => {
    const { metrics, node, store, below, value } = setup();
    await store.put("a", BODY);
    metrics.begin(node);
    await store.put("b", BODY);
    await store.get("a");
    below.onCall = () => ({ kind: "fail_before" });
    await store.get("a").catch(() => {});
    for (const _ of [1, 2]) {
      expect(await value("lbc_store_requests_total", { kind: "put" })).toBe(2);
      expect(await value("lbc_store_requests_total", { kind: "get" })).toBe(2);
      expect(await value("lbc_store_errors_total", { kind: "get" })).toBe(1);
      expect(await value("lbc_store_errors_total", { kind: "put" })).toBe(0);
      expect(await value("lbc_store_sent_bytes_total", { kind: "put" })).toBe(8);
      expect(await value("lbc_store_received_bytes_total", { kind: "get" })).toBe(4);
      expect(await value("lbc_store_request_duration_seconds_count", { kind: "put" })).toBe(2);
      expect(await value("lbc_store_cost_usd_total")).toBeCloseTo((2 * 5 + 2 * 0.4) / 1e6, 12);
    }
  });

  it("measure how long it took", async () => {
    const { metrics, node, store, below, clock, value } = setup();
    metrics.begin(node);
    below.onCall = () => {
      clock.advance(40);
      return undefined;
    };
    await store.put("a", BODY);
    const bucket = (le: string) => value("lbc_store_request_duration_seconds_bucket", { kind: "put", le });
    expect([await bucket("0.02"), await bucket("0.05")]).toEqual([0, 1]);
    expect(await value("lbc_store_request_duration_seconds_sum", { kind: "put" })).toBeCloseTo(0.04, 9);
  });

  it("tell what a month costs as things go now, once there is a rate; joining is not part of it", async () => {
    const { metrics, node, store, clock, value } = setup();
    for (let i = 0; i < 100; i++) await store.list("");
    metrics.begin(node);
    expect(metrics.usdPerMonth()).toBeUndefined();
    expect(await value("lbc_store_cost_usd_per_month")).toBeUndefined();
    clock.advance(60_000);
    expect(metrics.usdPerMonth()).toBe(0);
    for (let second = 0; second < 3600; second += 5) {
      clock.advance(5000);
      await store.put("a", BODY);
    }
    const monthly = (30 * 24 * 720 * 5) / 1e6;
    expect(metrics.usdPerMonth()).toBeCloseTo(monthly, 2);
    expect(await value("lbc_store_cost_usd_per_month")).toBeCloseTo(monthly, 2);
    clock.advance(HOUR_MS);
    expect(metrics.usdPerMonth()).toBeLessThan(monthly / 100);
  });
});

describe("metrics of requests served", () => {
  function served() {
    const clock = new ManualClock();
    const registry = new Registry();
    const app = new Hono().use(httpMetrics(registry, clock));
    app.get("/slow", (c) => {
      clock.advance(300);
      return c.text("slow");
    });
    app.get("/users/:id", (c) => c.json({}, 404));
    app.post("/fails", () => {
      throw new Error("on purpose");
    });
    return { app, registry };
  }

  it("count by method and class of status, and measure until the answer begins", async () => {
    const { app, registry } = served();
    app.onError((_, c) => c.text("sorry", 503));
    await app.request("/slow");
    await app.request("/users/1");
    await app.request("/fails", { method: "POST" });
    const text = await registry.metrics();
    const count = (method: string, status: string) => sampleValue(text, "lbc_http_requests_total", { method, status });
    expect([count("GET", "2xx"), count("GET", "4xx"), count("POST", "5xx")]).toEqual([1, 1, 1]);
    expect(sampleValue(text, "lbc_http_request_duration_seconds_bucket", { method: "GET", le: "0.2" })).toBe(1);
    expect(sampleValue(text, "lbc_http_request_duration_seconds_bucket", { method: "GET", le: "0.5" })).toBe(2);
  });

  it("an error that nobody handles is counted and goes on to the server", async () => {
    const { app, registry } = served();
    app.onError((error) => {
      throw error;
    });
    await expect(Promise.resolve(app.request("/fails", { method: "POST" }))).rejects.toThrow("on purpose");
    expect(sampleValue(await registry.metrics(), "lbc_http_requests_total", { method: "POST", status: "5xx" })).toBe(1);
  });

  it("take no more memory however many paths and methods clients invent", async () => {
    const { app, registry } = served();
    await app.request("/a", { method: "M0" });
    const linesBefore = (await registry.metrics()).split("\n").length;
    for (let i = 1; i <= 200; i++) await app.request(`/a/${i}?q=${i}`, { method: `M${i}` });
    const text = await registry.metrics();
    expect(text.split("\n").length).toBe(linesBefore);
    expect(sampleValue(text, "lbc_http_requests_total", { method: "other", status: "4xx" })).toBe(201);
  });
});

describe("metrics of a node", () => {
  async function scrape(node: { readonly address: string }): Promise<string> {
    const response = await fetch(`http://${node.address}/.lbc/metrics`);
    expect([response.status, response.headers.get("content-type")]).toEqual([
      200,
      "text/plain; version=0.0.4; charset=utf-8",
    ]);
    return await response.text();
  }

  it("move with what the node does", async () => {
    const { node } = await lead(await newStore(), { settings: QUIET });
    const before = await scrape(node);
    const [first, second] = [1, 2].map((x) =>
      node.transaction((tx) => tx.exec(`CREATE TABLE t${x}(x); INSERT INTO t${x} VALUES (${x})`)),
    );
    await Promise.all([first?.durable, second?.durable]);
    expect(() =>
      node.transaction(() => {
        throw new Error("on purpose");
      }),
    ).toThrow("on purpose");
    const after = await scrape(node);
    const moved = (name: string, labels: Record<string, string> = {}) =>
      (sampleValue(after, name, labels) ?? Number.NaN) - (sampleValue(before, name, labels) ?? Number.NaN);
    expect(moved("lbc_epoch")).toBe(1);
    expect(moved("lbc_epochs_durable_total")).toBe(1);
    expect(moved("lbc_epoch_transactions_sum")).toBe(2);
    expect(moved("lbc_transactions_total", { outcome: "durable" })).toBe(2);
    expect(moved("lbc_transactions_total", { outcome: "rolled_back" })).toBe(1);
    expect(moved("lbc_epoch_seal_to_durable_seconds_count")).toBe(1);
    expect(moved("lbc_epoch_bytes_sum")).toBeGreaterThan(4096);
    expect(moved("lbc_store_requests_total", { kind: "put" })).toBe(1);
    expect(moved("lbc_store_request_duration_seconds_count", { kind: "put" })).toBe(1);
    expect(moved("lbc_store_sent_bytes_total", { kind: "put" })).toBe(moved("lbc_epoch_bytes_sum"));
    expect(moved("lbc_database_pages")).toBe(2);
    expect(sampleValue(after, "lbc_http_requests_total", { method: "GET", status: "2xx" })).toBe(1);
    expect(sampleValue(after, "lbc_is_leader")).toBe(1);
    expect(sampleValue(after, "lbc_acks_pending")).toBe(0);
    expect(sampleValue(after, "lbc_takeovers_total", { reason: "vacant" })).toBe(1);
    expect(parsePrometheus(after).get("lbc_node_info")?.samples[0]?.labels).toMatchObject({
      cluster_id: "test",
      uuid: node.uuid,
      az: node.az,
    });
  });

  it("of a follower tell where its epochs came from", async () => {
    const store = await newStore();
    const { node: leader } = await lead(store, { settings: QUIET });
    await leader.transaction((tx) => tx.exec("CREATE TABLE t(x)")).durable;
    const { node } = await join("follower", store, { settings: QUIET });
    const total = async (sources: readonly string[]) => {
      const text = await scrape(node);
      const of = (source: string) => sampleValue(text, "lbc_epochs_applied_total", { source }) ?? Number.NaN;
      return sources.map(of).reduce((sum, count) => sum + count, 0);
    };
    expect(await total(["bootstrap"])).toBeGreaterThanOrEqual(2);
    const { epoch } = await leader.transaction((tx) => tx.exec("INSERT INTO t VALUES (1)")).durable;
    await node.sync({ atLeast: epoch });
    await until("the new epoch is counted", async () => (await total(["push", "store"])) === 1);
    expect(sampleValue(await scrape(node), "lbc_is_leader")).toBe(0);
    expect(sampleValue(await scrape(node), "lbc_epoch")).toBe(epoch);
  });
});
