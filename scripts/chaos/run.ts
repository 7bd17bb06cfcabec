/** One run over one store: start, harm, heal, judge. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { type ClusterOptions, FileSystemStore, LittleBigCluster } from "../../src/mod.ts";
import { READ_LEVELS, type Violation } from "../../src/testing/checkers/operation.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { createWorkload } from "../../src/testing/workloads/workload.ts";
import { Clients } from "./clients.ts";
import { Cluster } from "./cluster.ts";
import { converge, leaveAll } from "./convergence.ts";
import { READ_ONLY_DISK } from "./faults-disk.ts";
import { MEMBER_FAULTS } from "./faults-members.ts";
import { judge } from "./judge.ts";
import { Lanes } from "./lanes.ts";
import { checkTemporaryFiles } from "./leftovers.ts";
import { readMemberLogs } from "./member-logs.ts";
import { RunRecord } from "./record.ts";
import type { RunReport } from "./report.ts";
import { CLIENT_COUNT, clientPauseMaxMs, clusterSettings, SESSION_TIMEOUT_MS } from "./settings.ts";
import type { ChaosStore } from "./stores.ts";

const START_MAX_MS = 30_000;
const PROGRESS_MS = 500;

export interface RunPlan {
  readonly store: ChaosStore;
  readonly seconds: number;
  readonly seed: number;
  readonly nodeCount: number;
  /** Exists and is empty but for what the store has there. */
  readonly directory: string;
  readonly keep: boolean;
  onProgress(text: string): void;
}

export async function runChaos(plan: RunPlan): Promise<RunReport> {
  const { store, seconds, seed, nodeCount, directory } = plan;
  const settings = clusterSettings(seconds);
  const logDirectory = join(directory, "logs");
  mkdirSync(logDirectory, { recursive: true });
  await prepare(store, settings);
  const cluster = await Cluster.start({ nodeCount, settings, store, logDirectory });
  const kill = () => void cluster.close();
  process.once("exit", kill);
  try {
    await untilAllAreThere(cluster, plan);
    const record = new RunRecord(directory);
    const workMs = await harm(plan, cluster, record);
    plan.onProgress(`${store.name}: waiting until the cluster is whole again`);
    const { tookMs, violations } = await converge(cluster, record, new SeededRandom(seed));
    const found = [...violations, ...(await leaveAll(cluster))];
    await store.settled();
    await record.close();
    plan.onProgress(`${store.name}: reading the history`);
    const { judgedMs, ...judged } = await timed(() => judge(store, settings, record, directory));
    const { events, others, violations: logged } = readMemberLogs(logDirectory, record.wallAtZeroMs);
    found.push(...logged, ...unexpectedEnds(cluster, others), ...cluster.digests.violations, ...judged.violations);
    const leftovers = findLeftovers(store, cluster, record);
    found.push(...leftovers.violations, ...tooLittle(record, cluster));
    const isKept = plan.keep || found.length > 0;
    if (isKept) await keepHistory(store, directory, found);
    const { operations, faults } = record;
    const { notes, timeline } = judged;
    return {
      store: store.name,
      seed,
      workMs,
      convergedMs: tookMs,
      judgedMs,
      operations,
      faults,
      requestFaults: store.requestFaults(),
      events,
      databasesCompared: cluster.digests.compared,
      timeline,
      notes: [...notes, ...leftovers.notes],
      skipped: store.skipped,
      violations: found,
      directory: isKept ? directory : undefined,
    };
  } finally {
    process.off("exit", kill);
    await cluster.close();
  }
}

async function prepare(store: ChaosStore, settings: Omit<ClusterOptions, "store">): Promise<void> {
  const cluster = new LittleBigCluster({ ...settings, store: store.direct });
  await cluster.init();
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  await node.transaction(createWorkload).durable;
  await node.shutdown();
}

async function untilAllAreThere(cluster: Cluster, { store, onProgress }: RunPlan): Promise<void> {
  onProgress(`${store.name}: starting ${cluster.members.length} processes`);
  const late = sleep(START_MAX_MS, undefined, { ref: false }).then(() => "late" as const);
  const ready = Promise.all(cluster.members.map((member) => member.ready));
  if ((await Promise.race([ready, late])) === "late")
    throw new Error(`not every member was there within ${START_MAX_MS} ms`);
}

