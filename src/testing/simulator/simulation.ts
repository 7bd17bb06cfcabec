/**
 * One simulated life of a cluster: members that join, clients that read and write, faults by plan; then peace, in which
 * everything has to come to rest; then the judges. The same seed gives the same life, event by event.
 */
import type { LogEvent } from "../../base/log.ts";
import { RetryingStore } from "../../store/retrying-store.ts";
import { READ_LEVELS, type Violation } from "../checkers/operation.ts";
import { planAbsences } from "./absence-plan.ts";
import { CLOCK_RATE_ERROR, Client } from "./client.ts";
import { clientApp } from "./client-app.ts";
import { SimulatedCluster } from "./cluster.ts";
import { Coverage } from "./coverage.ts";
import { Evidence } from "./evidence.ts";
import { type Fault, type PlannedFault, planFaults } from "./fault-plan.ts";
import { Faults } from "./faults.ts";
import { checkHistory } from "./history-check.ts";
import type { SimulatedMember } from "./member.ts";
import type { Profile } from "./profile.ts";
import { Scrutiny } from "./scrutiny.ts";
import { SeededRandom } from "./seeded-random.ts";
import type { SqliteLease, SqlitePool } from "./sqlite-pool.ts";
import { LANDING_MS_MAX } from "./store.ts";
import { Witness } from "./witness.ts";

export interface SimulationOptions {
  readonly seed: number;
  readonly profile: Profile;
  /** Instances for its processes, as many as `SIMULATION_INSTANCES`. */
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
  /** Its register operations were too entangled to find an order of them, or that there is none. */
  readonly isUndecided: boolean;
}

/** What a simulation takes from its pool at the most, a large margin included. */
export const SIMULATION_INSTANCES = 64;

/** Faults begin when the cluster has had this many session time-outs to form. */
const WARM_UP_SESSIONS = 0.5;
const VIOLATIONS_MAX = 20;
const STORE_CLOCK_ERROR_MS_MAX = 5000;
/** Wall clocks are off by less, most of the time … */
const WALL_ERROR_MS_MAX = 5000;
/** … and seldom by up to this. */
const WALL_ERROR_MS_RARE = 7_200_000;
const RARE = 0.03;
const ROLLBACK_SHARE = 0.2;

