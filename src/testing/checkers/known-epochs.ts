import type { Operation } from "./operation.ts";

/** An operation whose answer showed that an epoch was durable when it ended. */
export interface Witness {
  readonly epoch: number;
  readonly operation: Operation;
}

/**
 * The highest epoch that answers had shown by some time.
 *
 * Two operations that touch in the same millisecond count as concurrent, since a clock of milliseconds cannot tell which
 * came first; except those of one client, which are in the order in which the evidence has them.
 */
export class KnownEpochs {
  /** By time; each is the highest so far. */
  readonly #endedAtMs: number[] = [];
  readonly #highest: Witness[] = [];
  readonly #ofOwnClient = new Map<Operation, Witness>();

  /**
   * @param operations each client's in the order in which it made them
   * @param epochOf what an answer showed, if anything
   */
  constructor(operations: readonly Operation[], epochOf: (operation: Operation) => number | undefined) {
    const witnesses: Witness[] = [];
    const previous = new Map<string, Operation>();
    const ofClient = new Map<string, Witness>();
    for (const operation of operations) {
      const before = previous.get(operation.client);
      if (before !== undefined && before.endedAtMs <= operation.invokedAtMs) {
        const epoch = epochOf(before);
        if (epoch !== undefined) ofClient.set(operation.client, higher(ofClient.get(operation.client), epoch, before));
      }
      const own = ofClient.get(operation.client);
      if (own !== undefined) this.#ofOwnClient.set(operation, own);
      previous.set(operation.client, operation);
      const epoch = epochOf(operation);
      if (epoch !== undefined) witnesses.push({ epoch, operation });
    }
    witnesses.sort((a, b) => a.operation.endedAtMs - b.operation.endedAtMs);
    let highest: Witness | undefined;
    for (const { epoch, operation } of witnesses) {
      highest = higher(highest, epoch, operation);
      this.#endedAtMs.push(operation.endedAtMs);
      this.#highest.push(highest);
    }
  }

  /** What was known when this operation was invoked. */
  whenInvoked(operation: Operation): Witness | undefined {
    const ofAll = this.before(operation.invokedAtMs);
    const own = this.#ofOwnClient.get(operation);
    if (own === undefined) return ofAll;
    return ofAll === undefined || own.epoch > ofAll.epoch ? own : ofAll;
  }

  /** What answers before this time had shown. */
  before(timeMs: number): Witness | undefined {
    let low = 0;
    let high = this.#endedAtMs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#endedAtMs[middle] as number) < timeMs) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? undefined : this.#highest[low - 1];
  }
}

function higher(witness: Witness | undefined, epoch: number, operation: Operation): Witness {
  return witness !== undefined && witness.epoch >= epoch ? witness : { epoch, operation };
}
