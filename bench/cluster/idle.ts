/** What a cluster of three costs while nothing happens: requests to the store, and CPU. */
import type { AgentProcess } from "../../tests/support/agent-process.ts";
import { RUNTIMES, type RuntimeName } from "../../tests/support/runtimes.ts";
import { until } from "../../tests/support/wait.ts";
import { type Figure, figure } from "../report.ts";
import { BenchCluster } from "./processes.ts";

const MEASURED_MS = 180_000;
/** What joining leaves behind settles meanwhile: compilation, garbage, first snapshots. */
const SETTLING_MS = 10_000;
const HOUR_MS = 3_600_000;
/** Longer than an interval between heartbeats. */
const EPOCH_MAX_MS = 60_000;

interface Sample {
  readonly epoch: number;
  /** When that epoch was durable. */
  readonly atMs: number;
  readonly puts: number;
  readonly gets: number;
  readonly lists: number;
}

interface Idle {
  readonly runtimes: readonly RuntimeName[];
  readonly puts: number;
  readonly gets: number;
  readonly lists: number;
  readonly epochs: number;
  readonly seconds: number;
  /** Percent of a core, of each node. */
  readonly cpu: readonly number[];
}

/** Taken right after an epoch: between two samples there is a whole number of intervals between heartbeats. */
async function sample(agents: readonly AgentProcess[]): Promise<Sample> {
  const [leader] = agents as readonly [AgentProcess];
  const { epoch } = (await leader.ask("status")).replica;
  const next = await until(
    "a heartbeat",
    async () => {
      const [observation] = await leader.ask("observations", { after: epoch });
      return observation;
    },
    EPOCH_MAX_MS,
  );
  const statuses = await Promise.all(agents.map((agent) => agent.ask("status")));
  const sum = (kind: "put" | "get" | "list") => statuses.reduce((total, { store }) => total + store[kind].requests, 0);
  return { ...next, puts: sum("put"), gets: sum("get"), lists: sum("list") };
}

interface CpuTime {
  readonly usedMs: number;
  readonly atMs: number;
}

async function cpuTimes(agents: readonly AgentProcess[]): Promise<CpuTime[]> {
  const times = await Promise.all(agents.map((agent) => agent.ask("cpu")));
  return times.map(({ userMs, systemMs, atMs }) => ({ usedMs: userMs + systemMs, atMs }));
}

/** Percent of a core. */
function shareOf(before: CpuTime | undefined, after: CpuTime | undefined): number {
  if (before === undefined || after === undefined) return Number.NaN;
  return ((after.usedMs - before.usedMs) * 100) / (after.atMs - before.atMs);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** One cluster: a leader, a standby and a follower. */
async function idle(runtimes: readonly [RuntimeName, RuntimeName, RuntimeName]): Promise<Idle> {
  return await BenchCluster.use({}, async (cluster) => {
    const leader = await cluster.startLeader(runtimes[0]);
    const agents = [leader, await cluster.start("leader", runtimes[1]), await cluster.start("follower", runtimes[2])];
    await cluster.untilAllKnowAll(agents);
    await sleep(SETTLING_MS);
    const before = await sample(agents);
    const cpuBefore = await cpuTimes(agents);
    // Not asked meanwhile: answering would be what they do.
    await sleep(MEASURED_MS);
    const cpuAfter = await cpuTimes(agents);
    const after = await sample(agents);
    const tookMs = after.atMs - before.atMs;
    const hourly = (count: (sample: Sample) => number) => ((count(after) - count(before)) * HOUR_MS) / tookMs;
    return {
      runtimes,
      puts: hourly(({ puts }) => puts),
      gets: hourly(({ gets }) => gets),
      lists: hourly(({ lists }) => lists),
      epochs: after.epoch - before.epoch,
      seconds: tookMs / 1000,
      cpu: agents.map((_, at) => shareOf(cpuBefore[at], cpuAfter[at])),
    };
  });
}

/** Three clusters at a time, so that every runtime leads, stands by and follows in the same minutes. */
export async function idleFigures(): Promise<Figure[]> {
  const [a, b, c] = RUNTIMES as readonly [RuntimeName, RuntimeName, RuntimeName];
  const all = await Promise.all([idle([a, b, c]), idle([b, c, a]), idle([c, a, b])]);
  const most = (of: (cluster: Idle) => number) => Math.max(...all.map(of));
  const counted = all.map(({ epochs, seconds }) => `${epochs} epochs in ${seconds.toFixed(1)} s`).join(", ");
  const requests = [
    figure(
      "idle cluster of three: PUTs an hour",
      most(({ puts }) => puts),
      { atMost: 720, detail: counted },
    ),
    figure(
      "idle cluster of three: GETs an hour",
      most(({ gets }) => gets),
      { atMost: 60 },
    ),
    figure(
      "idle cluster of three: LISTs an hour",
      most(({ lists }) => lists),
      { atMost: 0 },
    ),
  ];
  const parts = ["leads", "stands by", "follows"];
  const cpu = RUNTIMES.map((runtime) => {
    const shares = parts.map((part, at) => {
      const cluster = all.find(({ runtimes }) => runtimes[at] === runtime);
      return { part, percent: cluster?.cpu[at] ?? Number.NaN };
    });
    return figure(`idle node on ${runtime}: CPU, % of a core`, Math.max(...shares.map(({ percent }) => percent)), {
      atMost: 1,
      detail: shares.map(({ part, percent }) => `${part}: ${percent.toFixed(2)}`).join(", "),
    });
  });
  return [...requests, ...cpu];
}
