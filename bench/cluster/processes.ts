/** Clusters of agents (`tests/e2e/fixtures/agent.ts`) for measurements, and the arithmetic on what they tell. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentProcess } from "../../tests/support/agent-process.ts";
import type { AgentConfig } from "../../tests/support/agent-protocol.ts";
import type { RuntimeName } from "../../tests/support/runtimes.ts";
import { until } from "../../tests/support/wait.ts";

const JOIN_MAX_MS = 60_000;

/** Processes on one file-system store, which `end` kills and removes. */
export class BenchCluster {
  readonly #directory: string;
  readonly #config: Omit<AgentConfig, "kind" | "store">;
  readonly #agents: AgentProcess[] = [];

  private constructor(directory: string, config: Omit<AgentConfig, "kind" | "store">) {
    this.#directory = directory;
    this.#config = config;
  }

  /** Runs `measure` on a new one. */
  static async use<T>(
    config: Omit<AgentConfig, "kind" | "store">,
    measure: (cluster: BenchCluster) => Promise<T>,
  ): Promise<T> {
    const cluster = new BenchCluster(await mkdtemp(join(tmpdir(), "lbc-bench-")), config);
    try {
      return await measure(cluster);
    } finally {
      await cluster.#end();
    }
  }

  /** A process that has joined. */
  async start(kind: AgentConfig["kind"], runtime: RuntimeName = "node"): Promise<AgentProcess> {
    const agent = new AgentProcess(runtime);
    this.#agents.push(agent);
    return await agent.join({ ...this.#config, store: this.#directory, kind });
  }

  /** The first process, leading. */
  async startLeader(runtime: RuntimeName = "node"): Promise<AgentProcess> {
    const leader = await this.start("leader", runtime);
    await until("the first leader", async () => (await leader.ask("role")) === "leader");
    return leader;
  }

  /** Waits until everyone at once knows everyone. */
  async untilAllKnowAll(agents: readonly AgentProcess[]): Promise<void> {
    for (const agent of agents) {
      const isComplete = async () => (await agent.ask("status")).members.length === agents.length;
      await until("the roster", isComplete, JOIN_MAX_MS);
    }
  }

  async #end(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.kill()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** The value below which this fraction of `values` is. */
export function quantile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? Number.NaN;
}

/** `p50 …, p99 …, max … ms` */
export function spread(values: readonly number[]): string {
  const [p50, p99, max] = [quantile(values, 0.5), quantile(values, 0.99), Math.max(...values)];
  return `p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, max ${max.toFixed(1)} ms of ${values.length}`;
}
