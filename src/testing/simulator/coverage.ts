/** What simulations went through: how often each fault was followed by each event of the cluster. */

/** Events of nodes that tell of a recovery, or of work that a fault may hit. */
export const RECOVERIES: readonly string[] = [
  "joined",
  "join_failed",
  "claiming",
  "leading",
  "put_read_back",
  "audit_found_later_epochs",
  "orphan_deleted",
  "leadership_ended",
  "bootstrapping_again",
  "restore_restarted",
  "epoch_refused",
  "stream_lost",
  "snapshot_written",
  "pack_written",
  "history_trimmed",
  "rolled_back",
];

export class Coverage {
  /** By fault. */
  readonly faults: Record<string, number> = {};
  /** By event. */
  readonly events: Record<string, number> = {};
  /** By fault, then by the event that followed it while its effect lasted. */
  readonly followed: Record<string, Record<string, number>> = {};

  fault(kind: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
  }

  /** @param after faults that are under way, or ended a short while ago */
  event(name: string, after: Iterable<string>): void {
    if (!RECOVERIES.includes(name)) return;
    this.events[name] = (this.events[name] ?? 0) + 1;
    for (const fault of after) {
      const row = this.followed[fault] ?? {};
      row[name] = (row[name] ?? 0) + 1;
      this.followed[fault] = row;
    }
  }

  add(other: Pick<Coverage, "faults" | "events" | "followed">): void {
    addCounts(this.faults, other.faults);
    addCounts(this.events, other.events);
    for (const [fault, row] of Object.entries(other.followed)) {
      const own = this.followed[fault] ?? {};
      addCounts(own, row);
      this.followed[fault] = own;
    }
  }
}

function addCounts(to: Record<string, number>, from: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(from)) to[name] = (to[name] ?? 0) + count;
}
