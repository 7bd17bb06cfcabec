/** Looks at a simulated cluster after every event, and in the end: what may never be, and what must come to be. */
import type { LogEvent } from "../../base/log.ts";
import type { ClusterNode } from "../../node/node.ts";
import { checkOperations } from "../checkers/check-operations.ts";
import type { Violation } from "../checkers/operation.ts";
import { checkReadings } from "../workloads/check-readings.ts";
import { checkRegisters } from "../workloads/check-registers.ts";
import type { SimulatedCluster } from "./cluster.ts";
import type { Evidence } from "./evidence.ts";
import type { MemberRun, SimulatedMember } from "./member.ts";
import type { SimulatedProcess } from "./process.ts";
import type { Witness } from "./witness.ts";

/** Of the search for an order of the register operations: a second or so. */
const SEARCH_STEPS_MAX = 50_000;
/** Each request under way has one. */
const TIMERS_MAX = 5000;
/** Events of a node that should never be. */
const IMPOSSIBLE: readonly string[] = ["node_failed", "leadership_crashed", "http_handler_failed"];

/** What a process was asked for, and has not answered. */
interface Question {
  readonly process: SimulatedProcess;
  readonly what: string;
}

export class Scrutiny {
  readonly #cluster: SimulatedCluster;
  readonly #witness: Witness;
  readonly #onViolation: (violation: Violation) => void;
  readonly #seenEpochs = new WeakMap<ClusterNode, number>();
  readonly #questions = new Set<Question>();
  /** Writes that were acknowledged. */
  acknowledged: number = 0;
  /** A search for an order of register operations was given up. */
  isUndecided: boolean = false;

  constructor(cluster: SimulatedCluster, witness: Witness, onViolation: (violation: Violation) => void) {
    this.#cluster = cluster;
    this.#witness = witness;
    this.#onViolation = onViolation;
  }

  /** After every event: what nodes show is the history. */
  look(): void {
    for (const { node, process } of this.#cluster.members) {
      if (node === undefined || process?.state !== "running") continue;
      const { timerPeak } = process;
      if (timerPeak > TIMERS_MAX)
        this.#violated("P10", "a node goes round in circles", `${timerPeak} timers at a time`);
      const epoch = node.epoch.current;
      const before = this.#seenEpochs.get(node) ?? -1;
      if (epoch === before) continue;
      this.#seenEpochs.set(node, epoch);
      if (epoch < before) this.#violated("P2", "a node went back", `from ${before} to ${epoch}, ${process.name}`);
      this.#compare(node, process);
    }
  }

  /** A node that has read everything anew may show another database at the same number. */
  compareAll(): void {
    for (const { node, process } of this.#cluster.members) {
      if (node !== undefined && process?.state === "running") this.#compare(node, process);
    }
  }

