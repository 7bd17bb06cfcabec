/** Clusters of real processes in all nine pairings of runtimes: push, members, and the death of a leader. */
import { describe, expect, it } from "vitest";
import { readsOf, startCluster, untilMembersAre, untilReached, untilStreaming } from "../support/agent.ts";
import type { AgentProcess } from "../support/agent-process.ts";
import type { WriteOutcome } from "../support/agent-protocol.ts";
import { testDirectory } from "../support/directory.ts";
import { RUNTIMES } from "../support/runtimes.ts";
import { until } from "../support/wait.ts";

/** Nothing happens by itself while a test runs: no heartbeat, no report, no time-out. */
const SILENT = { heartbeatIntervalMs: 250_000, sessionTimeoutMs: 600_000, gossipIntervalMs: 60_000 };
const BURST = 30;

/** Every epoch once and in its turn; the same elements everywhere. */
async function expectNoGapAndNoDouble(agents: readonly AgentProcess[], after: number): Promise<void> {
  const histories = await Promise.all(agents.map((agent) => agent.ask("elements")));
  for (const { elements, epoch } of histories) {
    expect({ epoch, elements }).toEqual(histories[0]);
    expect(new Set(elements).size, "none is doubled").toBe(elements.length);
  }
  for (const agent of agents) {
    const epochs = (await agent.ask("observations", { after })).map(({ epoch }) => epoch);
    expect(epochs, "none is shown twice").toEqual([...new Set(epochs)].sort((a, b) => a - b));
  }
}

async function expectPush(leader: AgentProcess, followers: readonly AgentProcess[]): Promise<void> {
  const earlier = await untilStreaming(leader, followers);
  const before = await readsOf(followers);
  const writes = await leader.ask("burst", { name: "push", count: BURST, pauseMs: 10 });
  await untilReached(writes.at(-1)?.epoch ?? Number.NaN, followers);
  expect(await readsOf(followers), "reads of the followers").toEqual(before);
  const written = [...earlier, ...writes.map(({ element }) => element)];
  for (const follower of followers) expect((await follower.ask("elements")).elements).toEqual(written);
  await expectNoGapAndNoDouble([leader, ...followers], 0);
}

function elementsOf(outcomes: readonly WriteOutcome[], name: string, outcome: string): string[] {
  return outcomes.filter((write) => write.element.startsWith(name) && write.outcome === outcome).map((w) => w.element);
}

/** What the writers were told is so, at each of `agents`. */
async function expectTruth(outcomes: readonly WriteOutcome[], agents: readonly AgentProcess[]): Promise<void> {
  const failedPuts = outcomes.filter(({ element, outcome }) => element.startsWith("safe") && outcome !== "ok");
  expect(failedPuts, "what may be repeated succeeds").toEqual([]);
  const told = outcomes.filter(({ element, outcome }) => element.startsWith("unsafe") && outcome !== "ok");
  expect(told.filter(({ outcome }) => outcome !== "outcome_unknown")).toEqual([]);
  for (const agent of agents) {
    await agent.ask("sync");
    const { elements } = await agent.ask("elements");
    expect(new Set(elements).size, "none is doubled").toBe(elements.length);
    const lost = elementsOf(outcomes, "unsafe", "ok").filter((element) => !elements.includes(element));
    expect(lost, "none is lost").toEqual([]);
    const items = await agent.ask("items");
    expect(elementsOf(outcomes, "safe", "ok").filter((key) => items[key] !== key)).toEqual([]);
  }
}

/** Clients that write through whoever leads. */
async function startLoad(follower: AgentProcess): Promise<void> {
  await follower.ask("load", { name: "unsafe", writers: 2, pauseMs: 2, via: "append" });
  await follower.ask("load", { name: "safe", writers: 2, pauseMs: 2, via: "put" });
  await until("writes", async () => (await follower.ask("acknowledged")) > 40);
}

async function expectFailover(dying: AgentProcess, standby: AgentProcess, follower: AgentProcess): Promise<void> {
  await startLoad(follower);
  const first = standby.ask("firstWrite", { element: "first" });
  await dying.kill();
  expect((await first).outcome).toBe("ok");
  const before = await follower.ask("acknowledged");
  await until("writes after it", async () => (await follower.ask("acknowledged")) > before + 40);
  await expectTruth(await follower.ask("stopLoad"), [standby, follower]);
}

describe("a cluster of three processes", () => {
  for (const [a, leading] of RUNTIMES.entries()) {
    for (const [b, standing] of RUNTIMES.entries()) {
      const third = RUNTIMES[(a + b) % RUNTIMES.length] ?? "node";
      it(`pushes every epoch once, replaces a killed leader at once, and knows its members: ${leading} leads, ${standing} stands by, ${third} follows`, {
        timeout: 60_000,
      }, async () => {
        const common = { store: testDirectory(), settings: SILENT };
        const cluster = await startCluster(
          common,
          { runtime: leading },
          { runtime: standing, kind: "leader", az: "AZ1" },
          { runtime: third, kind: "follower", az: "AZ2", roles: ["third"] },
        );
        const { leader } = cluster;
        const [standby, follower] = cluster.others;
        await untilMembersAre("both joins", [leader, standby, follower]);
        await expectPush(leader, [standby, follower]);
        await expectFailover(leader, standby, follower);
        await untilMembersAre("the death", [standby, follower]);
        await follower.ask("shutdown");
        await untilMembersAre("the leaving", [standby]);
        expect(await follower.exited).toEqual({ code: 0, signal: null });
      });
    }
  }

  for (const [at, runtime] of RUNTIMES.entries()) {
    const [second = "node", third = "node"] = [RUNTIMES[(at + 1) % 3], RUNTIMES[(at + 2) % 3]];
    it(`hands over from ${runtime} to ${second} and back, and no client on ${third} notices`, {
      timeout: 60_000,
    }, async () => {
      const { leader, others } = await startCluster(
        { store: testDirectory(), settings: SILENT },
        { runtime },
        { runtime: second, kind: "leader" },
        { runtime: third, kind: "follower" },
      );
      const [standby, follower] = others;
      await untilStreaming(leader, [standby, follower]);
      await startLoad(follower);
      for (const [from, to] of [
        [leader, standby],
        [standby, leader],
      ] as const) {
        await from.ask("stepDown");
        await until("the hand-over", async () => (await to.ask("role")) === "leader");
        const before = await follower.ask("acknowledged");
        await until("writes after it", async () => (await follower.ask("acknowledged")) > before + 40);
      }
      const outcomes = await follower.ask("stopLoad");
      expect(outcomes.filter(({ outcome }) => outcome !== "ok")).toEqual([]);
      await expectTruth(outcomes, [leader, standby, follower]);
    });
  }
});
