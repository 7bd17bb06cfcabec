/**
 * One simulated life of a cluster: members that join, clients that read and write, faults by plan; then peace, in which
 * everything has to come to rest; then the judges. The same seed gives the same life, event by event.
 */
import type { LogEvent } from "../../base/log.ts";
import type { ClusterNode } from "../../node/node.ts";
import { RetryingStore } from "../../store/retrying-store.ts";
import { checkOperations } from "../checkers/check-operations.ts";
import { checkLinearizable } from "../checkers/linearizable.ts";
import type { Violation } from "../checkers/operation.ts";
import { checkReadings } from "../workloads/check-readings.ts";
import { SimulatedBucket } from "./bucket.ts";
import { CLOCK_RATE_ERROR, Client, clientApp, Evidence } from "./client.ts";
import { Coverage } from "./coverage.ts";
import { describeFault, type Fault, type PlannedFault, planFaults } from "./fault-plan.ts";
import { Faults } from "./faults.ts";
import { type MemberRun, type MemberWorld, SimulatedMember } from "./member.ts";
import { SimulatedNetwork } from "./network.ts";
import type { Profile } from "./profile.ts";
import { SeededRandom } from "./seeded-random.ts";
import type { SqliteLease, SqlitePool } from "./sqlite-pool.ts";
import { SimulatedStore } from "./store.ts";
import { VirtualTime } from "./virtual-time.ts";
import { StoreWeather } from "./weather.ts";
import { Witness } from "./witness.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly profile: Profile;
  /** Instances for its processes: 40 are enough for most. */
  readonly pool: SqlitePool;
  /** *Default*: drawn from the seed. */
  readonly plan?: readonly PlannedFault[] | undefined;
  /** Told of what happens, for people. */
  readonly onTrace?: ((line: string) => void) | undefined;
}

export interface SimulationResult {
  readonly seed: number;
  readonly profile: string;
  /** The same seed gives the same. */
  readonly traceHash: string;
  readonly plan: readonly PlannedFault[];
  readonly violations: readonly Violation[];
  readonly coverage: Coverage;
  readonly simulatedMs: number;
  readonly events: number;
  readonly epochs: number;
  readonly operations: number;
  readonly acknowledged: number;
}

/** Faults begin when the cluster has had this many session time-outs to form. */
const WARM_UP_SESSIONS = 0.5;
const VIOLATIONS_MAX = 20;

