/** What requests will cost a month (docs/architecture.md §4 and §5 say who sends which). */
import type { ClusterSettings } from "../../config.ts";
import { PACK_LEVELS } from "../../format/pack.ts";
import type { RequestPrices } from "../../store/metered-store.ts";
import type { DoctorFinding } from "./finding.ts";

/** 730 hours, as the price lists of stores count. */
export const SECONDS_PER_MONTH: number = 730 * 3600;

/** What an epoch of a small write takes, if it changes other pages than those before: for how often a snapshot is due. */
const EPOCH_BYTES = 16 * 1024;

/** A snapshot goes up in parts of this size, with a request before and after them. */
const PART_BYTES = 8 * 1024 * 1024;
const REQUESTS_AROUND_PARTS = 2;

/** The retention lists every object twice, to find its age and to delete it, a thousand at a time. */
const OBJECTS_PER_LIST = 1000 / 2;

/** Requests of a month and their price. */
export interface MonthlyCost {
  readonly epochs: number;
  readonly putRequests: number;
  readonly listRequests: number;
  readonly usd: number;
}

/** What the cost depends on. */
export interface CostParts {
  readonly settings: ClusterSettings;
  readonly prices: RequestPrices;
  readonly databaseBytes: number;
}

/** What a cluster of these settings costs with that many epochs a second. */
export function monthlyCost(epochsPerSecond: number, { settings, prices, databaseBytes }: CostParts): MonthlyCost {
  const { snapshot, retentionIntervalMs } = settings;
  const epochs = SECONDS_PER_MONTH * epochsPerSecond;
  const packs = PACK_LEVELS.reduce((sum, epochsPerPack) => sum + epochs / epochsPerPack, 0);
  const changedBytesMax = Math.max(snapshot.walBytesMin, databaseBytes * snapshot.databaseFraction);
  const snapshots = epochs / Math.min(snapshot.epochsMax, Math.max(1, changedBytesMax / EPOCH_BYTES));
  const requestsPerSnapshot = REQUESTS_AROUND_PARTS + Math.ceil(databaseBytes / PART_BYTES);
  const retentionRuns = (SECONDS_PER_MONTH * 1000) / retentionIntervalMs;
  const markers = snapshots + retentionRuns;
  const putRequests = Math.round(epochs + packs + snapshots * requestsPerSnapshot + markers);
  const listRequests = Math.round((epochs + packs) / OBJECTS_PER_LIST + retentionRuns);
  const usd = (putRequests * prices.put + listRequests * prices.list) / 1_000_000;
  return { epochs: Math.round(epochs), putRequests, listRequests, usd };
}

/** The finding; a store that is no service costs nothing. */
export function costFinding(parts: CostParts): DoctorFinding {
  const { settings, prices, databaseBytes } = parts;
  const { heartbeatIntervalMs, pollIntervalMs, budget } = settings;
  if (budget === undefined) {
    const found = "nothing: requests to a local store are free";
    return { check: "cost", verdict: "info", found, measured: { idle: undefined, busy: undefined } };
  }
  const idle = monthlyCost(1000 / heartbeatIntervalMs, parts);
  const busy = monthlyCost(budget.perSecond, parts);
  const pollingUsd = (SECONDS_PER_MONTH * (1000 / pollIntervalMs) * prices.get) / 1_000_000;
  const found = [
    `about ${dollars(idle.usd)} a month idle (an epoch every ${heartbeatIntervalMs / 1000} s)`,
    `${dollars(busy.usd)} always busy (${budget.perSecond} epochs a second, the request budget)`,
    `packs, snapshots of ${Math.round(databaseBytes / (1024 * 1024))} MiB and retention included`,
    `storage and traffic not; a node that cannot reach the leader polls for ${dollars(pollingUsd)} a month`,
  ].join("; ");
  const measured = { idle, busy, pollingUsd, pricesPerMillionUsd: prices, databaseBytes };
  return { check: "cost", verdict: "info", found, measured };
}

function dollars(usd: number): string {
  return `$${usd.toFixed(2)}`;
}
