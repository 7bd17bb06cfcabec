/** Clients that write and read through all members, one thing at a time each, and write down what they were told. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Outcome, READ_LEVELS, type ReadLevel } from "../../src/testing/checkers/operation.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { LIST_COUNT } from "../../src/testing/workloads/list-append.ts";
import type { RegisterReading } from "../../src/testing/workloads/registers.ts";
import { pickWork, type Reading, type Work } from "../../src/testing/workloads/workload.ts";
import type { Cluster } from "./cluster.ts";
import { NotServedError, postJson } from "./http-client.ts";
import type { Member } from "./member-process.ts";
import { PATHS, type ReadAnswer, type ReadRequest, type WriteAnswer, type WriteRequest } from "./member-protocol.ts";
import type { RunRecord } from "./record.ts";

const ANSWER_MAX_MS = 3000;
const WRITE_SHARE = 0.5;
const LOCAL_SHARE = 0.3;
/** Of reads; every other one reads the end, which the checkers complete from the history. */
const WHOLE_SHARE = 0.002;
const TAIL_MAX = 30;
const WHOLE_MAX = 1_000_000;
const LEVELS: readonly ReadLevel[] = ["any", ...READ_LEVELS];
const STALENESS_MAX_MS = 800;
/** Searches for an order stay small if a register is used for so many operations. */
const REGISTER_OPERATIONS = 400;
const REGISTERS_AT_ONCE = 3;

export interface ClientsPlan {
  readonly cluster: Cluster;
  readonly record: RunRecord;
  readonly seed: number;
  readonly count: number;
  /** Between two operations of a client, at the most. */
  readonly pauseMaxMs: number;
}

export class Clients {
  readonly #plan: ClientsPlan;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>[];
  #operations = 0;

  /** Begins at once. */
  constructor(plan: ClientsPlan) {
    this.#plan = plan;
    this.#running = Array.from({ length: plan.count }, (_, index) => this.#run(index));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#running);
  }

  async #run(index: number): Promise<void> {
    const { seed, count, pauseMaxMs, cluster, record } = this.#plan;
    const random = new SeededRandom(seed * count + index);
    const client = new Client(index, cluster, record, random);
    while (!this.#stopping.signal.aborted) {
      const era = Math.floor(this.#operations++ / REGISTER_OPERATIONS) * REGISTERS_AT_ONCE;
      const register = era + random.int(0, REGISTERS_AT_ONCE - 1);
      await (random.chance(WRITE_SHARE) ? client.write(register) : client.read(register));
      await sleep(random.between(0, pauseMaxMs));
    }
  }
}

class Client {
  readonly #index: number;
  readonly #cluster: Cluster;
  readonly #record: RunRecord;
  readonly #random: SeededRandom;
  #lives = 0;
  #writes = 0;
  /** The newest epoch that it was told of. */
  #epoch = 0;
  #seen: RegisterReading = { register: -1, value: null };

  constructor(index: number, cluster: Cluster, record: RunRecord, random: SeededRandom) {
    this.#index = index;
    this.#cluster = cluster;
    this.#record = record;
    this.#random = random;
  }

  async write(register: number): Promise<void> {
    const random = this.#random;
    const member = random.pick(this.#cluster.members);
    const id = `${this.#index}.${this.#writes++}`;
    const seen = this.#seen.register === register ? this.#seen : { register, value: null };
    const work = pickWork(random, seen);
    const via = random.chance(LOCAL_SHARE) ? "local" : "leader";
    await this.writeTo(member, { id, work, via });
  }

  async writeTo(member: Member, request: WriteRequest): Promise<WriteAnswer | undefined> {
    const { id, work } = request;
    const { answer, outcome, times, message } = await this.#ask<WriteAnswer>(member, PATHS.write, request);
    const { by: node, epoch, code, swapped } = answer ?? {};
    const base = {
      type: "write",
      client: this.#name,
      node,
      member: member.name,
      id,
      work,
      outcome,
      epoch,
      swapped,
    } as const;
    this.#record.operation({ ...base, ...ended(times, outcome), code, message: answer?.message ?? message });
    if (outcome === "unknown") this.#lives++;
    this.#epoch = Math.max(this.#epoch, epoch ?? 0);
    return answer;
  }

  async read(register: number): Promise<void> {
    const random = this.#random;
    const member = random.pick(this.#cluster.members);
    const level = random.pick(LEVELS);
    const atLeast = level === "atLeast" ? this.#epoch : undefined;
    const maxStalenessMs = level === "maxStaleness" ? random.int(0, STALENESS_MAX_MS - 1) : undefined;
    const list = random.int(0, LIST_COUNT - 1);
    const tailMax = random.chance(WHOLE_SHARE) ? WHOLE_MAX : TAIL_MAX;
    const request: ReadRequest = { level, atLeast, maxStalenessMs, list, register, tailMax };
    const { answer, outcome, times, message } = await this.#ask<ReadAnswer>(member, PATHS.read, request);
    const { by: node, epoch, announcedEpoch, code } = answer ?? {};
    const reading = answer?.reading && this.#interned(answer.reading);
    const asked = { type: "read", client: this.#name, member: member.name, level, atLeast, maxStalenessMs } as const;
    const told = { node, outcome, epoch, announcedEpoch, reading, code, message };
    this.#record.operation({ ...asked, ...told, ...ended(times, outcome) });
    if (outcome === "unknown") this.#lives++;
    if (reading !== undefined) this.#seen = reading.register;
    this.#epoch = Math.max(this.#epoch, epoch ?? 0);
  }

  #interned(reading: Reading): Reading {
    return { ...reading, log: this.#record.intern(reading.log), list: this.#record.intern(reading.list) };
  }

  /** What it asked for without an answer may still be going on: who goes on is another client. */
  get #name(): string {
    return `${this.#index}/${this.#lives}`;
  }

  async #ask<T extends { readonly outcome: Outcome }>(member: Member, path: string, body: WriteRequest | ReadRequest) {
    // Half of the clients reach members as other members do, so that answers get lost on the way.
    const url = member.urlOf(path, this.#index % 2 === 0 ? "direct" : "link");
    const invokedAtMs = this.#record.nowMs();
    try {
      const answer = (await postJson(url, body, ANSWER_MAX_MS, member.agent)) as T;
      const times = { invokedAtMs, endedAtMs: this.#record.nowMs() };
      return { answer, outcome: answer.outcome, times, message: undefined };
    } catch (error) {
      const outcome: Outcome = error instanceof NotServedError ? "not_written" : "unknown";
      const message = error instanceof Error ? error.message : String(error);
      return { answer: undefined, outcome, times: { invokedAtMs, endedAtMs: this.#record.nowMs() }, message };
    }
  }
}

function ended<T extends { readonly invokedAtMs: number; readonly endedAtMs: number }>(times: T, outcome: Outcome) {
  return { ...times, endedAtMs: outcome === "unknown" ? null : times.endedAtMs };
}

/** Writes through every member, each of which must succeed. @returns those through which it did not */
export async function writeThroughAll(
  cluster: Cluster,
  record: RunRecord,
  random: SeededRandom,
  attempt: number,
): Promise<readonly string[]> {
  const work: Work = { kind: "log" };
  const failed: string[] = [];
  for (const [index, member] of cluster.members.entries()) {
    const client = new Client(1000 + attempt * cluster.members.length + index, cluster, record, random);
    const answer = await client.writeTo(member, { id: `end.${attempt}.${index}`, work, via: "leader" });
    if (answer?.outcome !== "ok") failed.push(member.name);
  }
  return failed;
}
