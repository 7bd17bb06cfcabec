/** Scenes that simulations found, played again on purpose; each failed before what it shows was mended. */
import { describe, expect, it, onTestFinished } from "vitest";
import {
  type MemberRun,
  SimulatedCluster,
  type SimulatedClusterOptions,
  type SimulatedMember,
} from "../../../src/testing/mod.ts";
import { filledPool } from "./pool.ts";

const pool = await filledPool(24);
const SETTINGS = { heartbeatIntervalMs: 500, sessionTimeoutMs: 2000, pollIntervalMs: 200, gossipIntervalMs: 500 };

async function clusterOf(count: number, options: Partial<SimulatedClusterOptions> = {}): Promise<SimulatedCluster> {
  const cluster = new SimulatedCluster({ seed: 1, pool, settings: SETTINGS, ...options });
  onTestFinished(() => cluster.close());
  for (let index = 0; index < count; index++) cluster.addMember({ name: `n${index + 1}` }).start();
  await cluster.run(5000);
  return cluster;
}

function leaderOf(cluster: SimulatedCluster): SimulatedMember {
  const leader = cluster.members.find(({ node }) => node?.isLeading);
  if (leader === undefined) throw new Error("nobody leads");
  return leader;
}

function followerOf(cluster: SimulatedCluster): SimulatedMember {
  const leader = leaderOf(cluster);
  return cluster.members.find((member) => member !== leader) as SimulatedMember;
}

describe("maxStalenessMs", () => {
  it("is measured by both clocks: one of them stands still while a machine is suspended", async () => {
    const cluster = await clusterOf(3);
    const leader = leaderOf(cluster);
    const { process, node } = followerOf(cluster);
    // What it knows to be all there is, is fresh.
    await cluster.run(10);
    const first = node?.sync({ maxStalenessMs: 0 });
    await cluster.run(1000);
    await first;
    process?.suspend();
    cluster.network.silenced();
    await cluster.run(1500);
    leader.node?.transaction((tx) => tx.exec("CREATE TABLE t (a)")).durable.catch(() => {});
    await cluster.run(300_000);
    process?.resume();
    let shown: unknown;
    const sync = node?.sync({ maxStalenessMs: 100_000 }).then(() => {
      shown = node.db.get("SELECT name FROM sqlite_schema WHERE name = 't'");
    });
    await cluster.run(20_000);
    await sync;
    expect(shown).toEqual({ name: "t" });
  });
});

describe("a hand-over", () => {
  it("that is asked for twice is one: both have the answer at once", async () => {
    const cluster = await clusterOf(2);
    const { node } = leaderOf(cluster);
    const began = cluster.time.nowMs;
    let ended = 0;
    for (let count = 0; count < 2; count++) {
      node?.stepDown({ timeoutMs: 60_000 }).then(() => ended++);
    }
    await cluster.run(60_000, () => ended === 2);
    expect(ended).toBe(2);
    expect(cluster.time.nowMs - began, "milliseconds").toBeLessThan(400);
  });
});

