import process from "node:process";
import { onTestFinished } from "vitest";
import { AgentProcess } from "./agent-process.ts";
import type { AgentConfig } from "./agent-protocol.ts";
import type { RuntimeName } from "./runtimes.ts";
import { until } from "./wait.ts";

/** A process that becomes a node when it is told to join; killed when the test ends. */
export function spawnAgent(runtime: RuntimeName, prefix: readonly string[] = []): AgentProcess {
  const agent = new AgentProcess(runtime, prefix);
  onTestFinished(async ({ task }) => {
    await agent.kill();
    // What it said is worth reading only then.
    if (task.result?.state === "fail" && agent.errors !== "") process.stderr.write(`[${runtime}] ${agent.errors}\n`);
  });
  return agent;
}

/** A leader, and others that joined after it. */
export interface AgentCluster<Others extends readonly unknown[]> {
  readonly leader: AgentProcess;
  readonly others: { readonly [At in keyof Others]: AgentProcess };
}

/** How one of several agents is started. */
export interface AgentSpec extends Omit<AgentConfig, "store"> {
  readonly runtime: RuntimeName;
  readonly prefix?: readonly string[];
}

/** Starts them all; the first one leads. */
export async function startCluster<const Others extends readonly AgentSpec[]>(
  common: Omit<AgentConfig, "kind">,
  first: Omit<AgentSpec, "kind">,
  ...rest: Others
): Promise<AgentCluster<Others>> {
  // Processes start in parallel, while the first joins.
  const agents = [first, ...rest].map(({ runtime, prefix }) => spawnAgent(runtime, prefix));
  const [leader, ...others] = agents as [AgentProcess, ...AgentProcess[]];
  await leader.join({ ...common, ...first, kind: "leader" });
  await until("the first leader", async () => (await leader.ask("role")) === "leader");
  await Promise.all(others.map((agent, at) => agent.join({ ...common, ...(rest[at] as AgentSpec) })));
  return { leader, others: others as unknown as AgentCluster<Others>["others"] };
}

/** Who a node says is in the cluster. */
export async function membersAt(agent: AgentProcess): Promise<string[]> {
  return (await agent.ask("status")).members.map(({ uuid }) => uuid).sort();
}

/** Waits until each of `agents` says that they are the members. */
export async function untilMembersAre(what: string, agents: readonly AgentProcess[]): Promise<void> {
  const wanted = agents
    .map(({ uuid }) => uuid)
    .sort()
    .join();
  for (const agent of agents) {
    await until(`${what}, at ${agent.runtime}`, async () => (await membersAt(agent)).join() === wanted);
  }
}

/** Waits until each of `agents` shows an epoch, without asking it to hurry. */
export async function untilReached(epoch: number, agents: readonly AgentProcess[]): Promise<void> {
  for (const agent of agents) {
    await until(`epoch ${epoch} at ${agent.runtime}`, async () => (await agent.ask("status")).replica.epoch >= epoch);
  }
}

/** How often each of `agents` has read an object from the store. */
export async function readsOf(agents: readonly AgentProcess[]): Promise<number[]> {
  return await Promise.all(agents.map(async (agent) => (await agent.ask("status")).store.get.requests));
}

let bursts = 0;

/** Writes until a burst reaches `followers` without one read from the store: over the stream, that is. */
export async function untilStreaming(leader: AgentProcess, followers: readonly AgentProcess[]): Promise<string[]> {
  const written: string[] = [];
  await until("an epoch over the stream", async () => {
    const before = await readsOf(followers);
    bursts++;
    const writes = await leader.ask("burst", { name: `stream-${bursts}`, count: 5, pauseMs: 10 });
    written.push(...writes.map(({ element }) => element));
    await untilReached(writes.at(-1)?.epoch ?? Number.NaN, followers);
    return (await readsOf(followers)).join() === before.join();
  });
  return written;
}
