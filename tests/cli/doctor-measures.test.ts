import { describe, expect, it } from "vitest";
import { costFinding, SECONDS_PER_MONTH } from "../../src/cli/doctor/cost.ts";
import { providerFinding } from "../../src/cli/doctor/providers.ts";
import { parseClusterOptions } from "../../src/config.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { S3_STANDARD_PRICES } from "../../src/store/metered-store.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { FaultyStore } from "../../src/testing/faulty-store.ts";
import { ManualClock } from "../store/manual-clock.ts";
import { examine, findingOf } from "./doctor-support.ts";

const MIB = 1024 * 1024;
const few = { withManyKeys: false };

describe("the store's clock", () => {
  /** A clock so far from the doctor's. */
  const shifted = (clock: ManualClock, byMs: number) =>
    new (class extends ManualClock {
      override wallMs(): number {
        return clock.wallMs() + byMs;
      }
    })();
  const clockOf = async (byMs: number) => {
    const clock = new ManualClock();
    const store = new MemoryStore({ clock: shifted(clock, byMs) });
    return findingOf(await clock.runUntil(examine(store, { ...few, clock })), "clock");
  };

  it("that is a minute off is a warning, in either direction, and less is none", async () => {
    expect(await clockOf(0)).toMatchObject({ verdict: "ok", found: expect.stringContaining("agrees") });
    expect(await clockOf(58_300)).toMatchObject({ verdict: "ok", measured: { aheadMs: 58_300 } });
    expect(await clockOf(61_300)).toMatchObject({
      verdict: "warning",
      found: expect.stringContaining("61.3 s ahead"),
      meaning: expect.stringContaining("no write is at risk"),
      measured: { aheadMs: 61_300 },
    });
    expect(await clockOf(-61_300)).toMatchObject({ verdict: "warning", found: expect.stringContaining("behind") });
  });

  it("in whole seconds, as S3 tells it, agrees to within half of one", async () => {
    const clock = new ManualClock();
    clock.nowMs = 1_000_900;
    const store = new (class extends MemoryStore {
      override async head(key: string, options = {}) {
        const stat = await super.head(key, options);
        return stat && { ...stat, nowMs: Math.floor(stat.nowMs / 1000) * 1000 };
      }
    })({ clock });
    const { verdict, measured } = findingOf(await clock.runUntil(examine(store, { ...few, clock })), "clock");
    expect(verdict).toBe("ok");
    expect(measured).toMatchObject({ aheadMs: -400, errorMs: 500 });
  });

  it("is asked across slow requests without counting their time", async () => {
    const clock = new ManualClock();
    const store = new FaultyStore(new MemoryStore({ clock }), { latencyMs: 3700, clock });
    const report = await clock.runUntil(examine(store, { ...few, clock }));
    expect(findingOf(report, "clock")).toMatchObject({ verdict: "ok", measured: { aheadMs: 0 } });
  });

  it("that disagrees with the times of the objects is a warning", async () => {
    for (const [byMs, text] of [
      [-10_000, "older"],
      [10_000, "younger"],
    ] as const) {
      const clock = new ManualClock();
      const store = new (class extends MemoryStore {
        override async head(key: string, options = {}) {
          const stat = await super.head(key, options);
          return stat && { ...stat, lastModifiedMs: stat.lastModifiedMs + byMs };
        }
      })({ clock });
      const { findings } = await clock.runUntil(examine(store, { ...few, clock }));
      const warnings = findings.filter(({ check, verdict }) => check === "clock" && verdict === "warning");
      expect(warnings.map(({ found }) => found)).toEqual([expect.stringContaining(text)]);
    }
  });
});

describe("latencies", () => {
  const latencyOf = async (latencyMs: number) => {
    const clock = new ManualClock();
    const store = new FaultyStore(new MemoryStore({ clock }), { latencyMs, clock });
    return findingOf(await clock.runUntil(examine(store, { ...few, clock })), "latency");
  };

  it("are the median and the 99th percentile of 50 requests", async () => {
    const clock = new ManualClock();
    const store = new FaultyStore(new MemoryStore({ clock }), { latencyMs: 20, clock });
    store.onCall = ({ operation, key }) => {
      return operation === "put" && key.endsWith("/latency/17") ? { kind: "delay", delayMs: 300 } : undefined;
    };
    const { verdict, measured } = findingOf(await clock.runUntil(examine(store, { ...few, clock })), "latency");
    expect(verdict).toBe("ok");
    expect(measured).toMatchObject({
      put: { samples: 50, p50Ms: 20, p99Ms: 320 },
      get: { samples: 50, p50Ms: 20, p99Ms: 20 },
      list: { samples: 50, p50Ms: 20 },
      delete: { samples: 50, p50Ms: 20 },
      putMiB: { samples: 20, p50Ms: 20 },
      getMiB: { samples: 20, p50Ms: 20 },
    });
  });

  it("of writes above half a second are a warning, near the session's time-out bad, and measured less often", async () => {
    expect(await latencyOf(500)).toMatchObject({ verdict: "ok" });
    expect(await latencyOf(600)).toMatchObject({ verdict: "warning", measured: { put: { samples: 17 } } });
    const bad = await latencyOf(10_500);
    expect(bad).toMatchObject({ verdict: "bad", meaning: expect.stringContaining("sessionTimeoutMs (20000)") });
    expect(bad.measured).toMatchObject({ put: { samples: 5 }, get: { samples: 5 } });
    expect(bad.measured).not.toHaveProperty("list");
  });
});

