/** What a node is at the moment, and what others count: read when it is asked for, never kept. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { Drill } from "../history/keeper.ts";
import { residentBytes } from "../platform/memory.ts";
import { runtimeName } from "../platform/system.ts";
import { VERSION } from "../version.ts";
import type { MetricsSource } from "./metrics-sink.ts";

/** Registers what is read from the node. */
export function registerNode(registry: Registry, node: MetricsSource): void {
  const gauge = (name: string, help: string, value: () => number | undefined) => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        const now = value();
        if (now === undefined) this.remove();
        else this.set(now);
      },
    });
  };
  const counter = (name: string, help: string, value: () => number) => {
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(value());
      },
    });
  };
  const { clusterId: cluster_id, uuid, az } = node;
  const info = { cluster_id, uuid, az, version: VERSION, runtime: runtimeName() };
  new Gauge({
    name: "lbc_node_info",
    help: "Which node this is: always 1.",
    labelNames: Object.keys(info),
    registers: [registry],
  }).set(info, 1);
  gauge("lbc_epoch", "The epoch that the node has reached.", () => node.epoch());
  gauge("lbc_lag_seconds", "How far the node is behind what is durable.", () => node.lagMs() / 1000);
  gauge("lbc_is_leader", "Whether the node leads: 1 or 0.", () => Number(node.isLeader()));
  gauge("lbc_members", "Members of the cluster that the node knows, itself included.", () => node.memberCount());
  gauge("lbc_acks_pending", "Transactions that wait for their epoch to be durable.", () => node.acksPending());
  gauge("lbc_snapshot_epoch", "The newest snapshot that the node knows of.", () => node.snapshotEpoch());
  gauge(
    "lbc_history_earliest_epoch",
    "The earliest epoch that can be restored; without a value where the node has not looked.",
    () => node.earliestEpoch(),
  );
  const drilled = (value: (drill: Drill) => number) => () => {
    const drill = node.lastDrill();
    return drill === undefined ? undefined : value(drill);
  };
  gauge(
    "lbc_history_verified_timestamp_seconds",
    "When this node last proved the history restorable or not; without a value if it never did.",
    drilled(({ endedAtMs }) => endedAtMs / 1000),
  );
  gauge(
    "lbc_history_restorable",
    "Whether every epoch could be restored then: 1 or 0.",
    drilled(({ report }) => Number(report.isRestorable)),
  );
  gauge(
    "lbc_history_findings",
    "Objects that were missing, damaged or left over then.",
    drilled(({ report }) => report.findings.length),
  );
  gauge("lbc_database_pages", "Pages of the database.", () => node.image().pageCount);
  gauge("lbc_database_bytes", "Size of the database.", () => node.image().byteLength);
  gauge("lbc_database_pins", "Versions of the database that readers and snapshots hold.", () => node.image().pinCount);
  gauge("lbc_push_subscribers", "Followers that this node pushes epochs to.", () => node.pushed().subscribers);
  counter("lbc_push_frames_sent_total", "Frames pushed to followers.", () => node.pushed().frames);
  counter("lbc_push_sent_bytes_total", "Bytes pushed to followers.", () => node.pushed().bytes);
  gauge("lbc_process_resident_memory_bytes", "Memory of the process that is in RAM.", residentBytes);
}