  #compare(node: ClusterNode, process: SimulatedProcess): void {
    const epoch = node.epoch.current;
    const found = node.status().replica.state_checksum;
    const expected = this.#witness.epoch(epoch)?.stateChecksum;
    const text = `${process.name} at ${epoch}: ${found}, not ${expected}`;
    if (found !== expected) this.#violated("P2, P4", "a node shows another database than its epoch", text);
  }

  /** A process is asked for something: gives what tells that it has answered. */
  onAsked(process: SimulatedProcess, what: string): () => void {
    const question: Question = { process, what };
    this.#questions.add(question);
    return () => this.#questions.delete(question);
  }

  /** Nobody asks any more, and there was time: what a process that runs was asked for is answered, by an error if need be. */
  checkAnswered(): void {
    for (const { process, what } of this.#questions) {
      if (process.state === "running")
        this.#violated("liveness", "a question is never answered", `${what} at ${process.name}`);
    }
  }

  /** A write was acknowledged to a client. */
  onAcknowledged(id: string, epoch: number, node: string): void {
    this.acknowledged++;
    const witnessed = this.#witness.epoch(epoch);
    if (witnessed === undefined) {
      this.#violated("P1", "acknowledged before it was durable", `${id} in epoch ${epoch}`);
    } else if (witnessed.writer !== node) {
      const text = `${id} in epoch ${epoch} by ${node}, written by ${witnessed.writer}`;
      this.#violated("P3", "acknowledged by a node that did not write the epoch", text);
    }
  }

  onLog(member: SimulatedMember, event: LogEvent): void {
    if (!IMPOSSIBLE.includes(event.event)) return;
    const why = event["reason"] ?? event["error"];
    // Who goes away makes handlers fail that read from him: nobody's mistake.
    if (event.level !== "debug")
      this.#violated("P10", "a node met an impossible state", `${member.name} ${event.event}: ${why}`);
  }

  /** A node has left: nothing of it may wait for anything. */
  onLeft({ process, store }: MemberRun): void {
    const { timerCount } = process;
    const { pendingCount } = store;
    if (timerCount > 0) this.#violated("P10", "timers are left", `${timerCount} of ${process.name}`);
    if (pendingCount > 0) this.#violated("P10", "store calls are left", `${pendingCount} of ${process.name}`);
    const connectionCount = this.#cluster.network.connectionsOf(process);
    if (connectionCount > 0) this.#violated("P10", "connections are left", `${connectionCount} of ${process.name}`);
    for (const { process: asked, what } of this.#questions) {
      if (asked === process) this.#violated("P10", "a question outlives its node", `${what} at ${process.name}`);
    }
  }

  /** One leader, whom everybody knows and who knows what there is, and nobody is far behind. */
  get isAtRest(): boolean {
    const nodes = this.#cluster.members.map(({ node }) => node);
    const [leader, ...others] = nodes.filter((node) => node?.role.current === "leader");
    const { newestEpoch } = this.#witness;
    if (leader === undefined || others.length > 0 || leader.epoch.current !== newestEpoch) return false;
    return nodes.every(
      (node) =>
        node !== undefined && node.epoch.current >= newestEpoch - 1 && node.leader.current?.uuid === leader.uuid,
    );
  }

  /** Everybody has the newest epoch, and nothing holds an older one. */
  get isLevel(): boolean {
    const { newestEpoch } = this.#witness;
    return this.#cluster.members.every(
      ({ node }) => node?.epoch.current === newestEpoch && node.status().db.pins === 0,
    );
  }

  /** Everybody has left. */
  checkNetwork(): void {
    const { connectionCount, listenerCount } = this.#cluster.network;
    const text = `${connectionCount} connections, ${listenerCount} listeners`;
    if (connectionCount + listenerCount > 0) this.#violated("P10", "the network remembers who is gone", text);
  }

  /** @param boundary the newest epoch with a snapshot older than the retention */
  checkBounded(boundary: number | undefined): void {
    if (boundary === undefined) return;
    for (const text of this.#witness.unneeded(boundary)) {
      const reason = `${text} is there, a snapshot of ${boundary} is older than the retention`;
      this.#violated("P10", "the bucket grows without bound", reason);
    }
  }

  /** Holds what clients were told against the history. */
  judge({ operations, readings, registers, rollbacks, works }: Evidence): void {
    const timeline = this.#witness.timeline();
    const workOf = (id: string) => works.get(id);
    const found = [...checkOperations(operations, timeline), ...checkReadings(readings, timeline, workOf)];
    for (const violation of found) this.#onViolation(violation);
    for (const { epoch, to } of rollbacks) {
      const restored = timeline.rollbacks?.get(epoch);
      const text = `epoch ${epoch} was to restore ${to}; in the history it restores ${restored ?? "nothing"}`;
      if (restored !== to) this.#violated("P1", "an acknowledged rollback is missing", text);
    }
    // One reason is enough.
    if (found.length > 0) return;
    const { violations, undecided } = checkRegisters(registers, timeline, workOf, SEARCH_STEPS_MAX);
    this.isUndecided = undecided > 0;
    for (const violation of violations) this.#onViolation(violation);
  }

  /** The cluster in one line. */
  describe(): string {
    const of = ({ name, node, process }: SimulatedMember) =>
      `${name} ${process?.state ?? "down"} ${node?.role.current ?? "joining"} ${node?.epoch.current ?? "-"}`;
    return `newest ${this.#witness.newestEpoch}; ${this.#cluster.members.map(of).join(", ")}`;
  }

  #violated(promise: string, rule: string, text: string): void {
    this.#onViolation({ promise, rule, text });
  }
}
