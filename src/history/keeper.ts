/** What a leader does for the history besides writing it: snapshots, packs, retention, drills; all in the background. */
import type { Replica } from "../sqlite/replica.ts";
import { ClusterHistory } from "./cluster-history.ts";
import { Packer } from "./packer.ts";
import type { HistoryParts } from "./parts.ts";
import { Periodic } from "./periodic.ts";
import type { Restored } from "./restore.ts";
import { Retention } from "./retention.ts";
import { Snapshotter } from "./snapshotter.ts";
import type { VerifyReport } from "./verify-report.ts";

/** A leadership that is younger trims nothing: nodes that take turns need not each look through the bucket. */
const RETENTION_DELAY_MS = 60_000;

/** The last restore drill of this node. */
export interface Drill {
  /** When it ended, by this machine's clock, milliseconds since 1970. */
  readonly endedAtMs: number;
  readonly report: VerifyReport;
}

export class HistoryKeeper {
  readonly #parts: HistoryParts;
  readonly #snapshotter: Snapshotter;
  readonly #packer: Packer;
  readonly #periodic: Periodic[] = [];
  #earliestEpoch: number | undefined;
  #lastDrill: Drill | undefined;

  constructor(parts: HistoryParts, replica: Replica) {
    this.#parts = parts;
    this.#snapshotter = new Snapshotter(parts, replica);
    this.#packer = new Packer(parts, replica, () => this.snapshotEpoch);
  }

  /** The newest snapshot that this node knows of. */
  get snapshotEpoch(): number {
    return this.#snapshotter.snapshotEpoch;
  }

  /** The earliest epoch that can be restored, as of this node's last look as the leader. */
  get earliestEpoch(): number | undefined {
    return this.#earliestEpoch;
  }

  get lastDrill(): Drill | undefined {
    return this.#lastDrill;
  }

  /** The replica was read from the store. */
  restored({ base }: Restored): void {
    this.#snapshotter.rebased(base.epoch);
  }

  /** An epoch became part of the replica, in whatever role. */
  applied(epoch: number): void {
    this.#packer.applied(epoch);
    this.#snapshotter.applied();
  }

  /** Begins the leader's part. */
  lead(): void {
    this.#packer.lead();
    this.#snapshotter.lead();
    const { retentionIntervalMs, verifyIntervalMs } = this.#parts.settings;
    const retention = new Retention(this.#parts);
    this.#periodic.push(
      new Periodic(this.#parts, {
        event: "trim_failed",
        firstDelayMs: Math.min(retentionIntervalMs, RETENTION_DELAY_MS),
        intervalMs: retentionIntervalMs,
        run: async (signal) => {
          this.#earliestEpoch = (await retention.run(signal)).boundary;
        },
      }),
    );
    if (verifyIntervalMs === undefined) return;
    this.#periodic.push(
      new Periodic(this.#parts, {
        event: "verify_failed",
        firstDelayMs: verifyIntervalMs,
        intervalMs: verifyIntervalMs,
        run: (signal) => this.#drill(signal),
      }),
    );
  }

  /** Ends it; resolves when nothing of it runs any more. */
  async follow(): Promise<void> {
    const stopped = this.#periodic.splice(0).map((periodic) => periodic.stop());
    await Promise.all([...stopped, this.#packer.follow(), this.#snapshotter.follow()]);
  }

  /** SQLite's integrity check would keep the leader from everything else for as long as it runs: `lbc verify` makes it. */
  async #drill(signal: AbortSignal): Promise<void> {
    const { settings, log } = this.#parts;
    const report = await new ClusterHistory(this.#parts).verify({ signal, integrityCheck: false });
    this.#lastDrill = { endedAtMs: settings.clock.wallMs(), report };
    const { from, to, findings, lost, isRestorable } = report;
    const counts = { findings: findings.length, lost: lost.length };
    log({ level: isRestorable ? "info" : "error", event: "history_verified", from, to, isRestorable, ...counts });
  }
}
