/** The system table of the epoch that a leader writes next. */
import { encodeChain, encodeLeader, type Leader, type SystemRows } from "../format/system-rows.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { SystemRowChanges } from "../sqlite/writer.ts";

/** What becomes of the `leader` row, and who writes. */
export interface LeaderRow {
  readonly action: "claim" | "keep" | "remove";
  readonly self: Leader;
}

/** The system table as epoch `epoch`, built on what the replica has, will have it. */
export function nextRows(replica: Replica, epoch: number, { action, self }: LeaderRow, wallMs: number): SystemRows {
  const { state, rows } = replica;
  const { walHash, image } = state;
  return {
    ...rows,
    lastUpdate: new Date(wallMs).toISOString(),
    chain: walHash === undefined ? undefined : { epoch: epoch - 1, wal: walHash, state: image.stateChecksum },
    leader: action === "claim" ? self : action === "keep" ? rows.leader : undefined,
  };
}

/** The rows that differ from the epoch before. */
export function changedRows({ lastUpdate, chain, leader }: SystemRows, isLeaderChanged: boolean): SystemRowChanges {
  return {
    last_update: lastUpdate ?? null,
    chain: chain === undefined ? null : encodeChain(chain),
    ...(isLeaderChanged ? { leader: leader === undefined ? null : encodeLeader(leader) } : {}),
  };
}
