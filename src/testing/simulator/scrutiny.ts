/** Looks at a simulated cluster after every event, and in the end: what may never be, and what must come to be. */
import type { LogEvent } from "../../base/log.ts";
import type { ClusterNode } from "../../node/node.ts";
import { checkOperations } from "../checkers/check-operations.ts";
import { checkLinearizable } from "../checkers/linearizable.ts";
import type { Violation } from "../checkers/operation.ts";
import type { RegisterOperation } from "../checkers/register-operation.ts";
import { checkReadings } from "../workloads/check-readings.ts";
import type { Evidence } from "./client.ts";
import type { SimulatedCluster } from "./cluster.ts";
import type { MemberRun, SimulatedMember } from "./member.ts";
import type { Witness } from "./witness.ts";

/** What readers keep open, and one that a snapshot being written holds. */
const PINS_MAX = 2;
/** Of the search for an order of the register operations: a second or so. */
const SEARCH_STEPS_MAX = 50_000;
/** Each request under way has one. */
const TIMERS_MAX = 5000;
/** Events of a node that should never be. */
const IMPOSSIBLE: readonly string[] = ["node_failed", "leadership_crashed"];

export class Scrutiny {
  readonly #cluster: SimulatedCluster;
  readonly #witness: Witness;
  readonly #onViolation: (violation: Violation) => void;
  readonly #seenEpochs = new WeakMap<ClusterNode, number>();
  /** Writes that were acknowledged. */
  acknowledged: number = 0;
  /** The search for an order of the register operations was given up. */
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
      const found = node.status().replica.state_checksum;
      const expected = this.#witness.epoch(epoch)?.stateChecksum;
      const text = `${process.name} at ${epoch}: ${found}, not ${expected}`;
      if (found !== expected) this.#violated("P2, P4", "a node shows another database than its epoch", text);
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
    this.#violated("P10", "a node met an impossible state", `${member.name}: ${event["reason"]}`);
  }

  /** A node has left: nothing of it may wait for anything. */
  onLeft({ process, store }: MemberRun): void {
    const { timerCount } = process;
    const { pendingCount } = store;
    if (timerCount > 0) this.#violated("P10", "timers are left", `${timerCount} of ${process.name}`);
    if (pendingCount > 0) this.#violated("P10", "store calls are left", `${pendingCount} of ${process.name}`);
  }

  /** One leader, who knows what there is, and nobody is far behind. */
  get isAtRest(): boolean {
    const nodes = this.#cluster.members.map(({ node }) => node);
    const leaders = nodes.filter((node) => node?.role.current === "leader");
    const { newestEpoch } = this.#witness;
    if (leaders.length !== 1 || leaders[0]?.epoch.current !== newestEpoch) return false;
    return nodes.every((node) => node !== undefined && node.epoch.current >= newestEpoch - 1);
  }

  checkPins(): void {
    for (const { node, name } of this.#cluster.members) {
      const pins = node?.status().db.pins ?? 0;
      if (pins > PINS_MAX) this.#violated("P10", "pins are left", `${pins} on ${name}`);
    }
  }

  /** Everybody has left. */
  checkNetwork(): void {
    const { connectionCount, listenerCount } = this.#cluster.network;
    const text = `${connectionCount} connections, ${listenerCount} listeners`;
    if (connectionCount + listenerCount > 0) this.#violated("P10", "connections are left", text);
  }

  /** @param boundary the newest epoch with a snapshot older than the retention */
  checkBounded(boundary: number | undefined): void {
    const lowest = this.#witness.lowestPresent ?? 0;
    if (boundary === undefined || lowest >= boundary) return;
    const text = `epoch ${lowest} is there, a snapshot of ${boundary} is older than the retention`;
    this.#violated("P10", "the bucket grows without bound", text);
  }

  /** Holds what clients were told against the history. */
  judge({ operations, readings, registers, works }: Evidence): void {
    const timeline = this.#witness.timeline();
    const found = [
      ...checkOperations(operations, timeline),
      ...checkReadings(readings, timeline, (id) => works.get(id)),
    ];
    for (const violation of found) this.#onViolation(violation);
    // A rollback sets registers back, which is nothing that a register does. And one reason is enough.
    if (found.length > 0 || (timeline.rollbackEpochs?.size ?? 0) > 0) return;
    // What the history does not hold has never happened: the search need not guess, and who saw it has no order.
    const isKnown = ({ outcome, value }: RegisterOperation) =>
      outcome !== "unknown" || timeline.epochsOf(String(value)).length > 0;
    const result = checkLinearizable(registers.filter(isKnown), { stepsMax: SEARCH_STEPS_MAX });
    this.isUndecided = result.verdict === "undecided";
    if (result.verdict === "violated") this.#violated("P1, P2", "registers are not linearizable", result.text);
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
