/** What the loops of a node tell its metrics, and what the metrics ask the node. */
import type { Drill } from "../history/keeper.ts";
import type { ClaimReason } from "../protocol/follow-state.ts";
import type { MeterSnapshot, ObservedRequest, RequestKind } from "../store/metered-store.ts";

/** Where an applied epoch came from. */
export type EpochSource = "push" | "store" | "bootstrap";

/**
 * What became of transactions that are not durable: the epoch was not written, nobody can tell, the function threw, or
 * they were refused before they ran.
 */
export type LostOutcome = "not_written" | "outcome_unknown" | "rolled_back" | "refused";

/** Takes what happens. None of it waits, fails, or keeps its arguments. */
export interface MetricsSink {
  /** A call of the store ended. */
  storeRequest(kind: RequestKind, request: ObservedRequest): void;
  /** An epoch that this node sealed is durable; `latencyMs` since it was sealed. */
  epochDurable(epoch: { readonly transactions: number; readonly walBytes: number; readonly latencyMs: number }): void;
  /** Transactions ended without having become durable. */
  transactionsLost(outcome: LostOutcome, count: number): void;
  /** Epochs of others became part of the replica. */
  epochsApplied(source: EpochSource, epochs: number, walBytes: number): void;
  /** An epoch that rolls back became part of the replica, whoever wrote it. */
  rolledBack(): void;
  /** The node leads: its claim, by this rule, is durable. */
  tookOver(reason: ClaimReason): void;
  /** A claim was lost, or a leadership ended. */
  leadershipEnded(end: { readonly reason: "fenced" | "steppedDown" | "closed"; readonly wasLeading: boolean }): void;
  /** A frame of the leader's stream arrived and is authentic; its length with everything. */
  frameReceived(bytes: number): void;
  /** The leader's stream ended: the store is asked for epochs again. */
  fellBackToStore(): void;
}

const ignore = (): void => {};

/** Drops everything. */
export const noMetrics: MetricsSink = Object.freeze({
  storeRequest: ignore,
  epochDurable: ignore,
  transactionsLost: ignore,
  epochsApplied: ignore,
  rolledBack: ignore,
  tookOver: ignore,
  leadershipEnded: ignore,
  frameReceived: ignore,
  fellBackToStore: ignore,
});

/** A node as its metrics see it: asked when they are read. */
export interface MetricsSource {
  readonly clusterId: string;
  readonly uuid: string;
  readonly az: string;
  readonly meter: { snapshot(): MeterSnapshot };
  epoch(): number;
  /** How far the node is behind; `Infinity` if it cannot tell. */
  lagMs(): number;
  isLeader(): boolean;
  memberCount(): number;
  /** Transactions that ran and are not durable yet. */
  acksPending(): number;
  snapshotEpoch(): number;
  /** The earliest epoch that can be restored; `undefined` where this node has not looked. */
  earliestEpoch(): number | undefined;
  /** The last restore drill of this node. */
  lastDrill(): Drill | undefined;
  /** The durable image. */
  image(): { readonly pageCount: number; readonly byteLength: number; readonly pinCount: number };
  /** The streams on which this node pushes epochs, and what was sent on them since the node started. */
  pushed(): { readonly subscribers: number; readonly frames: number; readonly bytes: number };
}
