/**
 * A node's metrics in the Prometheus text format. What happens is counted as it
 * happens, per epoch and per request and never per transaction; what is, and
 * what others count already, is looked at when the metrics are read.
 *
 * No label has values that a user, a client or another node can invent.
 */
import type { MiddlewareHandler } from "hono";
import { Counter, Histogram, Registry } from "prom-client";
import type { Clock } from "../base/clock.ts";
import type { ClaimReason } from "../protocol/follow-state.ts";
import type { ObservedRequest, RequestKind } from "../store/metered-store.ts";
import { httpMetrics } from "./metrics-http.ts";
import { registerNode } from "./metrics-node.ts";
import type { EpochSource, LostOutcome, MetricsSink, MetricsSource } from "./metrics-sink.ts";
import { LATENCY_BUCKETS_SECONDS, StoreMetrics } from "./metrics-store.ts";

/** 0 is a heartbeat. */
const BATCH_BUCKETS = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];
const KIB = 1024;
const EPOCH_BUCKETS_BYTES = [8, 16, 32, 64, 128, 256, 512, KIB, 4 * KIB, 16 * KIB, 64 * KIB].map((kib) => kib * KIB);

const OUTCOMES: readonly (LostOutcome | "durable")[] = [
  "durable",
  "not_written",
  "outcome_unknown",
  "rolled_back",
  "refused",
];
const SOURCES: readonly EpochSource[] = ["push", "store", "bootstrap"];
const REASONS: readonly ClaimReason[] = ["vacant", "silent", "stale", "refused"];

export class NodeMetrics implements MetricsSink {
  /** Counts what the node serves: goes before every other middleware. */
  readonly middleware: MiddlewareHandler;
  // One a node: several nodes in one process do not meet, and nothing is kept when the node is gone.
  readonly #registry: Registry = new Registry();
  readonly #store: StoreMetrics;
  readonly #epochsDurable: Counter = this.#counter("epochs_durable", "Epochs that this node made durable.");
  readonly #epochBytes: Histogram;
  readonly #sealToDurable: Histogram;
  readonly #epochTransactions: Histogram;
  readonly #transactions: Counter<"outcome">;
  readonly #epochsApplied: Counter<"source">;
  readonly #appliedBytes: Counter<"source">;
  readonly #takeovers: Counter<"reason">;
  readonly #fencings: Counter = this.#counter("fencings", "Leaderships that ended because another node leads.");
  readonly #claimsLost: Counter = this.#counter("claims_lost", "Claims of an epoch that another node won.");
  readonly #rollbacks: Counter = this.#counter("rollbacks", "Rollbacks that became part of the node's database.");
  readonly #framesReceived: Counter = this.#counter("push_frames_received", "Frames pushed by the leader.");
  readonly #pushReceivedBytes: Counter = this.#counter("push_received_bytes", "Bytes pushed by the leader.");
  readonly #fallbacks: Counter = this.#counter(
    "push_fallbacks",
    "Times the node went back from the push to the store.",
  );

  constructor(clock: Clock) {
    this.#epochBytes = this.#histogram("epoch_bytes", "Size of the epochs made durable.", EPOCH_BUCKETS_BYTES);
    this.#sealToDurable = this.#histogram(
      "epoch_seal_to_durable_seconds",
      "How long epochs took from being sealed to being durable.",
      LATENCY_BUCKETS_SECONDS,
    );
    this.#epochTransactions = this.#histogram(
      "epoch_transactions",
      "Transactions in the epochs made durable.",
      BATCH_BUCKETS,
    );
    this.#transactions = this.#counters("transactions", "Transactions by what became of them.", "outcome", OUTCOMES);
    this.#epochsApplied = this.#counters("epochs_applied", "Epochs of others applied.", "source", SOURCES);
    this.#appliedBytes = this.#counters("epochs_applied_bytes", "Size of the epochs applied.", "source", SOURCES);
    this.#takeovers = this.#counters("takeovers", "Claims that this node won, by their rule.", "reason", REASONS);
    this.#store = new StoreMetrics(this.#registry, clock);
    this.middleware = httpMetrics(this.#registry, clock);
  }

  /** The node has joined: from now on its state is among the metrics. Once. */
  begin(node: MetricsSource): void {
    registerNode(this.#registry, node);
    this.#store.begin(node.meter);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything, in the Prometheus text format 0.0.4. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Estimated cost of the store a month at the rate of the last minutes; `undefined` until there is a rate. */
  usdPerMonth(): number | undefined {
    return this.#store.usdPerMonth();
  }

  storeRequest(kind: RequestKind, request: ObservedRequest): void {
    this.#store.observe(kind, request);
  }

  epochDurable({ transactions, walBytes, latencyMs }: Parameters<MetricsSink["epochDurable"]>[0]): void {
    this.#epochsDurable.inc();
    this.#transactions.inc({ outcome: "durable" }, transactions);
    this.#epochTransactions.observe(transactions);
    this.#epochBytes.observe(walBytes);
    this.#sealToDurable.observe(latencyMs / 1000);
  }

  transactionsLost(outcome: LostOutcome, count: number): void {
    this.#transactions.inc({ outcome }, count);
  }

  epochsApplied(source: EpochSource, epochs: number, walBytes: number): void {
    this.#epochsApplied.inc({ source }, epochs);
    this.#appliedBytes.inc({ source }, walBytes);
  }

  rolledBack(): void {
    this.#rollbacks.inc();
  }

  tookOver(reason: ClaimReason): void {
    this.#takeovers.inc({ reason });
  }

  leadershipEnded({ reason, wasLeading }: Parameters<MetricsSink["leadershipEnded"]>[0]): void {
    if (reason === "fenced") (wasLeading ? this.#fencings : this.#claimsLost).inc();
  }

  frameReceived(bytes: number): void {
    this.#framesReceived.inc();
    this.#pushReceivedBytes.inc(bytes);
  }

  fellBackToStore(): void {
    this.#fallbacks.inc();
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name: `lbc_${name}_total`, help, registers: [this.#registry] });
  }

  /** Every value is there from the start: what appears later has no increase that could be seen. */
  #counters<Label extends string>(name: string, help: string, label: Label, values: readonly string[]): Counter<Label> {
    const counter = new Counter({ name: `lbc_${name}_total`, help, labelNames: [label], registers: [this.#registry] });
    for (const value of values) counter.inc({ [label]: value } as Record<Label, string>, 0);
    return counter;
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `lbc_${name}`, help, buckets, registers: [this.#registry] });
  }
}
