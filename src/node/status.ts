import type { Leader } from "../format/system-rows.ts";
import type { Member, Role } from "../protocol/roster.ts";
import type { MeterSnapshot } from "../store/metered-store.ts";

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
  /** Requests and bytes by kind since the node started. */
  readonly store: MeterSnapshot & { readonly url: string; readonly usd_per_month: number | null };
  readonly started_at: string;
}
