/** Leaders that are paused, cut off or refuse connections, in clusters of real processes; followers that are cut off. */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { readsOf, startCluster, untilMembersAre, untilReached, untilStreaming } from "../support/agent.ts";
import type { AgentProcess } from "../support/agent-process.ts";
import { testDirectory } from "../support/directory.ts";
import { NetworkNamespace } from "../support/netns.ts";
import { RUNTIMES, type RuntimeName } from "../support/runtimes.ts";
import { freePort, TcpProxy } from "../support/tcp-proxy.ts";
import { until } from "../support/wait.ts";

const SESSION_TIMEOUT_MS = 2500;
const BRISK = { heartbeatIntervalMs: 300, pollIntervalMs: 200 };
/** Takes over by itself within the test only by the rule of the refused connection. */
const PATIENT = { ...BRISK, sessionTimeoutMs: 600_000, gossipIntervalMs: 60_000 };
/** Some times as long as two refused attempts to connect take. */
const REFUSALS_MS = 1500;
/** Longer than two attempts that time out, or two of a host that cannot be reached once its silence was noticed. */
const SILENCES_MS = 13_000;

/** A node behind a proxy that others know as its address. */
async function proxied(): Promise<{ proxy: TcpProxy; spec: { address: string; advertise: string } }> {
  const address = `127.0.0.1:${await freePort()}`;
  const proxy = await TcpProxy.start(address);
  return { proxy, spec: { address, advertise: proxy.address } };
}

/** The runtimes after this one, in a round. */
function after(runtime: RuntimeName): [RuntimeName, RuntimeName] {
  const at = RUNTIMES.indexOf(runtime);
  return [RUNTIMES[(at + 1) % 3] ?? "node", RUNTIMES[(at + 2) % 3] ?? "node"];
}

/** For a while the leader is the leader. */
async function expectNoTakeover(candidates: readonly AgentProcess[], whileMs: number): Promise<void> {
  for (const endMs = performance.now() + whileMs; performance.now() < endMs; await sleep(50)) {
    for (const candidate of candidates) expect(await candidate.ask("role")).toBe("standby");
  }
}

/** Waits until `next` leads, which must not be before it saw no epoch for the session time-out. */
async function expectTakeoverByTimeout(next: AgentProcess): Promise<void> {
  const { epoch } = (await next.ask("status")).replica;
  await until("the takeover", async () => (await next.ask("role")) === "leader", 20_000);
  const seen = await next.ask("observations", { after: epoch - 1 });
  const silencesMs = seen.slice(1).map(({ atMs }, at) => atMs - (seen[at]?.atMs ?? Number.NaN));
  expect(Math.max(...silencesMs), "the silence before the claim").toBeGreaterThanOrEqual(SESSION_TIMEOUT_MS);
}

/** Everyone has the same elements, all of `acknowledged` among them, none of them twice. */
async function expectSameHistory(agents: readonly AgentProcess[], acknowledged: readonly string[]): Promise<void> {
  const histories: (readonly string[])[] = [];
  for (const agent of agents) {
    await agent.ask("sync");
    histories.push((await agent.ask("elements")).elements);
  }
  for (const history of histories) expect(history).toEqual(histories[0]);
  expect(new Set(histories[0]).size, "none is doubled").toBe(histories[0]?.length);
  expect(
    acknowledged.filter((element) => !histories[0]?.includes(element)),
    "none is lost",
  ).toEqual([]);
}