/** Runs one simulation. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return await new Simulation(options).run();
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #random: SeededRandom;
  readonly #time = new VirtualTime();
  readonly #evidence = new Evidence();
  readonly #coverage = new Coverage();
  readonly #violations: Violation[] = [];
  readonly #lease: SqliteLease;
  readonly #members: SimulatedMember[];
  readonly #clients: Client[];
  readonly #network: SimulatedNetwork;
  readonly #bucket: SimulatedBucket;
  readonly #weather: StoreWeather;
  readonly #faults: Faults;
  readonly #plan: readonly PlannedFault[];
  /** Fault kinds and until when what follows is counted as theirs. */
  readonly #recent = new Map<string, number>();
  readonly #seenEpochs = new WeakMap<ClusterNode, number>();
  #witness!: Witness;
  #acknowledged = 0;
  #isHealed = false;

  constructor(options: SimulationOptions) {
    this.#options = options;
    const { profile, pool, seed } = options;
    const random = new SeededRandom(`${profile.name}/${seed}`);
    this.#random = random;
    this.#lease = pool.lease();
    const time = this.#time;
    this.#network = new SimulatedNetwork({ time, random: random.fork("network") });
    const wallOffsetMs = random.between(-1, 1) * 5_000;
    this.#bucket = new SimulatedBucket(time, wallOffsetMs, {
      onPut: (key, bytes) => this.#witness.onPut(key, bytes),
      onDeleted: (key) => this.#witness.onDeleted(key),
    });
    const memberCount = random.int(3, 7);
    this.#members = Array.from({ length: memberCount }, (_, index) => this.#newMember(index));
    const hostOf = (index: number) => this.#members[index]?.host ?? "";
    this.#weather = new StoreWeather(random.fork("weather"), profile.store, hostOf);
    const { sessionTimeoutMs, retentionMs } = profile.settings;
    this.#plan =
      options.plan ??
      planFaults(random.fork("plan"), {
        memberCount,
        beginMs: sessionTimeoutMs * WARM_UP_SESSIONS,
        endMs: profile.faultyMs,
        everyMs: profile.faultEveryMs,
        sessionTimeoutMs,
        retentionMs,
        acrossRetention: profile.acrossRetention,
      });
    this.#faults = new Faults({
      time,
      network: this.#network,
      weather: this.#weather,
      members: this.#members,
      onHealed: () => {
        this.#isHealed = true;
      },
      onFault: (fault, phase) => this.#onFault(fault, phase),
      onError: (error) => this.#violated("P10", "a node did not leave in order", String(error)),
    });
    this.#clients = Array.from({ length: profile.clientCount }, (_, index) => this.#newClient(`c${index}`));
  }

  async run(): Promise<SimulationResult> {
    const { seed, profile } = this.#options;
    try {
      this.#witness = await Witness.create(this.#time, this.#lease, (violation) => this.#report(violation));
      await this.#live();
      if (!this.#isOver) await this.#settle();
      if (!this.#isOver) await this.#leave();
      if (!this.#isOver) this.#judge();
    } finally {
      for (const member of this.#members) member.crash();
      this.#lease.release();
    }
    return {
      seed,
      profile: profile.name,
      traceHash: this.#time.traceHash,
      plan: this.#plan,
      violations: this.#violations,
      coverage: this.#coverage,
      simulatedMs: this.#time.nowMs,
      events: this.#time.eventCount,
      epochs: this.#witness.newestEpoch + 1,
      operations: this.#evidence.operations.length,
      acknowledged: this.#acknowledged,
    };
  }

  get #isOver(): boolean {
    return this.#violations.length > 0;
  }

  async #live(): Promise<void> {
    const { faultyMs } = this.#options.profile;
    const random = this.#random.fork("start");
    for (const member of this.#members) {
      this.#time.schedule(random.chance(0.7) ? random.between(0, 50) : random.between(0, faultyMs / 4), () =>
        member.start(),
      );
    }
    for (const client of this.#clients) client.start();
    this.#faults.schedule(this.#plan);
    await this.#pass(faultyMs);
  }

  /** Nothing goes wrong any more: there is one leader before long, everybody has what there is, everybody can write. */
  async #settle(): Promise<void> {
    const { settleMs, settings } = this.#options.profile;
    this.#trace("the faults end");
    this.#faults.healAll();
    const deadlineMs = this.#time.nowMs + settleMs;
    // Once is not enough: a leader that was paused does not know yet that it is none any more.
    const calmMs = 2 * settings.sessionTimeoutMs;
    for (let isCalm = false; !isCalm && this.#time.nowMs < deadlineMs; isCalm = this.#isAtRest()) {
      await this.#passUntil(deadlineMs, () => this.#isAtRest());
      if (this.#time.nowMs < deadlineMs) await this.#pass(this.#time.nowMs + calmMs);
      if (this.#isOver) return;
    }
    if (!this.#isAtRest()) {
      this.#violated(
        "liveness",
        "the cluster did not come to rest",
        `${settleMs} ms after the faults: ${this.#state()}`,
      );
      return;
    }
    for (const client of this.#clients) void client.stop();
    await this.#passUntil(this.#time.nowMs + settleMs, () => this.#clients.every(({ isBusy }) => !isBusy));
    for (const [index, client] of this.#clients.entries()) {
      const member = this.#members[index % this.#members.length] as SimulatedMember;
      await this.#expect(client.write(member, { kind: "log" }), `a write from ${member.name}`);
      await this.#expect(client.read(member, "linearizable"), `a linearizable read from ${member.name}`);
      if (this.#isOver) return;
    }
    if (this.#options.profile.acrossRetention) await this.#expectBounded(settings.retentionMs);
  }

  async #expect(operation: Promise<boolean>, what: string): Promise<void> {
    let isDone = false;
    let isOk = false;
    operation.then((ok) => {
      [isDone, isOk] = [true, ok];
    });
    await this.#passUntil(this.#time.nowMs + this.#patienceMs * 2, () => isDone);
    if (!isOk)
      this.#violated("liveness", "the cluster does not serve", `${what} failed without any fault: ${this.#state()}`);
  }

  /** What the retention allows to be deleted is gone. */
  async #expectBounded(retentionMs: number): Promise<void> {
    const { retentionIntervalMs = 0 } = this.#options.profile.settings;
    const boundary = this.#witness.snapshotBefore(this.#time.nowMs - retentionMs);
    await this.#pass(this.#time.nowMs + 3 * retentionIntervalMs);
    const lowest = this.#witness.lowestPresent ?? 0;
    if (this.#isOver || boundary === undefined || lowest >= boundary) return;
    this.#violated(
      "P10",
      "the bucket grows without bound",
      `epoch ${lowest} is there, a snapshot of ${boundary} is older than the retention`,
    );
  }

  /** Everybody goes, and leaves nothing behind. */
  async #leave(): Promise<void> {
    const { settleMs } = this.#options.profile;
    this.#checkPins();
    for (const member of this.#members) {
      const leaving = member.stop();
      let isLeft = false;
      leaving.then(() => {
        isLeft = true;
      });
      await this.#passUntil(this.#time.nowMs + settleMs, () => isLeft);
      if (!isLeft) this.#violated("liveness", "a node does not leave", member.name);
      if (this.#isOver) return;
    }
    await this.#pass(this.#time.nowMs + 60_000);
    const { connectionCount, listenerCount } = this.#network;
    if (connectionCount + listenerCount > 0)
      this.#violated("P10", "connections are left", `${connectionCount} connections, ${listenerCount} listeners`);
  }

  #judge(): void {
    const timeline = this.#witness.timeline();
    const { operations, readings, registers, works } = this.#evidence;
    for (const violation of checkOperations(operations, timeline)) this.#report(violation);
    for (const violation of checkReadings(readings, timeline, (id) => works.get(id))) this.#report(violation);
    // A rollback sets registers back, which a register does not do.
    if ((timeline.rollbackEpochs?.size ?? 0) > 0) return;
    const linearizable = checkLinearizable(registers);
    if (linearizable.verdict === "violated")
      this.#violated("P1, P2", "registers are not linearizable", linearizable.text);
  }

  /** After every event: what nodes show is the history. */
  #look(): boolean {
    for (const { node, process } of this.#members) {
      if (node === undefined || process?.state !== "running") continue;
      const epoch = node.epoch.current;
      const before = this.#seenEpochs.get(node) ?? -1;
      if (epoch === before) continue;
      this.#seenEpochs.set(node, epoch);
      if (epoch < before) this.#violated("P2", "a node went back", `from ${before} to ${epoch}, ${process.name}`);
      const { state_checksum: found } = node.status().replica;
      const expected = this.#witness.epoch(epoch)?.stateChecksum;
      if (found !== expected)
        this.#violated(
          "P2",
          "a node shows another database than its epoch",
          `${process.name} at ${epoch}: ${found}, not ${expected}`,
        );
    }
    return this.#isOver;
  }

  #isAtRest(): boolean {
    const nodes = this.#members.map(({ node }) => node);
    const leaders = nodes.filter((node) => node?.role.current === "leader");
    const { newestEpoch } = this.#witness;
    return leaders.length === 1 && nodes.every((node) => node !== undefined && node.epoch.current >= newestEpoch - 1);
  }

  #checkPins(): void {
    for (const { node, name } of this.#members) {
      const pins = node?.status().db.pins ?? 0;
      // The readers' own, and a snapshot's that is being written.
      if (pins > 2) this.#violated("P10", "pins are left", `${pins} on ${name}`);
    }
  }

  #onAcknowledged(id: string, epoch: number, node: string): void {
    this.#acknowledged++;
    const witnessed = this.#witness.epoch(epoch);
    if (witnessed === undefined) this.#violated("P1", "acknowledged before it was durable", `${id} in epoch ${epoch}`);
    else if (witnessed.writer !== node)
      this.#violated(
        "P3",
        "acknowledged by a node that did not write the epoch",
        `${id} in epoch ${epoch} by ${node}, written by ${witnessed.writer}`,
      );
  }

  #onLog(member: SimulatedMember, event: LogEvent): void {
    this.#time.witness(`${member.name} ${event.event}`);
    if (event.event === "node_failed" || event.event === "leadership_crashed")
      this.#violated("P10", "a node met an impossible state", `${member.name}: ${event["reason"]}`);
    const now = this.#time.nowMs;
    this.#coverage.event(
      event.event,
      [...this.#recent].filter(([, untilMs]) => untilMs >= now).map(([kind]) => kind),
    );
    const { level, event: name, ...details } = event;
    if (level !== "debug") this.#trace(`${member.process?.name ?? member.name} ${name} ${JSON.stringify(details)}`);
  }

  #onLeft(run: MemberRun): void {
    const { process, store } = run;
    if (process.timerCount > 0) this.#violated("P10", "timers are left", `${process.timerCount} of ${process.name}`);
    if (store.pendingCount > 0)
      this.#violated("P10", "store calls are left", `${store.pendingCount} of ${process.name}`);
  }

  #onFault(fault: Fault, phase: "begins" | "ends"): void {
    const { kind } = fault;
    const { sessionTimeoutMs } = this.#options.profile.settings;
    if (phase === "begins") this.#coverage.fault(kind);
    this.#recent.set(kind, phase === "begins" ? Number.POSITIVE_INFINITY : this.#time.nowMs + 2 * sessionTimeoutMs);
    this.#time.witness(kind);
    this.#trace(`${phase === "begins" ? "FAULT" : "mended"} ${JSON.stringify(fault)}`);
  }

  async #pass(untilMs: number): Promise<void> {
    await this.#time.run(untilMs, () => this.#look());
  }

  async #passUntil(untilMs: number, isDone: () => boolean): Promise<void> {
    if (isDone()) return;
    await this.#time.run(untilMs, () => this.#look() || isDone());
  }

  get #patienceMs(): number {
    return this.#options.profile.settings.sessionTimeoutMs * 4 + 20_000;
  }

  #newMember(index: number): SimulatedMember {
    const { profile, pool } = this.#options;
    const random = this.#random.fork(`member ${index}`);
    const [time, network] = [this.#time, this.#network];
    const clockRate = 1 + random.between(-1, 1) * (CLOCK_RATE_ERROR / 2);
    const wallOffsetMs = random.between(-1, 1) * (random.chance(0.1) ? 7_200_000 : 5_000);
    const world: MemberWorld = {
      id: "simulated",
      time,
      network,
      random,
      pool,
      settings: profile.settings,
      storeOf: (process) =>
        new SimulatedStore({
          time,
          bucket: this.#bucket,
          process,
          weather: (...call) => this.#weather.fateOf(...call),
        }),
      wrap: (store, { clock, random: chance }) =>
        index % 2 === 0 ? store : new RetryingStore(store, { clock, random: chance }),
      clocksOf: () => ({ clockRate, wallOffsetMs: this.#isHealed ? 0 : wallOffsetMs }),
      onLog: (member, event) => this.#onLog(member, event),
      onJoined: () => {},
      onLeft: (_member, run) => this.#onLeft(run),
    };
    return new SimulatedMember(world, `10.0.0.${index + 1}`, {
      name: `n${index + 1}`,
      candidate: index < 2 || random.chance(0.7),
      join: { az: `AZ${index % 3}`, app: clientApp() },
    });
  }

  #newClient(name: string): Client {
    const { thinkMs } = this.#options.profile;
    return new Client({
      time: this.#time,
      random: this.#random.fork(name),
      members: this.#members,
      evidence: this.#evidence,
      name,
      thinkMs,
      patienceMs: this.#patienceMs,
      onAcknowledged: (id, epoch, node) => this.#onAcknowledged(id, epoch, node),
    });
  }

  #state(): string {
    const of = ({ name, node, process }: SimulatedMember) =>
      `${name} ${process?.state ?? "down"} ${node?.role.current ?? "joining"} ${node?.epoch.current ?? "-"}`;
    return `newest ${this.#witness.newestEpoch}; ${this.#members.map(of).join(", ")}`;
  }

  #violated(promise: string, rule: string, text: string): void {
    this.#report({ promise, rule, text });
  }

  #report(violation: Violation): void {
    if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(violation);
    this.#trace(`VIOLATION ${violation.promise}: ${violation.rule}: ${violation.text}`);
  }

  #trace(line: string): void {
    this.#options.onTrace?.(`${(this.#time.nowMs / 1000).toFixed(4).padStart(12)}  ${line}`);
  }
}

/** The plan of a result, for people. */
export function describePlan(plan: readonly PlannedFault[]): string {
  return plan.map(describeFault).join("\n");
}
