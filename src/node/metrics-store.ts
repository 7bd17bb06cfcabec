/** Requests to the object store: how many, how long, how much, and what they cost. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Clock } from "../base/clock.ts";
import {
  type MeterSnapshot,
  type ObservedRequest,
  REQUEST_KINDS,
  type RequestCounts,
  type RequestKind,
} from "../store/metered-store.ts";
import { CostRate, type CostSample } from "./cost-rate.ts";

/** 1 ms to 30 s: from a file system to a store in trouble. */
export const LATENCY_BUCKETS_SECONDS: number[] = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30,
];
const LABELS: Readonly<Record<RequestKind, { readonly kind: RequestKind }>> = {
  get: { kind: "get" },
  head: { kind: "head" },
  put: { kind: "put" },
  list: { kind: "list" },
  delete: { kind: "delete" },
};

export class StoreMetrics {
  readonly #registry: Registry;
  readonly #clock: Clock;
  readonly #rate: CostRate = new CostRate();
  readonly #duration: Histogram<"kind">;
  #meter: { snapshot(): MeterSnapshot } | undefined;

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
    this.#duration = new Histogram({
      name: "lbc_store_request_duration_seconds",
      help: "How long calls of the store took, failed ones included.",
      labelNames: ["kind"],
      buckets: LATENCY_BUCKETS_SECONDS,
      registers: [registry],
    });
    for (const kind of REQUEST_KINDS) this.#duration.zero(LABELS[kind]);
  }

  /** The node has joined: what that cost is no rate to go by. The meter counts already; its counts are only shown. */
  begin(meter: { snapshot(): MeterSnapshot }): void {
    this.#meter = meter;
    this.#rate.begin(this.#spent(meter));
    const counter = (name: string, help: string, count: keyof RequestCounts) => {
      new Counter({
        name,
        help,
        labelNames: ["kind"],
        registers: [this.#registry],
        collect() {
          const snapshot = meter.snapshot();
          this.reset();
          for (const kind of REQUEST_KINDS) this.inc(LABELS[kind], snapshot[kind][count]);
        },
      });
    };
    counter("lbc_store_requests_total", "Requests to the store.", "requests");
    counter("lbc_store_errors_total", "Calls of the store that failed or were aborted.", "errors");
    counter("lbc_store_received_bytes_total", "Bytes of objects received from the store.", "bytesIn");
    counter("lbc_store_sent_bytes_total", "Bytes of objects sent to the store.", "bytesOut");
    new Counter({
      name: "lbc_store_cost_usd_total",
      help: "Estimated cost of the requests to the store since the node started, in US dollars, at S3's prices.",
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(meter.snapshot().estimatedUsd);
      },
    });
    const perMonth = () => this.usdPerMonth();
    new Gauge({
      name: "lbc_store_cost_usd_per_month",
      help: "Estimated cost of this node's requests to the store in 30 days at the rate of the last 10 minutes, in US dollars, at S3's prices; without a value until there is a rate.",
      registers: [this.#registry],
      collect() {
        const usd = perMonth();
        if (usd === undefined) this.remove();
        else this.set(usd);
      },
    });
  }

  /** A call ended. The cost moves only then, so that is when it is looked at. */
  observe(kind: RequestKind, request: ObservedRequest): void {
    this.#duration.observe(LABELS[kind], request.durationMs / 1000);
    if (this.#meter !== undefined && this.#rate.isDue(this.#clock.monotonicMs()))
      this.#rate.sample(this.#spent(this.#meter));
  }

  /** Estimated cost of a month at the rate of the last minutes; `undefined` until there is a rate. */
  usdPerMonth(): number | undefined {
    return this.#meter === undefined ? undefined : this.#rate.usdPerMonth(this.#spent(this.#meter));
  }

  #spent(meter: { snapshot(): MeterSnapshot }): CostSample {
    return { atMs: this.#clock.monotonicMs(), usd: meter.snapshot().estimatedUsd };
  }
}
