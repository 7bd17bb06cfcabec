import type { Leader } from "../format/system-rows.ts";
import type { Member } from "../protocol/roster.ts";
import type { MeterSnapshot } from "../store/metered-store.ts";
import type { Role } from "./node.ts";

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
  readonly store: MeterSnapshot & { readonly url: string };
  readonly started_at: string;
}
