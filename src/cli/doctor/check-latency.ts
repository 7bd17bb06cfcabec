/** How long requests take: what a durable write waits for. */
import type { Clock } from "../../base/clock.ts";
import { type Check, type CheckParts, SMALL_BYTES } from "./check.ts";
import type { DoctorFinding } from "./finding.ts";

const MIB = 1024 * 1024;
const SMALL_SAMPLES = 50;
const LARGE_SAMPLES = 20;
/** A slow store is measured for so long, and at least so often. */
const SERIES_MS_MAX = 10_000;
const SAMPLES_MIN = 5;
/** What would begin after that is not measured: the PUTs come first, and tell the most. */
const ALL_SERIES_MS_MAX = 60_000;

/** Writes that people wait for should not take longer. */
const PUT_P50_MAX_MS = 500;

/** Times of one kind of request. */
export interface Latency {
  readonly samples: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

type Series = "put" | "get" | "list" | "delete" | "putMiB" | "getMiB";

type Latencies = Partial<Record<Series, Latency>>;

const NOTHING: Latency = { samples: 0, p50Ms: 0, p99Ms: 0 };

export const latencyCheck: Check = { name: "latency", verdictIfFailed: "warning", run: measureLatencies };

async function measureLatencies(parts: CheckParts): Promise<readonly DoctorFinding[]> {
  const { store, scratch, random, signal } = parts;
  const small = random.bytes(SMALL_BYTES);
  const large = random.bytes(MIB);
  const key = (index: number) => scratch.key(`latency/${index}`);
  const largeKey = scratch.key("latency/mib");
  const series: readonly [Series, number, (index: number) => Promise<unknown>][] = [
    ["put", SMALL_SAMPLES, (index) => store.put(key(index), small, { ifAbsent: true, signal })],
    ["get", SMALL_SAMPLES, (index) => store.get(key(index), { signal })],
    ["list", SMALL_SAMPLES, (index) => store.list(scratch.prefix, { startAfter: key(index), signal })],
    ["delete", SMALL_SAMPLES, (index) => store.delete(key(index), { signal })],
    ["putMiB", LARGE_SAMPLES, () => store.put(largeKey, large, { signal })],
    ["getMiB", LARGE_SAMPLES, () => store.get(largeKey, { signal })],
  ];
  const latencies: Latencies = {};
  const beganMs = parts.clock.monotonicMs();
  for (const [index, [name, samples, request]] of series.entries()) {
    if (parts.clock.monotonicMs() - beganMs > ALL_SERIES_MS_MAX) break;
    parts.onStep(index, series.length);
    latencies[name] = await measure(parts.clock, samples, request);
  }
  return [judge(latencies, parts)];
}

async function measure(clock: Clock, samples: number, request: (index: number) => Promise<unknown>): Promise<Latency> {
  const timesMs: number[] = [];
  const beganMs = clock.monotonicMs();
  for (let index = 0; index < samples; index++) {
    if (index >= SAMPLES_MIN && clock.monotonicMs() - beganMs > SERIES_MS_MAX) break;
    const sentMs = clock.monotonicMs();
    await request(index);
    timesMs.push(clock.monotonicMs() - sentMs);
  }
  timesMs.sort((a, b) => a - b);
  return { samples: timesMs.length, p50Ms: percentile(timesMs, 0.5), p99Ms: percentile(timesMs, 0.99) };
}

/** The smallest of the sorted times that so many are not above. */
function percentile(sortedMs: readonly number[], share: number): number {
  const time = sortedMs[Math.max(0, Math.ceil(sortedMs.length * share) - 1)] ?? 0;
  return Math.round(time * 100) / 100;
}

function judge(latencies: Latencies, { settings }: CheckParts): DoctorFinding {
  const { put = NOTHING, get, list, delete: del, putMiB, getMiB } = latencies;
  const found = [
    `a durable write takes about one PUT: ${timeText(put)}`,
    `GET ${timeText(get)}, LIST ${timeText(list)}, DELETE ${timeText(del)}`,
    `1 MiB: PUT ${timeText(putMiB)}${rateText(putMiB)}, GET ${timeText(getMiB)}${rateText(getMiB)}`,
  ].join("; ");
  const measured = { ...latencies };
  const { heartbeatIntervalMs, sessionTimeoutMs } = settings;
  if (put.p99Ms > sessionTimeoutMs / 2) {
    return {
      check: "latency",
      verdict: "bad",
      found,
      meaning: `a leader that cannot write within sessionTimeoutMs (${sessionTimeoutMs}) is replaced: leadership would wander`,
      advice: "use a store that is nearer or faster, or raise sessionTimeoutMs to several times the slowest PUT",
      measured,
    };
  }
  if (put.p50Ms <= PUT_P50_MAX_MS && put.p99Ms <= heartbeatIntervalMs) {
    return { check: "latency", verdict: "ok", found, measured };
  }
  return {
    check: "latency",
    verdict: "warning",
    found,
    meaning: "every write waits so long before it is durable; one that just missed an epoch waits for two PUTs",
    advice: "run the nodes in the store's region, or use a faster kind of storage",
    measured,
  };
}

function timeText(latency: Latency | undefined): string {
  return latency === undefined ? "not measured" : `${latency.p50Ms.toFixed(1)} ms (p99 ${latency.p99Ms.toFixed(1)})`;
}

function rateText(latency: Latency | undefined): string {
  return latency === undefined || latency.p50Ms === 0 ? "" : `, ${(1000 / latency.p50Ms).toFixed(0)} MiB/s`;
}
