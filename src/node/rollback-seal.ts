/** A rollback as the epoch that its leader seals. */
import type { Random } from "../base/random.ts";
import { walKey } from "../format/keys.ts";
import { encodeRollback, SYSTEM_TABLE } from "../format/system-rows.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { ReplicaState, VerifiedEpoch } from "../sqlite/replica-state.ts";
import { expectLeadsTo, rollbackWal, type SamePages } from "../sqlite/rollback-wal.ts";
import type { SqlValue } from "../sqlite/values.ts";
import type { SystemRowChanges, SystemTable } from "../sqlite/writer.ts";

/** A rollback that waits to be sealed. */
export interface PendingRollback {
  /** The state to restore; sealing it makes it the state that the rollback leads to. */
  readonly target: ReplicaState;
  /** Pages that need not be compared again. */
  readonly same: SamePages;
  /** Pages in its epoch, once it is sealed. */
  pages: number;
}

/**
 * Makes the epoch after that of `replica`, verified like an epoch of somebody else's.
 *
 * @param changes the rows of the system table that differ from the epoch before
 * @throws anything that keeps it from being made, or shows it to be wrong
 */
export function sealRollback(
  replica: Replica,
  pending: PendingRollback,
  changes: SystemRowChanges,
  random: Random,
): VerifiedEpoch {
  const { context, state, epoch } = replica;
  const { target, same } = pending;
  const { clusterId } = replica.rows;
  if (target.rows.clusterId !== clusterId) throw new Error(`the state is one of cluster ${target.rows.clusterId}`);
  const mark = { epoch: epoch + 1, from: epoch, to: target.epoch };
  const table = tableWith(replica, { ...changes, rollback: encodeRollback(mark) });
  const salts = new Uint32Array(random.bytes(8).slice().buffer);
  const parts = { context, current: state.image, target: target.image, table, same };
  const bytes = rollbackWal({ ...parts, salts: [salts[0] as number, salts[1] as number] });
  same.release();
  const verified = replica.verify(bytes, walKey(epoch + 1));
  expectLeadsTo(target.image, state.image, verified.wal);
  pending.pages = verified.wal.frameCount;
  return verified;
}

/** The system table as it is now, also what this version does not know of it, with some rows changed. */
function tableWith(replica: Replica, changes: SystemRowChanges): SystemTable {
  const rows = replica.db.values<[string, SqlValue]>(`SELECT key, value FROM ${SYSTEM_TABLE}`);
  const table = new Map<string, SqlValue>(rows);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) table.delete(key);
    else table.set(key, value);
  }
  return table;
}
