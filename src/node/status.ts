import type { Leader } from "../format/system-rows.ts";
import type { Drill } from "../history/keeper.ts";
import type { Member, Role } from "../protocol/roster.ts";
import type { MeterSnapshot } from "../store/metered-store.ts";

/** The part of {@link NodeStatus} about a drill. */
export function verifiedStatus(drill: Drill | undefined): NodeStatus["history"]["verified"] {
  if (drill === undefined) return null;
  const { from, to, findings, isRestorable } = drill.report;
  const at = new Date(drill.endedAtMs).toISOString();
  return { at, from, to, findings: findings.length, is_restorable: isRestorable };
}

/** What `GET /.lbc/status` answers, as JSON. Never holds a secret or row data. */
export interface NodeStatus {
  readonly cluster_id: string;
  readonly this: Leader;
  readonly roles: readonly string[];
  readonly role: Role;
  readonly is_leader: boolean;
  readonly leader: Leader | null;
  readonly members: readonly Member[];
  readonly replica: {
    readonly epoch: number;
    /** Of the whole database: nodes at the same epoch have the same one. */
    readonly state_checksum: string;
    /** RFC 3339, by the clock of the leader that wrote the epoch. */
    readonly last_update: string | null;
    /** The newest snapshot that this node knows of. */
    readonly snapshot_epoch: number;
    /** How long epochs may have been missing here. */
    readonly lag_ms: number;
    /** Whether the leader pushes its epochs to this node now. */
    readonly is_streaming: boolean;
    /** What keeps the node from following, if anything does. */
    readonly trouble: string | null;
  };
  readonly db: {
    readonly pages: number;
    /** Bytes. */
    readonly size: number;
    /** Versions of the image held by readers and snapshots. */
    readonly pins: number;
  };
  readonly history: {
    /** The earliest epoch that can be restored, as the leader last saw it; `null` where this node has not looked. */
    readonly earliest_epoch: number | null;
    /** The last restore drill of this node as the leader (`verifyIntervalMs`); `null` if there was none. */
    readonly verified: {
      /** RFC 3339, by this node's clock. */
      readonly at: string;
      readonly from: number;
      readonly to: number;
      readonly findings: number;
      readonly is_restorable: boolean;
    } | null;
  };
  /** Requests and bytes by kind since the node started. */
  readonly store: MeterSnapshot & { readonly url: string; readonly usd_per_month: number | null };
  readonly started_at: string;
}