describe("a node that has left", () => {
  it("ends what waits in sync, and what that asked the store", async () => {
    const cluster = await clusterOf(3);
    const follower = followerOf(cluster);
    cluster.weather.begin({ kind: "outage" });
    let ended: unknown;
    follower.node?.sync({ maxStalenessMs: 0 }, { timeoutMs: 60_000 }).catch((error: unknown) => {
      ended = error;
    });
    await cluster.run(500);
    const { store } = follower.run ?? {};
    const stopped = follower.stop();
    await cluster.run(15_000);
    await stopped;
    expect(ended).toMatchObject({ kind: "closed" });
    expect(store?.pendingCount).toBe(0);
  });

  it.each(["at", "diff"] as const)(
    "ends what reads the history for `%s`, and what that asked the store",
    async (call) => {
      const cluster = await clusterOf(2);
      const follower = followerOf(cluster);
      cluster.weather.begin({ kind: "outage" });
      const read = async () => {
        if (call === "at") await follower.node?.db.at(1);
        else for await (const change of follower.node?.diff(0, 1) ?? []) expect(change).toBeDefined();
      };
      let ended: unknown;
      read().catch((error: unknown) => {
        ended = error;
      });
      await cluster.run(5000);
      const { store } = follower.run ?? {};
      const stopped = follower.stop();
      await cluster.run(12_000);
      await stopped;
      expect(ended).toMatchObject({ kind: "closed" });
      expect(store?.pendingCount).toBe(0);
    },
  );

  it("has no connection left to anybody", async () => {
    // Of one that has left: when its process ends they end, too.
    const connectionsLeft: number[] = [];
    const cluster: SimulatedCluster = await clusterOf(3, {
      onLeft: (_member, { process }) => connectionsLeft.push(cluster.network.connectionsOf(process)),
    });
    const leader = leaderOf(cluster);
    const others = cluster.members.filter((member) => member !== leader);
    for (const { process } of others)
      expect(cluster.network.connectionsOf(process as NonNullable<typeof process>)).toBeGreaterThan(0);
    for (const member of [...others, leader]) {
      const stopped = member.stop();
      await cluster.run(15_000);
      await stopped;
    }
    expect(connectionsLeft).toEqual([0, 0, 0]);
  });

  it("tells nobody any more that it leads", async () => {
    // Of one that has left: when its process ends they end, too.
    let timersLeft: number | undefined;
    const onLeft = (_member: SimulatedMember, { process }: MemberRun) => {
      timersLeft = process.timerCount;
    };
    const cluster = await clusterOf(4, { onLeft });
    const old = leaderOf(cluster);
    const others = cluster.members.filter((member) => member !== old);
    // The next leader will not reach one of those whom it tells.
    const [next, deaf] = others as [SimulatedMember, SimulatedMember];
    for (const member of others.slice(1)) {
      member.process?.pause();
      cluster.network.cut(next.host, member.host);
    }
    old.crash();
    await cluster.run(10_000, () => next.node?.isLeading === true);
    expect(next.node?.isLeading).toBe(true);
    void next.stop();
    await cluster.run(1900, () => timersLeft !== undefined);
    expect(timersLeft).toBe(0);
    expect(deaf.node).toBeDefined();
  });
});

describe("a node whose clock is hours off", () => {
  it("follows by the store, asks for the stream more and more rarely, and has it soon after the clock is right", async () => {
    const warnings: number[] = [];
    const cluster: SimulatedCluster = await clusterOf(2, {
      onLog: (_member, { event, level }) => {
        if (event === "stream_lost" && level === "warn") warnings.push(cluster.time.nowMs);
      },
    });
    const { process, node } = followerOf(cluster);
    process?.setWall(3 * 3_600_000);
    cluster.network.reset("10.0.0.1", "10.0.0.2");
    await cluster.run(300_000);
    expect(node?.status().replica.is_streaming).toBe(false);
    expect(warnings.length).toBeGreaterThan(5);
    expect(warnings.length).toBeLessThan(60);
    const newest = leaderOf(cluster).node?.epoch.current ?? 0;
    await cluster.run(1000);
    expect(node?.epoch.current).toBeGreaterThanOrEqual(newest);
    process?.setWall(-3 * 3_600_000);
    await cluster.run(16_000);
    expect(node?.status().replica.is_streaming).toBe(true);
  });
});

describe("the same seed", () => {
  it("gives the same run, event by event; another gives another", async () => {
    const traceOf = async (seed: number) => {
      const cluster = await clusterOf(3, { seed });
      leaderOf(cluster).crash();
      await cluster.run(30_000);
      return `${cluster.time.traceHash} ${cluster.time.eventCount}`;
    };
    const [first, again, other] = [await traceOf(7), await traceOf(7), await traceOf(8)];
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });
});
