/** How much later than on the leader an epoch is readable on its followers. */
import type { AgentProcess } from "../../tests/support/agent-process.ts";
import { type Figure, figure } from "../report.ts";
import { BenchCluster, quantile, spread } from "./processes.ts";

const PAUSE_MS = 100;
const WRITES = 300;
/** Written before, so that every process runs compiled code. */
const WARM_UP_WRITES = 50;

/** The first epoch at or after `epoch` that a node showed holds it too. */
async function shownAtMs(agent: AgentProcess, epochs: readonly number[]): Promise<number[]> {
  const seen = await agent.ask("observations", { after: (epochs[0] ?? 0) - 1 });
  return epochs.map((epoch) => seen.find((observation) => observation.epoch >= epoch)?.atMs ?? Number.NaN);
}

async function lagsMs(followerCount: number): Promise<number[]> {
  return await BenchCluster.use({}, async (cluster) => {
    const leader = await cluster.startLeader();
    const followers = await Promise.all(Array.from({ length: followerCount }, () => cluster.start("follower")));
    await cluster.untilAllKnowAll([leader, ...followers]);
    await leader.ask("burst", { name: "warm-up", count: WARM_UP_WRITES, pauseMs: PAUSE_MS / 2 });
    const written: number[] = [];
    // In parts, because an agent answers within a minute.
    for (let part = 0; part < 3; part++) {
      const writes = await leader.ask("burst", { name: `part-${part}`, count: WRITES / 3, pauseMs: PAUSE_MS });
      written.push(...writes.map(({ epoch }) => epoch ?? Number.NaN));
    }
    await Promise.all(followers.map((follower) => follower.ask("sync", { atLeast: written.at(-1) ?? 0 })));
    const durableAtMs = await shownAtMs(leader, written);
    const lags: number[] = [];
    for (const follower of followers) {
      const visibleAtMs = await shownAtMs(follower, written);
      lags.push(...visibleAtMs.map((atMs, at) => atMs - (durableAtMs[at] ?? Number.NaN)));
    }
    return lags;
  });
}

/** Lag at ten epochs a second. */
export async function lagFigures(): Promise<Figure[]> {
  const one = await lagsMs(1);
  const ten = await lagsMs(10);
  return [
    figure("follower lag at 10 epochs a second, p50, ms", quantile(one, 0.5), { atMost: 5, detail: spread(one) }),
    figure("the same, p99, ms", quantile(one, 0.99), { atMost: 25 }),
    figure("follower lag with 10 followers, p50, ms", quantile(ten, 0.5), { detail: spread(ten) }),
    figure("the same, p99, ms", quantile(ten, 0.99), { atMost: 50 }),
  ];
}
