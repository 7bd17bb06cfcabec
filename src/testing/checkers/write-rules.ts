/** What was told about writes, and what the history holds. */
import { describeOperation, type Evidence, type Rule } from "./evidence.ts";
import type { WriteOperation } from "./operation.ts";

export const ACKNOWLEDGED_IS_THERE: Rule = {
  name: "acknowledged write is missing",
  promise: "P1",
  *check({ acknowledged, timeline }) {
    for (const write of acknowledged) {
      if (timeline.epochsOf(write.id).length === 0) yield `${describeOperation(write)} is in no epoch of the history`;
    }
  },
};

export const ACKNOWLEDGED_EPOCH_IS_TRUE: Rule = {
  name: "write was acknowledged at another epoch",
  promise: "P2",
  *check({ acknowledged, timeline, earliestEpoch }) {
    for (const write of acknowledged) {
      const epochs = timeline.epochsOf(write.id);
      if (write.epoch >= earliestEpoch && epochs.length > 0 && !epochs.includes(write.epoch))
        yield `${describeOperation(write)} is in the history at epoch ${epochs.join(", ")}`;
    }
  },
};

/** Whatever its outcome: a write is made once by its client, and the library never repeats one by itself. */
export const AT_MOST_ONCE: Rule = {
  name: "write took effect more than once",
  promise: "P2",
  *check({ writes, timeline }) {
    for (const write of writes) {
      const epochs = timeline.epochsOf(write.id);
      if (epochs.length > 1) yield `${describeOperation(write)} is in the history at epochs ${epochs.join(", ")}`;
    }
  },
};

export const REFUSED_IS_NOT_THERE: Rule = {
  name: "refused write is in the history",
  promise: "P6",
  *check({ writes, timeline }) {
    for (const write of writes) {
      if (write.outcome !== "not_written") continue;
      const epochs = timeline.epochsOf(write.id);
      if (epochs.length > 0) yield `${describeOperation(write)} is in the history at epoch ${epochs.join(", ")}`;
    }
  },
};

export const NOTHING_UNASKED: Rule = {
  name: "history holds what nobody asked for",
  promise: "P2",
  *check({ writes, stretches, timeline }) {
    const asked = new Set(writes.map(({ id }) => id));
    const told = new Set<string>();
    for (const { to } of stretches) {
      for (const id of timeline.idsAt(to)) {
        if (asked.has(id) || told.has(id)) continue;
        told.add(id);
        yield `the log at epoch ${to} holds ${id}, which no client wrote`;
      }
    }
  },
};

/**
 * Between two rollbacks the log only grows. Lengths are compared epoch by epoch; entries only at the end of the stretch,
 * which keeps the work linear and misses only what vanishes, is replaced and comes back.
 */
export const NOTHING_VANISHES: Rule = {
  name: "durable write vanished",
  promise: "P1",
  *check(evidence) {
    const { stretches, timeline } = evidence;
    const written = writtenByEpoch(evidence);
    let next = 0;
    for (const { from, to } of stretches) {
      const atEnd = new Set(timeline.idsAt(to));
      for (const id of timeline.idsAt(from)) {
        if (!atEnd.has(id))
          yield `${id} is in the log at epoch ${from} and not at ${to}, without a rollback in between`;
      }
      for (; next < written.length && (written[next]?.epoch as number) <= to; next++) {
        const { id, epoch } = written[next] as { id: string; epoch: number };
        if (epoch >= from && !atEnd.has(id))
          yield `${id}, written in epoch ${epoch}, is not in the log at ${to}, without a rollback in between`;
      }
      for (let epoch = from + 1; epoch <= to; epoch++) {
        const [before, after] = [timeline.idsAt(epoch - 1).length, timeline.idsAt(epoch).length];
        if (after < before) yield `the log has ${before} entries at epoch ${epoch - 1} and ${after} at ${epoch}`;
      }
    }
  },
};

function writtenByEpoch(evidence: Evidence): readonly { readonly id: string; readonly epoch: number }[] {
  const inHistory = (write: WriteOperation) => {
    const epoch = evidence.epochOfWrite(write.id);
    return epoch === undefined ? [] : [{ id: write.id, epoch }];
  };
  return evidence.writes.flatMap(inHistory).sort((a, b) => a.epoch - b.epoch);
}

export const LOG_FOLLOWS_EPOCHS: Rule = {
  name: "log is not in the order of its epochs",
  promise: "P2",
  *check(evidence) {
    for (const { to } of evidence.stretches) {
      let last: { id: string; epoch: number } | undefined;
      for (const id of evidence.timeline.idsAt(to)) {
        const epoch = evidence.epochOfWrite(id);
        if (epoch === undefined) continue;
        if (last !== undefined && last.epoch > epoch)
          yield `the log at epoch ${to} has ${last.id} of epoch ${last.epoch} before ${id} of epoch ${epoch}`;
        last = { id, epoch };
      }
    }
  },
};

/**
 * Strict serializability of writes. An epoch that was durable when a write was asked for is closed, so the write is in a
 * later one. That is more than an order: a write that joins an epoch which was acknowledged already is found too.
 */
export const REAL_TIME_ORDER: Rule = {
  name: "write took effect before it was asked for",
  promise: "P2",
  *check(evidence) {
    for (const write of evidence.writes) {
      const epoch = evidence.epochOfWrite(write.id);
      const known = evidence.durable.whenInvoked(write);
      if (epoch === undefined || known === undefined || epoch > known.epoch) continue;
      yield `${describeOperation(write)} is in epoch ${epoch}, though epoch ${known.epoch} was durable before: ${describeOperation(known.operation)}`;
    }
  },
};

export const ROLLBACK_RESTORES: Rule = {
  name: "rollback does not restore what it names",
  promise: "§8",
  *check({ timeline, earliestEpoch }) {
    for (const [epoch, to] of timeline.rollbacks ?? []) {
      if (to < earliestEpoch) continue;
      const [found, expected] = [timeline.idsAt(epoch), timeline.idsAt(to)];
      const isSame = found.length === expected.length && expected.every((id, index) => found[index] === id);
      if (!isSame)
        yield `epoch ${epoch} rolls back to ${to}: ${found.length} entries that end with ${found.at(-1)}, expected ${expected.length} that end with ${expected.at(-1)}`;
    }
  },
};

export const WRITE_RULES: readonly Rule[] = [
  ACKNOWLEDGED_IS_THERE,
  ACKNOWLEDGED_EPOCH_IS_TRUE,
  AT_MOST_ONCE,
  REFUSED_IS_NOT_THERE,
  NOTHING_UNASKED,
  NOTHING_VANISHES,
  LOG_FOLLOWS_EPOCHS,
  REAL_TIME_ORDER,
  ROLLBACK_RESTORES,
];