/** Clients and faults, for as long as the plan says. @returns how long that was */
async function harm(plan: RunPlan, cluster: Cluster, record: RunRecord): Promise<number> {
  const { seconds, seed, store } = plan;
  const faults = [...MEMBER_FAULTS, ...store.faults];
  const clients = new Clients({ cluster, record, seed, count: CLIENT_COUNT, pauseMaxMs: clientPauseMaxMs(seconds) });
  const lanes = new Lanes({
    cluster,
    record,
    seed,
    faults,
    sessionTimeoutMs: SESSION_TIMEOUT_MS,
  });
  const endMs = performance.now() + seconds * 1000;
  while (performance.now() < endMs) {
    const leftS = Math.ceil((endMs - performance.now()) / 1000);
    const epoch = Math.max(0, ...cluster.states.map((state) => state?.epoch ?? 0));
    const doing = lanes.now.join(", ") || "quiet";
    plan.onProgress(`${store.name}: ${leftS} s left, epoch ${epoch}, ${record.operations.length} operations; ${doing}`);
    await sleep(Math.min(PROGRESS_MS, Math.max(1, endMs - performance.now())));
  }
  await lanes.stop();
  await clients.stop();
  for (const member of cluster.members) member.start();
  return record.nowMs();
}

/** A run in which hardly anything happened would find nothing wrong. */
function tooLittle({ operations, faults }: RunRecord, { digests }: Cluster): Violation[] {
  const answered = operations.filter(({ outcome }) => outcome === "ok");
  const counts = {
    "writes that were acknowledged": answered.filter(({ type }) => type === "write").length,
    ...Object.fromEntries(
      READ_LEVELS.map((level) => [
        `reads (${level}) that were answered`,
        answered.filter((operation) => operation.type === "read" && operation.level === level).length,
      ]),
    ),
    "faults that happened": faults.length,
    "databases that were compared": digests.compared,
  };
  const missing = Object.entries(counts).filter(([, count]) => count === 0);
  return missing.map(([what]) => ({ rule: "the run shows nothing", promise: "", text: `there are no ${what}` }));
}

function unexpectedEnds({ unexpectedEnds: ends }: Cluster, said: readonly string[]): Violation[] {
  return ends.map(({ member, code, signal }) => {
    const last = said.filter((line) => line.startsWith(member)).slice(-30);
    const text = `${member}: code ${code}, signal ${signal}\n${last.join("\n")}`;
    return { rule: "a process ended by itself", promise: "P10", text };
  });
}

function findLeftovers({ directory }: ChaosStore, { members }: Cluster, { faults, wallAtZeroMs }: RunRecord) {
  if (directory === undefined) return { violations: [], notes: [] };
  const killed = new Set(members.flatMap((member) => member.killed));
  const readOnly = faults.filter(({ name }) => name === READ_ONLY_DISK);
  const { violations, allowed } = checkTemporaryFiles(directory, killed, readOnly, wallAtZeroMs);
  const notes =
    allowed === 0 ? [] : [`${allowed} temporary files of killed processes, or of a disk that was read-only`];
  return { violations, notes };
}

/** What the store held, beside the rest of the evidence: the store itself may be gone soon. */
async function keepHistory({ direct }: ChaosStore, directory: string, found: readonly Violation[]): Promise<void> {
  writeFileSync(join(directory, "violations.json"), JSON.stringify(found, null, 2));
  const copy = new FileSystemStore(join(directory, "history"));
  for (let startAfter: string | undefined, more = true; more; ) {
    const page = await direct.list(".lbc/", { startAfter });
    for (const { key } of page.objects) {
      const object = await direct.get(key);
      if (object !== undefined) await copy.put(key, object.bytes);
    }
    startAfter = page.objects.at(-1)?.key;
    more = page.more && startAfter !== undefined;
  }
}

async function timed<T extends object>(action: () => Promise<T>): Promise<T & { readonly judgedMs: number }> {
  const beganMs = performance.now();
  const result = await action();
  return { ...result, judgedMs: performance.now() - beganMs };
}
