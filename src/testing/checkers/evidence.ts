import { KnownEpochs } from "./known-epochs.ts";
import type { Operation, ReadOperation, Timeline, WriteOperation } from "./operation.ts";

/** A read that was answered. */
export interface AnsweredRead extends ReadOperation {
  readonly epoch: number;
  readonly ids: readonly string[];
}

/** A write that was acknowledged. */
export interface AcknowledgedWrite extends WriteOperation {
  readonly epoch: number;
}

/** One rule: it tells each way in which the evidence breaks it. */
export interface Rule {
  readonly name: string;
  /** The promise of docs/architecture.md §1, or the section. */
  readonly promise: string;
  check(evidence: Evidence): Iterable<string>;
}

/** A piece of the history in which the log only grows: up to the epoch before a rollback, or the newest one. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** Operations and timeline, put in order for the rules. */
export class Evidence {
  readonly timeline: Timeline;
  readonly writes: readonly WriteOperation[];
  readonly acknowledged: readonly AcknowledgedWrite[];
  readonly reads: readonly AnsweredRead[];
  readonly operations: readonly Operation[];
  readonly earliestEpoch: number;
  readonly stretches: readonly Stretch[];
  /** Epochs that were durable for certain, by what clients were told, as far as the history agrees. */
  readonly durable: KnownEpochs;

  /** @throws Error if the evidence contradicts itself, which says nothing about the cluster */
  constructor(operations: readonly Operation[], timeline: Timeline) {
    this.operations = operations;
    this.timeline = timeline;
    const writes: WriteOperation[] = [];
    const acknowledged: AcknowledgedWrite[] = [];
    const reads: AnsweredRead[] = [];
    const ids = new Set<string>();
    for (const operation of operations) {
      requireEvidence(operation.endedAtMs >= operation.invokedAtMs, operation, "it ended before it began");
      if (operation.type === "write") {
        requireEvidence(!ids.has(operation.id), operation, "its id is used twice");
        ids.add(operation.id);
        writes.push(operation);
        if (operation.outcome !== "ok") continue;
        requireEvidence(operation.epoch !== undefined, operation, "it was acknowledged without an epoch");
        acknowledged.push(operation as AcknowledgedWrite);
      } else if (operation.outcome === "ok") {
        requireEvidence(
          operation.epoch !== undefined && operation.ids !== undefined,
          operation,
          "it was answered without epoch and ids",
        );
        reads.push(operation as AnsweredRead);
      }
    }
    this.writes = writes;
    this.acknowledged = acknowledged;
    this.reads = reads;
    this.earliestEpoch = timeline.earliestEpoch ?? 0;
    this.stretches = stretchesOf(timeline);
    this.durable = new KnownEpochs(operations, (operation) => this.shownDurable(operation));
  }

  /** Where a write took effect, if it did so exactly once. */
  epochOfWrite(id: string): number | undefined {
    const epochs = this.timeline.epochsOf(id);
    return epochs.length === 1 ? epochs[0] : undefined;
  }

  /**
   * The epoch that an answer showed to be durable. An answer that the history contradicts breaks a rule of its own, and is
   * no witness against others.
   */
  shownDurable(operation: Operation): number | undefined {
    if (operation.outcome !== "ok" || operation.epoch === undefined) return undefined;
    const isConfirmed =
      operation.type === "write"
        ? this.timeline.epochsOf(operation.id).includes(operation.epoch)
        : operation.epoch <= this.timeline.newestEpoch;
    return isConfirmed ? operation.epoch : undefined;
  }
}

export function stretchesOf({ earliestEpoch = 0, newestEpoch, rollbacks }: Timeline): readonly Stretch[] {
  const isWithin = (epoch: number) => epoch > earliestEpoch && epoch <= newestEpoch;
  const starts = [earliestEpoch, ...[...(rollbacks?.keys() ?? [])].filter(isWithin)];
  starts.sort((a, b) => a - b);
  return starts.map((from, index) => ({ from, to: (starts[index + 1] ?? newestEpoch + 1) - 1 }));
}

function requireEvidence(condition: boolean, operation: Operation, reason: string): void {
  if (!condition) throw new Error(`the evidence is not usable: ${reason}: ${describeOperation(operation)}`);
}

/** Who, what, when, and how it ended: one line. */
export function describeOperation(operation: Operation): string {
  const { client, node, invokedAtMs, endedAtMs, outcome, epoch } = operation;
  const what = operation.type === "write" ? `write ${operation.id}` : `read ${describeLevel(operation)}`;
  const where = node === undefined ? "" : ` at ${node}`;
  const answer = epoch === undefined ? outcome : `${outcome}, epoch ${epoch}`;
  return `${what} by ${client}${where}, ${invokedAtMs} to ${endedAtMs} ms (${answer})`;
}

function describeLevel({ level, atLeast, maxStalenessMs }: ReadOperation): string {
  if (level === "atLeast") return `atLeast ${atLeast}`;
  return level === "maxStaleness" ? `maxStaleness ${maxStalenessMs} ms` : level;
}