/** Takes the leadership from the first of two by a pause, and back by a cut. */
async function expectReplacementAndReturn(runtime: RuntimeName): Promise<void> {
  const [first, next] = [await proxied(), await proxied()];
  const settings = { ...BRISK, sessionTimeoutMs: SESSION_TIMEOUT_MS };
  const { leader, others } = await startCluster(
    { store: testDirectory(), settings },
    { runtime, ...first.spec },
    { runtime: after(runtime)[0], kind: "leader", ...next.spec },
  );
  const [standby] = others;
  await leader.ask("load", { name: "paused", writers: 2, pauseMs: 5, via: "local" });
  await until("writes", async () => (await leader.ask("acknowledged")) > 10);
  leader.pause();
  await expectTakeoverByTimeout(standby);
  leader.resume();
  await until("the step back", async () => (await leader.ask("role")) === "standby");
  const outcomes = [...(await leader.ask("stopLoad"))];

  await standby.ask("load", { name: "cut", writers: 2, pauseMs: 5, via: "local" });
  await until("writes", async () => (await standby.ask("acknowledged")) > 10);
  await standby.ask("storeFails", { fails: true });
  next.proxy.cut();
  first.proxy.cut();
  await expectTakeoverByTimeout(leader);
  await standby.ask("storeFails", { fails: false });
  await Promise.all([next.proxy.heal(), first.proxy.heal()]);
  await until("the other step back", async () => (await standby.ask("role")) === "standby");
  outcomes.push(...(await standby.ask("stopLoad")));
  const acknowledged = outcomes.filter(({ outcome }) => outcome === "ok").map(({ element }) => element);
  await expectSameHistory([leader, standby], acknowledged);
}

describe("a leader", () => {
  for (const runtime of RUNTIMES) {
    const [second, third] = after(runtime);

    it(`on ${runtime} that is cut off is followed by way of the store; one that refuses connections is replaced, once`, {
      timeout: 60_000,
    }, async () => {
      const [first, next] = [await proxied(), await proxied()];
      const { leader, others } = await startCluster(
        { store: testDirectory(), settings: PATIENT },
        { runtime, ...first.spec },
        { runtime: second, kind: "leader", ...next.spec },
        { runtime: third, kind: "follower" },
      );
      const [standby, follower] = others;
      await untilMembersAre("all", [leader, standby, follower]);
      const written = await untilStreaming(leader, [standby, follower]);

      first.proxy.cut();
      const before = await readsOf([standby, follower]);
      const burst = await leader.ask("burst", { name: "cut", count: 5, pauseMs: 10 });
      written.push(...burst.map(({ element }) => element));
      await untilReached(burst.at(-1)?.epoch ?? Number.NaN, [standby, follower]);
      for (const [at, reads] of (await readsOf([standby, follower])).entries())
        expect(reads, "reads from the store instead").toBeGreaterThan(before[at] ?? Number.NaN);
      await first.proxy.heal();
      written.push(...(await untilStreaming(leader, [standby, follower])));
      await expectSameHistory([leader, standby, follower], written);

      // It reaches the store no more: one that is seen there is not taken for dead.
      await leader.ask("storeFails", { fails: true });
      await first.proxy.refuse();
      expect(await standby.ask("firstWrite", { element: "taken over" })).toMatchObject({ outcome: "ok" });
      written.push("taken over");
      await leader.ask("storeFails", { fails: false });
      expect((await leader.ask("write", { element: "too late" })).outcome).not.toBe("ok");
      await until("the step back", async () => (await leader.ask("role")) === "standby");
      await first.proxy.heal();
      // Whoever was fenced does not do the same to its successor.
      await standby.ask("storeFails", { fails: true });
      await next.proxy.refuse();
      await expectNoTakeover([leader], REFUSALS_MS);
      await standby.ask("storeFails", { fails: false });
      await next.proxy.heal();
      written.push(...(await untilStreaming(standby, [leader, follower])));
      await expectSameHistory([leader, standby, follower], written);

      await follower.kill();
      await untilMembersAre("the death of a follower", [leader, standby]);
    });
  }
});

/** A cluster whose leader is silent, and what ends that. */
interface Silence {
  readonly leader: AgentProcess;
  readonly standby: AgentProcess;
  readonly end: () => unknown;
}

async function pausedLeader(): Promise<Silence> {
  const { proxy, spec } = await proxied();
  const common = { store: testDirectory(), settings: PATIENT };
  const { leader, others } = await startCluster(
    common,
    { runtime: "node", ...spec },
    { runtime: "deno", kind: "leader" },
  );
  await untilStreaming(leader, others);
  leader.pause();
  // The standby need not wait until it notices; new connections are made, and nobody speaks there.
  proxy.breakOff();
  return { leader, standby: others[0], end: () => leader.resume() };
}