/** Runs one simulation. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  return await new Simulation(options).run();
}

class Simulation {
  readonly #options: SimulationOptions;
  readonly #random: SeededRandom;
  readonly #evidence = new Evidence();
  readonly #coverage = new Coverage();
  readonly #violations: Violation[] = [];
  readonly #lease: SqliteLease;
  readonly #cluster: SimulatedCluster;
  readonly #clients: Client[];
  readonly #faults: Faults;
  readonly #plan: readonly PlannedFault[];
  /** Fault kinds and until when what follows is counted as theirs. */
  readonly #recent = new Map<string, number>();
  #witness!: Witness;
  #scrutiny!: Scrutiny;
  #isHealed = false;

  constructor(options: SimulationOptions) {
    this.#options = options;
    const { profile, pool, seed } = options;
    this.#random = new SeededRandom(`${profile.name}/${seed}`);
    this.#lease = pool.lease();
    this.#cluster = this.#newCluster();
    this.#plan = options.plan ?? this.#drawPlan();
    const { time, network, weather, members, callWatchers } = this.#cluster;
    this.#faults = new Faults({
      time,
      network,
      weather,
      members,
      callWatchers,
      onHealed: () => {
        this.#isHealed = true;
      },
      onFault: (fault, phase) => this.#onFault(fault, phase),
      onError: (error) => this.#violated("P10", "a node did not leave in order", String(error)),
    });
    this.#clients = Array.from({ length: profile.clientCount }, (_, index) => this.#newClient(`c${index}`));
  }

  async run(): Promise<SimulationResult> {
    const { time } = this.#cluster;
    try {
      const { retentionMs } = this.#options.profile.settings;
      this.#witness = await Witness.create(time, this.#lease, retentionMs, (violation) => this.#report(violation));
      this.#scrutiny = new Scrutiny(this.#cluster, this.#witness, (violation) => this.#report(violation));
      for (const phase of [this.#live, this.#settle, this.#serve, this.#leave, this.#judge]) {
        await phase.call(this);
        if (this.#isOver) break;
      }
    } finally {
      this.#cluster.close();
      this.#lease.release();
    }
    return {
      seed: this.#options.seed,
      profile: this.#options.profile.name,
      traceHash: time.traceHash,
      plan: this.#plan,
      violations: this.#violations,
      coverage: this.#coverage,
      simulatedMs: time.nowMs,
      events: time.eventCount,
      epochs: this.#witness.newestEpoch + 1,
      operations: this.#evidence.operations.length,
      acknowledged: this.#scrutiny.acknowledged,
      isUndecided: this.#scrutiny.isUndecided,
    };
  }

  get #isOver(): boolean {
    return this.#violations.length > 0;
  }

  get #patienceMs(): number {
    const { settings, storeTimeoutMs } = this.#options.profile;
    return settings.sessionTimeoutMs * 4 + storeTimeoutMs * 2;
  }

  async #live(): Promise<void> {
    const { faultyMs } = this.#options.profile;
    const random = this.#random.fork("start");
    for (const [index, member] of this.#cluster.members.entries()) {
      // The first makes the cluster, most of the time alone.
      const soonMs = index === 0 ? 0 : random.between(random.chance(0.2) ? 0 : 40, 100);
      const atMs = random.chance(0.7) || index === 0 ? soonMs : random.between(0, faultyMs / 4);
      this.#cluster.time.schedule(atMs, () => member.start());
    }
    for (const client of this.#clients) client.start();
    this.#faults.schedule(this.#plan);
    await this.#pass(faultyMs);
  }

  /** Nothing goes wrong any more: before long there is one leader, and everybody has what there is. */
  async #settle(): Promise<void> {
    const { settleMs, settings } = this.#options.profile;
    const { time } = this.#cluster;
    this.#trace("the faults end");
    this.#faults.healAll();
    for (const client of this.#clients) client.rest();
    const deadlineMs = time.nowMs + settleMs;
    // Once is not enough: a leader that was paused does not know yet that it is none any more, or waits for an answer.
    const calmMs = 2 * settings.sessionTimeoutMs;
    for (let isCalm = false; !isCalm && time.nowMs < deadlineMs; ) {
      await this.#pass(deadlineMs - time.nowMs, () => this.#scrutiny.isAtRest);
      const { newestEpoch } = this.#witness;
      if (time.nowMs < deadlineMs) await this.#pass(calmMs);
      // While clients write, the newest epoch is not known yet most of the time.
      await this.#pass(settings.sessionTimeoutMs / 4, () => this.#scrutiny.isAtRest);
      if (this.#isOver) return;
      isCalm = this.#scrutiny.isAtRest && this.#witness.newestEpoch > newestEpoch;
    }
    if (this.#scrutiny.isAtRest) return;
    const text = `${settleMs} ms after the faults: ${this.#scrutiny.describe()}`;
    this.#violated("liveness", "the cluster did not come to rest", text);
  }

  /** Whoever is asked writes and reads, what was asked is answered, and the bucket is as small as the retention allows. */
  async #serve(): Promise<void> {
    const { acrossRetention, settings } = this.#options.profile;
    const { members, time } = this.#cluster;
    for (const client of this.#clients) void client.stop();
    await this.#pass(this.#patienceMs, () => this.#clients.every(({ isBusy }) => !isBusy));
    // Also where nobody waits for the answer any more.
    await this.#pass(this.#patienceMs);
    this.#scrutiny.checkAnswered();
    for (const [index, member] of members.entries()) {
      const client = this.#clients[index % this.#clients.length] as Client;
      await this.#expect(client.write(member, { kind: "log" }), `a write from ${member.name}`);
      for (const level of READ_LEVELS)
        await this.#expect(client.read(member, level), `a read (${level}) from ${member.name}`);
      if (this.#isOver) return;
    }
    await this.#rollBack();
    await this.#expectLevel();
    await this.#lookBack(this.#witness.snapshotBefore(time.nowMs - settings.retentionMs) ?? 0);
    if (!acrossRetention || this.#isOver) return;
    // Snapshots that landed late may hold the retention up for as long as they were late.
    const boundary = this.#witness.snapshotBefore(time.nowMs - settings.retentionMs - LANDING_MS_MAX);
    await this.#pass(3 * (settings.retentionIntervalMs ?? 0));
    this.#scrutiny.checkBounded(boundary);
  }

  /** Now and then, for a rollback takes long to judge. */
  async #rollBack(): Promise<void> {
    const random = this.#random.fork("roll back");
    if (!random.chance(ROLLBACK_SHARE)) return;
    const member = random.pick(this.#cluster.members);
    await this.#expect(random.pick(this.#clients).rollback(member), `a rollback asked of ${member.name}`);
  }

  /** Everybody has the same, and nothing of what was read is kept. */
  async #expectLevel(): Promise<void> {
    let isLevel = false;
    await this.#pass(this.#patienceMs, () => {
      isLevel = this.#scrutiny.isLevel;
      return isLevel;
    });
    this.#scrutiny.compareAll();
    if (isLevel) return;
    const pins = this.#cluster.members.map(({ name, node }) => `${name} ${node?.status().db.pins}`).join(", ");
    this.#violated("P10", "a node lags, or keeps a pin", `${this.#scrutiny.describe()}; pins: ${pins}`);
  }

  /** Whatever is younger than the retention can be seen; the oldest of it, too. */
  async #lookBack(oldest: number): Promise<void> {
    const random = this.#random.fork("look back");
    const client = random.pick(this.#clients);
    const member = random.pick(this.#cluster.members);
    const epoch = random.chance(0.5) ? oldest : random.int(oldest, this.#witness.newestEpoch);
    await this.#expect(client.readPast(member, epoch), `a look at epoch ${epoch} from ${member.name}`);
  }

  async #expect(operation: Promise<boolean>, what: string): Promise<void> {
    let isOk: boolean | undefined;
    operation.then((ok) => {
      isOk = ok;
    });
    await this.#pass(this.#patienceMs * 2, () => isOk !== undefined);
    if (isOk === true) return;
    const text = `${what} failed without any fault: ${this.#scrutiny.describe()}`;
    this.#violated("liveness", "the cluster does not serve", text);
  }

  /** Everybody goes, one after the other, and leaves nothing behind. */
  async #leave(): Promise<void> {
    for (const member of this.#cluster.members) {
      let isLeft = false;
      member.stop().then(() => {
        isLeft = true;
      });
      await this.#pass(this.#options.profile.settleMs, () => isLeft);
      if (!isLeft) this.#violated("liveness", "a node does not leave", member.name);
      if (this.#isOver) return;
    }
    await this.#pass(60_000);
    this.#scrutiny.checkNetwork();
  }

  /** What is in the bucket now, and what was told while it came about. */
  async #judge(): Promise<void> {
    const { bucket, id } = this.#cluster;
    const newest = this.#witness.epoch(this.#witness.newestEpoch);
    const found = await checkHistory(id, bucket.objects, this.#lease.open, newest?.stateChecksum);
    for (const violation of found) this.#report(violation);
    if (!this.#isOver) this.#scrutiny.judge(this.#evidence);
  }

  async #pass(forMs: number, isDone: () => boolean = () => false): Promise<void> {
    if (isDone()) return;
    await this.#cluster.run(forMs, () => {
      this.#scrutiny.look();
      return this.#isOver || isDone();
    });
  }

  #newCluster(): SimulatedCluster {
    const { profile, pool, seed } = this.#options;
    const random = this.#random;
    const memberCount = random.int(...profile.members);
    const clocks = Array.from({ length: memberCount }, () => ({
      clockRate: 1 + random.between(-1, 1) * (CLOCK_RATE_ERROR / 2),
      wallOffsetMs: random.between(-1, 1) * (random.chance(RARE) ? WALL_ERROR_MS_RARE : WALL_ERROR_MS_MAX),
    }));
    const cluster = new SimulatedCluster({
      seed: `${profile.name}/${seed}`,
      pool,
      settings: profile.settings,
      storeSpeed: profile.store,
      storeTimeoutMs: profile.storeTimeoutMs,
      storeClockErrorMs: random.between(-1, 1) * STORE_CLOCK_ERROR_MS_MAX,
      wrapStore: (store, { clock, random: chance }, index) =>
        index % 2 === 0 ? store : new RetryingStore(store, { clock, random: chance }),
      clocksOf: (index) => {
        const { clockRate = 1, wallOffsetMs = 0 } = clocks[index] ?? {};
        return { clockRate, wallOffsetMs: this.#isHealed ? 0 : wallOffsetMs };
      },
      bucketEvents: {
        onPut: (key, bytes) => this.#witness.onPut(key, bytes),
        onDeleted: (key) => this.#witness.onDeleted(key),
      },
      onLog: (member, event) => this.#onLog(member, event),
      onLeft: (_member, run) => this.#scrutiny.onLeft(run),
    });
    for (let index = 0; index < memberCount; index++) {
      const candidate = index < 2 || random.chance(0.7);
      cluster.addMember({ name: `n${index + 1}`, candidate, join: { az: `AZ${index % 3}`, app: clientApp() } });
    }
    return cluster;
  }

  #drawPlan(): PlannedFault[] {
    const { faultyMs, faultEveryMs, acrossRetention, settings } = this.#options.profile;
    const { sessionTimeoutMs, retentionMs } = settings;
    const draw = this.#options.profile.plan === "absences" ? planAbsences : planFaults;
    return draw(this.#random.fork("plan"), {
      memberCount: this.#cluster.members.length,
      beginMs: sessionTimeoutMs * WARM_UP_SESSIONS,
      endMs: faultyMs,
      everyMs: faultEveryMs,
      sessionTimeoutMs,
      retentionMs,
      acrossRetention,
    });
  }

  #newClient(name: string): Client {
    const { thinkMs } = this.#options.profile;
    const { time, members } = this.#cluster;
    return new Client({
      time,
      random: this.#random.fork(name),
      members,
      evidence: this.#evidence,
      name,
      thinkMs,
      patienceMs: this.#patienceMs,
      onAcknowledged: (id, epoch, node) => this.#scrutiny.onAcknowledged(id, epoch, node),
      onAsked: (process, what) => this.#scrutiny.onAsked(process, what),
      onViolation: (violation) => this.#report(violation),
    });
  }

  #onLog(member: SimulatedMember, event: LogEvent): void {
    this.#scrutiny.onLog(member, event);
    const { nowMs } = this.#cluster.time;
    const recent = [...this.#recent].filter(([, untilMs]) => untilMs >= nowMs).map(([kind]) => kind);
    const { level, event: name, ...details } = event;
    this.#coverage.event(name, recent);
    if (level !== "debug") this.#trace(`${member.process?.name ?? member.name} ${name} ${JSON.stringify(details)}`);
  }

  #onFault(fault: Fault, phase: "begins" | "ends"): void {
    const { kind } = fault;
    const { nowMs } = this.#cluster.time;
    const { sessionTimeoutMs } = this.#options.profile.settings;
    if (phase === "begins") this.#coverage.fault(kind);
    this.#recent.set(kind, phase === "begins" ? Number.POSITIVE_INFINITY : nowMs + 2 * sessionTimeoutMs);
    this.#cluster.time.witness(kind);
    this.#trace(`${phase === "begins" ? "FAULT" : "mended"} ${JSON.stringify(fault)}`);
  }

  #violated(promise: string, rule: string, text: string): void {
    this.#report({ promise, rule, text });
  }

  #report(violation: Violation): void {
    if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(violation);
    this.#trace(`VIOLATION ${violation.promise}: ${violation.rule}: ${violation.text}`);
  }

  #trace(line: string): void {
    this.#options.onTrace?.(`${(this.#cluster.time.nowMs / 1000).toFixed(4).padStart(12)}  ${line}`);
  }
}
