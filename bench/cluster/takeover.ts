/** How long nobody acknowledges a write when a leader dies, and when it hands over. */
import type { AgentProcess } from "../../tests/support/agent-process.ts";
import type { WriteOutcome } from "../../tests/support/agent-protocol.ts";
import { until } from "../../tests/support/wait.ts";
import { type Figure, figure } from "../report.ts";
import { BenchCluster, quantile, spread } from "./processes.ts";

const KILLS = 10;
const HANDOVERS = 10;
const WRITES_BEFORE = 100;
const LATENCY_MS = 20;
const PROBES = 20;
/** About what the epoch of one small write has. */
const PROBE_BYTES = 12_500;

function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** From `kill -9` of the leader under load to the first write that its standby acknowledged, with default settings. */
async function takeoversMs(): Promise<number[]> {
  return await BenchCluster.use({}, async (cluster) => {
    const tookMs: number[] = [];
    let leader = await cluster.startLeader();
    while (tookMs.length < KILLS) {
      const standby = await cluster.start("leader");
      await cluster.untilAllKnowAll([leader, standby]);
      await leader.ask("load", { name: `load-${tookMs.length}`, writers: 2, pauseMs: 5, via: "local" });
      await until("writes", async () => (await leader.ask("acknowledged")) > WRITES_BEFORE);
      const first = standby.ask("firstWrite", { element: `first-${tookMs.length}` });
      const killedAtMs = nowMs();
      await leader.kill();
      tookMs.push((await first).endedAtMs - killedAtMs);
      leader = standby;
    }
    return tookMs;
  });
}

interface HandOver {
  /** Between two acks as their writers, who go through `leaderClient` on a third node, see them. */
  readonly gapMs: number;
  /** Between the last ack of the old leader and the first of the new one, as their own writers see them. */
  readonly localGapMs: number;
  /** As `gapMs`, before the hand-over: what the machine and the garbage collector make of it. */
  readonly quietGapMs: number;
}

interface HandOvers {
  readonly putMs: number;
  readonly all: readonly HandOver[];
}

function acksAtMs(outcomes: readonly WriteOutcome[]): number[] {
  return outcomes
    .filter(({ outcome }) => outcome === "ok")
    .map(({ endedAtMs }) => endedAtMs)
    .sort((a, b) => a - b);
}

function longestGapMs(atMs: readonly number[]): number {
  return Math.max(...atMs.slice(1).map((at, index) => at - (atMs[index] ?? Number.NaN)));
}

async function handOver(from: AgentProcess, to: AgentProcess, client: AgentProcess, round: number): Promise<HandOver> {
  await client.ask("load", { name: `client-${round}`, writers: 1, pauseMs: 5, via: "put" });
  await until("writes", async () => (await client.ask("acknowledged")) > WRITES_BEFORE);
  const local = { writers: 1, pauseMs: 0, via: "local" } as const;
  await from.ask("load", { name: `from-${round}`, ...local });
  const first = to.ask("firstWrite", { element: `to-${round}` });
  await until("writes beside it", async () => (await from.ask("acknowledged")) > WRITES_BEFORE / 2);
  const beganAtMs = nowMs();
  await from.ask("stepDown");
  const { endedAtMs } = await first;
  const before = await client.ask("acknowledged");
  await until("writes after it", async () => (await client.ask("acknowledged")) > before + WRITES_BEFORE / 2);
  const lastAtMs = Math.max(...acksAtMs(await from.ask("stopLoad")).filter((atMs) => atMs < endedAtMs));
  const acks = acksAtMs(await client.ask("stopLoad"));
  const [quiet, during] = [acks.filter((atMs) => atMs < beganAtMs), acks.filter((atMs) => atMs >= beganAtMs)];
  const gapMs = longestGapMs([...quiet.slice(-1), ...during]);
  return { gapMs, localGapMs: endedAtMs - lastAtMs, quietGapMs: longestGapMs(quiet) };
}

/** The longest gap between two acks around a graceful hand-over, and one PUT to the same store. */
async function handOvers(latencyMs: number): Promise<HandOvers> {
  return await BenchCluster.use({ latencyMs }, async (cluster) => {
    const first = await cluster.startLeader();
    const [second, client] = await Promise.all([cluster.start("leader"), cluster.start("follower")]);
    await cluster.untilAllKnowAll([first, second, client]);
    const puts: number[] = [];
    const all: HandOver[] = [];
    let [from, to] = [first, second];
    for (let round = 0; round < HANDOVERS; round++) {
      puts.push(...(await from.ask("putProbe", { count: PROBES, bytes: PROBE_BYTES })));
      all.push(await handOver(from, to, client, round));
      [from, to] = [to, from];
    }
    return { putMs: quantile(puts, 0.5), all };
  });
}

function handOverFigures(where: string, { putMs, all }: HandOvers): Figure[] {
  const local = all.map(({ localGapMs }) => localGapMs);
  const clients = all.map(({ gapMs }) => gapMs);
  const quiet = all.map(({ quietGapMs }) => quietGapMs);
  return [
    figure(`graceful hand-over, ${where}: longest gap between two acks × one PUT, p50`, quantile(local, 0.5) / putMs, {
      atMost: 3,
      detail: `PUT ${putMs.toFixed(1)} ms; ${spread(local)}`,
    }),
    figure("the same between answers to leaderClient.fetch on a follower, p50, ms", quantile(clients, 0.5), {
      detail: `${spread(clients)}; just before the hand-over ${spread(quiet)}`,
    }),
  ];
}

/** After `kill -9` of the leader, ten times. */
export async function takeoverFigures(): Promise<Figure[]> {
  const tookMs = await takeoversMs();
  return [
    figure("takeover after kill -9: first acknowledged write, p50, ms", quantile(tookMs, 0.5), { atMost: 1000 }),
    figure("the same, longest of 10, ms", Math.max(...tookMs), { detail: spread(tookMs) }),
  ];
}

/** On a fast store and on one like a remote one. */
export async function handoverFigures(): Promise<Figure[]> {
  return [
    ...handOverFigures("file system", await handOvers(0)),
    ...handOverFigures(`store with ${LATENCY_MS} ms`, await handOvers(LATENCY_MS)),
  ];
}