async function cutOffLeader(): Promise<Silence> {
  const { proxy, spec } = await proxied();
  const common = { store: testDirectory(), settings: PATIENT };
  const { leader, others } = await startCluster(
    common,
    { runtime: "bun", ...spec },
    { runtime: "node", kind: "leader" },
  );
  await untilStreaming(leader, others);
  proxy.cut();
  proxy.breakOff();
  return { leader, standby: others[0], end: () => proxy.heal() };
}

/** `undefined` where the machine allows no network namespaces. */
async function leaderWithoutCable(): Promise<Silence | undefined> {
  const namespace = NetworkNamespace.open();
  if (namespace === undefined) {
    process.stderr.write("this machine allows no network namespaces: only proxies cut connections\n");
    return undefined;
  }
  const { nearHost, farHost, prefix } = namespace;
  // No heartbeat: the leader does reach the store, and who is seen there is not taken for dead.
  const settings = { ...PATIENT, heartbeatIntervalMs: 250_000 };
  const { leader, others } = await startCluster(
    { store: testDirectory(), settings },
    { runtime: "bun", address: `${farHost}:0`, prefix },
    // Bun 1.4.5 says of a host that cannot be reached that it refuses connections.
    { runtime: "node", kind: "leader", address: `${nearHost}:0` },
  );
  await untilStreaming(leader, others);
  namespace.cut();
  return { leader, standby: others[0], end: () => namespace.heal() };
}

describe("a leader that is only silent", () => {
  it("is replaced after the session time-out: paused, or cut off from store and network; it acknowledged nothing wrong, and stands by", {
    timeout: 60_000,
  }, async () => {
    // At the same time: they mostly wait.
    await Promise.all(RUNTIMES.map(expectReplacementAndReturn));
  });

  it("is not replaced before the session time-out: paused, cut off, or with its cable pulled", {
    timeout: 60_000,
  }, async () => {
    const made = await Promise.all([pausedLeader(), cutOffLeader(), leaderWithoutCable()]);
    const silences = made.filter((silence) => silence !== undefined);
    const standbys = silences.map(({ standby }) => standby);
    await expectNoTakeover(standbys, SILENCES_MS);
    for (const { leader, standby, end } of silences) {
      await end();
      expect(await leader.ask("write", { element: "still the leader" })).toMatchObject({ outcome: "ok" });
      await untilStreaming(leader, [standby]);
      await expectSameHistory([leader, standby], ["still the leader"]);
    }
  });
});

describe("a node whose cable is pulled", () => {
  it("follows by way of the store, and over the stream again afterwards, with no gap and no double", {
    timeout: 60_000,
  }, async ({ skip }) => {
    const namespace = NetworkNamespace.open();
    if (namespace === undefined) return skip("this machine allows no network namespaces: the proxy tests must do");
    const { nearHost, farHost, prefix } = namespace;
    const { leader, others } = await startCluster(
      { store: testDirectory(), settings: PATIENT },
      { runtime: "node", address: `${nearHost}:0` },
      { runtime: "bun", kind: "leader", address: `${farHost}:0`, prefix },
      { runtime: "deno", kind: "follower", address: `${nearHost}:0` },
    );
    const [far, near] = others;
    await untilMembersAre("all", [leader, far, near]);
    const written = await untilStreaming(leader, [far, near]);
    const before = await readsOf([far, near]);
    namespace.cut();
    const burst = await leader.ask("burst", { name: "cut", count: 10, pauseMs: 10 });
    await untilReached(burst.at(-1)?.epoch ?? Number.NaN, [far, near]);
    const [farReads = 0, nearReads] = await readsOf([far, near]);
    expect(farReads, "reads from the store instead").toBeGreaterThan(before[0] ?? Number.NaN);
    expect(nearReads, "the others have the stream").toBe(before[1]);
    namespace.heal();
    written.push(...burst.map(({ element }) => element), ...(await untilStreaming(leader, [far, near])));
    await expectSameHistory([leader, far, near], written);
  });
});
