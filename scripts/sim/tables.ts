/** What a campaign went through, for people. */
import Table from "cli-table3";
import { type Coverage, FAULT_KINDS, RECOVERIES } from "../../src/testing/simulator/mod.ts";

/** Short names of the columns. */
const HEADS: Readonly<Record<string, string>> = {
  joined: "join",
  join_failed: "no join",
  claiming: "claim",
  leading: "lead",
  put_read_back: "read back",
  audit_found_later_epochs: "audit",
  orphan_deleted: "orphan",
  leadership_ended: "ended",
  bootstrapping_again: "bootstrap",
  restore_restarted: "restore",
  epoch_refused: "refused",
  stream_lost: "stream",
  snapshot_written: "snapshot",
  pack_written: "pack",
  history_trimmed: "trim",
  rolled_back: "rollback",
};

/** How often each fault was followed by each event, while its effect lasted. */
export function coverageTable({ faults, events, followed }: Coverage): string {
  const table = new Table({
    head: ["fault", "times", ...RECOVERIES.map((name) => HEADS[name] ?? name)],
    style: { head: [], border: [], compact: true },
    colAligns: ["left", ...RECOVERIES.map(() => "right" as const), "right"],
  });
  for (const kind of FAULT_KINDS) {
    table.push([kind, String(faults[kind] ?? 0), ...RECOVERIES.map((name) => String(followed[kind]?.[name] ?? 0))]);
  }
  table.push(["(all)", "", ...RECOVERIES.map((name) => String(events[name] ?? 0))]);
  return table.toString();
}
