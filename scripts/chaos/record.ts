/** The evidence of a run: every operation and every fault, as they happen, in memory and as lines of JSON. */
import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import type { Outcome, ReadLevel } from "../../src/testing/checkers/operation.ts";
import type { Reading, Work } from "../../src/testing/workloads/workload.ts";

interface RecordBase {
  readonly client: string;
  readonly node: string | undefined;
  /** Which member was asked. */
  readonly member: string;
  readonly invokedAtMs: number;
  /** `null` if there was no answer. */
  readonly endedAtMs: number | null;
  readonly outcome: Outcome;
  readonly epoch: number | undefined;
  /** Why it is not `ok`. */
  readonly code: string | undefined;
  readonly message: string | undefined;
}

export interface WriteRecord extends RecordBase {
  readonly type: "write";
  readonly id: string;
  readonly work: Work;
  readonly swapped: boolean | undefined;
}

export interface ReadRecord extends RecordBase {
  readonly type: "read";
  readonly level: ReadLevel;
  readonly atLeast: number | undefined;
  readonly maxStalenessMs: number | undefined;
  /** As `node.epoch` said. */
  readonly announcedEpoch: number | undefined;
  readonly reading: Reading | undefined;
}

export type OperationRecord = WriteRecord | ReadRecord;

export interface FaultRecord {
  readonly name: string;
  readonly target: string;
  readonly beganAtMs: number;
  readonly endedAtMs: number;
}

/** By one clock for everything, in milliseconds since the run began. */
export class RunRecord {
  readonly operations: OperationRecord[] = [];
  readonly faults: FaultRecord[] = [];
  readonly #ids = new Map<string, string>();
  readonly #beganMs = performance.now();
  readonly #operationsFile: WriteStream;
  readonly #faultsFile: WriteStream;
  /** What a log line's wall clock showed at 0. */
  readonly wallAtZeroMs: number = Date.now();

  constructor(directory: string) {
    this.#operationsFile = createWriteStream(join(directory, "operations.jsonl"));
    this.#faultsFile = createWriteStream(join(directory, "faults.jsonl"));
  }

  nowMs(): number {
    return performance.now() - this.#beganMs;
  }

  /** The same text for the same id: answers name each id many times. */
  intern<Entries extends { readonly tail: readonly string[] }>(entries: Entries): Entries {
    const tail = entries.tail.map((id) => {
      const known = this.#ids.get(id);
      if (known === undefined) this.#ids.set(id, id);
      return known ?? id;
    });
    return { ...entries, tail };
  }

  operation(record: OperationRecord): void {
    this.operations.push(record);
    this.#operationsFile.write(`${JSON.stringify(record)}\n`);
  }

  fault(record: FaultRecord): void {
    this.faults.push(record);
    this.#faultsFile.write(`${JSON.stringify(record)}\n`);
  }

  async close(): Promise<void> {
    await Promise.all(
      [this.#operationsFile, this.#faultsFile].map((file) => new Promise<void>((resolve) => file.end(resolve))),
    );
  }
}
