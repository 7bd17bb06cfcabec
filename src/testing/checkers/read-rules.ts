/** What reads showed, and what the history was at the epoch that they name. */
import { type AnsweredRead, describeOperation, type Evidence, type Rule } from "./evidence.ts";
import { KnownEpochs } from "./known-epochs.ts";
import type { Operation } from "./operation.ts";

export const EPOCH_EXISTS: Rule = {
  name: "read shows an epoch that is not in the history",
  promise: "P4",
  *check({ reads, timeline }) {
    for (const read of reads) {
      if (read.epoch > timeline.newestEpoch)
        yield `${describeOperation(read)}, but the newest epoch is ${timeline.newestEpoch}`;
    }
  },
};

type Difference = "undurable" | "lost" | "order";

interface DifferentRead {
  readonly read: AnsweredRead;
  readonly difference: Difference;
  readonly id: string;
}

/** The first difference between a read and the log of its epoch; looked for once, told by three rules. */
const differences = new WeakMap<Evidence, readonly DifferentRead[]>();

function differentReads(evidence: Evidence): readonly DifferentRead[] {
  const known = differences.get(evidence);
  if (known !== undefined) return known;
  const found: DifferentRead[] = [];
  for (const read of evidence.reads) {
    if (read.epoch < evidence.earliestEpoch || read.epoch > evidence.timeline.newestEpoch) continue;
    const different = compare(read, evidence.timeline.idsAt(read.epoch));
    if (different !== undefined) found.push(different);
  }
  differences.set(evidence, found);
  return found;
}

function compare(read: AnsweredRead, log: readonly string[]): DifferentRead | undefined {
  const { ids } = read;
  if (ids === log) return undefined;
  let index = 0;
  while (index < ids.length && index < log.length && ids[index] === log[index]) index++;
  if (index === ids.length && index === log.length) return undefined;
  const inLog = new Set(log);
  const undurable = ids.find((id) => !inLog.has(id));
  if (undurable !== undefined) return { read, difference: "undurable", id: undurable };
  const shown = new Set(ids);
  const lost = log.find((id) => !shown.has(id));
  if (lost !== undefined) return { read, difference: "lost", id: lost };
  return { read, difference: "order", id: (ids[index] ?? log[index]) as string };
}

function differenceRule(name: string, promise: string, difference: Difference, what: string): Rule {
  return {
    name,
    promise,
    *check(evidence) {
      for (const different of differentReads(evidence)) {
        if (different.difference !== difference) continue;
        yield `${describeOperation(different.read)} ${what} ${different.id}`;
      }
    },
  };
}

export const ONLY_DURABLE: Rule = differenceRule(
  "read shows what its epoch does not hold",
  "P4",
  "undurable",
  "shows what is not in the history up to its epoch:",
);
export const NOTHING_LOST: Rule = differenceRule("read lacks what its epoch holds", "P2", "lost", "does not show");
export const SAME_ORDER: Rule = differenceRule(
  "read shows another order than its epoch",
  "P2",
  "order",
  "shows what is in the history, but not in this order or not as often, from",
);

/** With the epoch that an acknowledgement gave, this is "read your writes". */
export const AT_LEAST: Rule = {
  name: "read is older than the epoch asked for",
  promise: "§7",
  *check({ reads }) {
    for (const read of reads) {
      if (read.level === "atLeast" && read.epoch < (read.atLeast ?? 0)) yield describeOperation(read);
    }
  },
};

/**
 * A run of a node never goes back, whoever asks: behind neither what it showed nor what it acknowledged. Reading
 * everything anew leads forward too.
 */
export const NEVER_BACK: Rule = {
  name: "node went back",
  promise: "§7",
  *check(evidence) {
    const byNode = new Map<string, Operation[]>();
    for (const operation of evidence.operations) {
      if (operation.node === undefined || evidence.shownDurable(operation) === undefined) continue;
      const ofNode = byNode.get(operation.node);
      if (ofNode === undefined) byNode.set(operation.node, [operation]);
      else ofNode.push(operation);
    }
    for (const ofNode of byNode.values()) {
      const shown = new KnownEpochs(ofNode, ({ epoch }) => epoch);
      for (const operation of ofNode) {
        const before = shown.whenInvoked(operation);
        if (operation.type === "read" && before !== undefined && before.epoch > (operation.epoch as number))
          yield `${describeOperation(operation)} came after ${describeOperation(before.operation)}`;
      }
    }
  },
};

/**
 * An epoch that any answer had shown before the call was durable then, also if that answer was a read of no particular
 * level: `sync` promises everything that was durable anywhere, so more than linearizability among linearizable reads.
 */
export const LINEARIZABLE: Rule = {
  name: "linearizable read is stale",
  promise: "§7",
  *check({ reads, durable }) {
    for (const read of reads) {
      if (read.level !== "linearizable") continue;
      const known = durable.whenInvoked(read);
      if (known !== undefined && known.epoch > read.epoch)
        yield `${describeOperation(read)}, though epoch ${known.epoch} was durable before: ${describeOperation(known.operation)}`;
    }
  },
};

export const MAX_STALENESS: Rule = {
  name: "read is staler than asked for",
  promise: "§7",
  *check({ reads, durable }) {
    for (const read of reads) {
      if (read.level !== "maxStaleness") continue;
      const known = durable.before(read.invokedAtMs - (read.maxStalenessMs ?? 0));
      if (known !== undefined && known.epoch > read.epoch)
        yield `${describeOperation(read)}, though epoch ${known.epoch} was durable long enough before: ${describeOperation(known.operation)}`;
    }
  },
};

export const READ_RULES: readonly Rule[] = [
  EPOCH_EXISTS,
  ONLY_DURABLE,
  NOTHING_LOST,
  SAME_ORDER,
  AT_LEAST,
  NEVER_BACK,
  LINEARIZABLE,
  MAX_STALENESS,
];