describe("the cost of a month", () => {
  const remote = parseClusterOptions({
    id: "test",
    store: new S3Store({ bucket: "bucket", credentials: { accessKeyId: "key", secretAccessKey: "secret" } }),
  });
  const costOf = (prices = S3_STANDARD_PRICES) =>
    costFinding({ settings: remote, prices, databaseBytes: 256 * MIB }).measured as Record<
      "idle" | "busy",
      { usd: number; epochs: number; putRequests: number; listRequests: number }
    > & { pollingUsd: number };

  it("is that of the epochs and a little more", () => {
    const { idle, busy, pollingUsd } = costOf();
    expect(idle.epochs).toBe(SECONDS_PER_MONTH / 5);
    expect(busy.epochs).toBe(SECONDS_PER_MONTH * 2);
    // An epoch every 5 s: 525 600 PUTs at $5 a million, and at most a tenth more for packs, snapshots and retention.
    expect(idle.usd).toBeGreaterThan(2.628);
    expect(idle.usd).toBeLessThan(2.628 * 1.1);
    expect(busy.usd).toBeGreaterThan(26.28);
    expect(busy.usd).toBeLessThan(26.28 * 1.1);
    expect(pollingUsd).toBeCloseTo(1.0512, 4);
  });

  it("counts each pack, snapshot and run of the retention", () => {
    const { idle } = costOf();
    const packs = 525_600 / 64 + 525_600 / 1024 + 525_600 / 16_384;
    const snapshots = 525_600 / ((128 * MIB) / (16 * 1024));
    const runs = (SECONDS_PER_MONTH * 1000) / remote.retentionIntervalMs;
    const puts = 525_600 + packs + snapshots * (2 + 32) + snapshots + runs;
    expect(idle.putRequests).toBe(Math.round(puts));
    expect(idle.listRequests).toBe(Math.round((525_600 + packs) / 500 + runs));
  });

  it("follows the prices", () => {
    const none = { get: 0, head: 0, put: 0, list: 0, delete: 0 };
    expect(costOf(none)).toMatchObject({ idle: { usd: 0 }, busy: { usd: 0 }, pollingUsd: 0 });
    const { putRequests, listRequests } = costOf().idle;
    expect(costOf({ ...none, put: 1 }).idle.usd).toBeCloseTo(putRequests / 1e6, 9);
    expect(costOf({ ...none, list: 1 }).idle.usd).toBeCloseTo(listRequests / 1e6, 9);
    expect(costOf({ ...none, get: 1 }).pollingUsd).toBeCloseTo(SECONDS_PER_MONTH / 1e6, 9);
  });

  it("is nothing on a local store", async () => {
    const finding = findingOf(await examine(new MemoryStore(), few), "cost");
    expect(finding).toMatchObject({ verdict: "info", found: expect.stringContaining("free") });
  });
});

describe("what is known by address", () => {
  const s3 = (bucket: string, endpoint?: string) =>
    new S3Store({ bucket, endpoint, credentials: { accessKeyId: "key", secretAccessKey: "secret" } }).url;

  it.each([
    [s3("bucket"), "AWS S3", "info"],
    [s3("bucket", "https://s3.eu-central-1.amazonaws.com"), "AWS S3", "info"],
    [s3("data--use1-az4--x-s3"), "S3 Express", "warning"],
    [s3("bucket", "https://1234.r2.cloudflarestorage.com"), "Cloudflare R2", "info"],
    [s3("bucket", "https://storage.googleapis.com"), "Google Cloud Storage", "warning"],
    [s3("bucket", "https://account.blob.core.windows.net"), "Azure Blob Storage", "warning"],
    [s3("bucket", "https://s3.us-west-004.backblazeb2.com"), "Backblaze B2", "warning"],
    [s3("bucket", "https://fly.storage.tigris.dev"), "Tigris", "warning"],
    [s3("bucket", "https://t3.storage.dev"), "Tigris", "warning"],
    [s3("bucket", "https://cwobject.com"), "CoreWeave", "info"],
    [s3("bucket", "https://fsn1.your-objectstorage.com"), "Hetzner", "info"],
    [s3("bucket", "https://fra1.digitaloceanspaces.com"), "DigitalOcean Spaces", "info"],
    [s3("bucket", "https://s3.fr-par.scw.cloud"), "Scaleway", "info"],
    [s3("bucket", "http://127.0.0.1:9000"), undefined, "info"],
    [s3("bucket", "https://amazonaws.com.example.org"), undefined, "info"],
    ["file:///srv/cluster", "file system", "info"],
    ["memory:", "memory", "info"],
    ["not a URL", undefined, "info"],
  ] as const)("%s is %s", (url, provider, verdict) => {
    const finding = providerFinding(url);
    expect(finding).toMatchObject({ verdict, measured: { provider } });
    expect(finding.advice !== undefined).toBe(verdict === "warning");
  });
});
