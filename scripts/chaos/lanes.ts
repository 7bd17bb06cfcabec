/** Makes faults happen: in each lane one after the other, in a random order in which each comes once before any comes twice. */
import { setTimeout as sleep } from "node:timers/promises";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import type { Cluster } from "./cluster.ts";
import type { Fault, FaultContext, Lane } from "./fault.ts";
import type { RunRecord } from "./record.ts";

/** Between two faults of a lane, at the most: enough for the cluster to find its way, and not always. */
const QUIET_MAX_MS: Readonly<Record<Lane, number>> = {
  process: 4000,
  restart: 8000,
  pause: 4000,
  network: 3000,
  store: 5000,
};
const LANES = Object.keys(QUIET_MAX_MS) as readonly Lane[];
const QUIET_MIN_MS = 100;

export interface LanesPlan {
  readonly cluster: Cluster;
  readonly record: RunRecord;
  readonly seed: number;
  readonly faults: readonly Fault[];
  readonly sessionTimeoutMs: number;
}

export class Lanes {
  readonly #plan: LanesPlan;
  readonly #stopping = new AbortController();
  readonly #running: Promise<unknown>;
  readonly #now = new Set<string>();

  /** Begins at once. */
  constructor(plan: LanesPlan) {
    this.#plan = plan;
    this.#running = Promise.all(
      LANES.map((lane, index) => {
        const faults = plan.faults.filter((fault) => fault.lane === lane);
        // Numbers of its own, so that what another lane does does not change the order in this one.
        return faults.length === 0
          ? undefined
          : this.#run(faults, new SeededRandom(plan.seed * LANES.length + index), QUIET_MAX_MS[lane]);
      }),
    );
    this.#running.catch(() => {});
  }

  /** What goes wrong at this moment. */
  get now(): readonly string[] {
    return [...this.#now];
  }

  /** Ends every fault. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(faults: readonly Fault[], random: SeededRandom, quietMaxMs: number): Promise<void> {
    const { cluster, sessionTimeoutMs, record } = this.#plan;
    const { signal } = this.#stopping;
    const pause = async (minMs: number, maxMs: number) => {
      if (signal.aborted) return;
      await sleep(random.between(minMs, maxMs), undefined, { signal }).catch(() => {});
    };
    const context: FaultContext = { cluster, random, sessionTimeoutMs, signal, pause };
    for (let bag: Fault[] = []; !signal.aborted; ) {
      if (bag.length === 0) bag = random.shuffled(faults);
      const fault = bag.pop() as Fault;
      await pause(QUIET_MIN_MS, quietMaxMs);
      if (signal.aborted) return;
      const beganAtMs = record.nowMs();
      this.#now.add(fault.name);
      const target = await fault.run(context).finally(() => this.#now.delete(fault.name));
      if (target !== undefined) record.fault({ name: fault.name, target, beganAtMs, endedAtMs: record.nowMs() });
    }
  }
}
