/** After the faults: everybody is there, one leads, all are equal, writes succeed, and they leave in order. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Violation } from "../../src/testing/checkers/operation.ts";
import type { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { writeThroughAll } from "./clients.ts";
import type { Cluster } from "./cluster.ts";
import type { StateAnswer } from "./member-protocol.ts";
import type { RunRecord } from "./record.ts";

const CONVERGENCE_MAX_MS = 30_000;
const PAUSE_MS = 50;
const LEAVE_MAX_MS = 10_000;

export interface Convergence {
  /** From the end of the last fault. */
  readonly tookMs: number;
  readonly violations: readonly Violation[];
}

/** Waits until the cluster is whole again. */
export async function converge(cluster: Cluster, record: RunRecord, random: SeededRandom): Promise<Convergence> {
  const beganMs = record.nowMs();
  let missing = "";
  for (let attempt = 0; record.nowMs() - beganMs < CONVERGENCE_MAX_MS; attempt++) {
    missing = await whatIsMissing(cluster, record, random, attempt);
    if (missing === "") return { tookMs: record.nowMs() - beganMs, violations: [] };
    await sleep(PAUSE_MS);
  }
  const text = `${CONVERGENCE_MAX_MS} ms after the last fault: ${missing}`;
  const violation = { rule: "the cluster did not recover", promise: "§5", text };
  return { tookMs: CONVERGENCE_MAX_MS, violations: [violation] };
}

async function whatIsMissing(
  cluster: Cluster,
  record: RunRecord,
  random: SeededRandom,
  attempt: number,
): Promise<string> {
  const states = await Promise.all(cluster.members.map((member) => member.state().catch(() => undefined)));
  const silent = cluster.members.filter((_, index) => states[index] === undefined).map(({ name }) => name);
  if (silent.length > 0) return `no answer from ${silent.join(", ")}`;
  const known = states as readonly StateAnswer[];
  const leaders = known.filter(({ isLeader }) => isLeader);
  if (leaders.length !== 1) return `${leaders.length} members lead`;
  if (known.some(({ leader }) => leader !== leaders[0]?.uuid)) return "not all say that the same one leads";
  const isIn = ({ isLeader, isStreaming, memberCount }: StateAnswer) =>
    memberCount === known.length && (isLeader || isStreaming);
  if (!known.every(isIn)) return `not all stream, or know of all: ${JSON.stringify(known)}`;
  const failed = await writeThroughAll(cluster, record, random, attempt);
  if (failed.length > 0) return `no write through ${failed.join(", ")}`;
  return await whatDiffers(cluster);
}

/** Between two heartbeats all are at the same epoch; then their bytes are the same. */
async function whatDiffers(cluster: Cluster): Promise<string> {
  const answers = await Promise.all(cluster.members.map((member) => member.state(true).catch(() => undefined)));
  const states = answers.filter((state) => state !== undefined);
  if (states.length < answers.length) return "not all show what they hold";
  const epochs = new Set(states.map(({ epoch }) => epoch));
  if (epochs.size > 1) return `epochs ${states.map(({ epoch }) => epoch).join(", ")}`;
  const digests = new Set(states.map(({ digest }) => digest));
  return digests.size > 1 ? `different bytes at epoch ${[...epochs]}: ${[...digests].join(", ")}` : "";
}

/** Everybody leaves, one after the other. */
export async function leaveAll(cluster: Cluster): Promise<readonly Violation[]> {
  const violations: Violation[] = [];
  for (const member of cluster.members) {
    const { tookMs, code } = await member.leave();
    if (code === 0 && tookMs < LEAVE_MAX_MS) continue;
    const text = `${member.name} ended with code ${code} ${Math.round(tookMs)} ms after SIGTERM`;
    violations.push({ rule: "a member does not leave in order", promise: "§6", text });
  }
  return violations;
}
