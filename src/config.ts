/**
 * Options → validated, frozen settings. Every default of the library is in this
 * file.
 */
import { z } from "zod";
import type { Clock } from "./base/clock.ts";
import { type Log, silent } from "./base/log.ts";
import type { Random } from "./base/random.ts";
import { ClusterError } from "./errors.ts";
import { systemTransport, type Transport } from "./net/transport.ts";
import { systemClock, systemRandom } from "./platform/system.ts";
import { createSqlite, type OpenSqlite } from "./sqlite/context.ts";
import type { ObjectStore } from "./store/store.ts";

const MIB = 1024 * 1024;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

/** A sustained rate and a burst, of epochs. */
export interface RequestBudget {
  readonly perSecond: number;
  readonly burst: number;
}

/** When the leader takes a snapshot: when joining would read more than one, after the last one. */
export interface SnapshotOptions {
  /** When the packs and WALs since the last one exceed the larger of this, *default* 4 MiB, … */
  readonly walBytesMin?: number | undefined;
  /** … and this fraction of the database, *default* 0.5 … */
  readonly databaseFraction?: number | undefined;
  /** … or are so many objects, *default* 96 … */
  readonly objectsMax?: number | undefined;
  /** … or after so many epochs, *default* 65 536. */
  readonly epochsMax?: number | undefined;
  /** Never more often than this, *default* 30 000. */
  readonly intervalMinMs?: number | undefined;
}

/** Internal endpoints that tell of a node and change nothing: `/.lbc/status`, `/.lbc/health/…`, `/.lbc/metrics`. */
export type OpenEndpoint = "status" | "health" | "metrics";

/** What `new LittleBigCluster` takes: `id` and `store`, and whatever is not to be the *default*. */
export interface ClusterOptions {
  /** Names the cluster, 1 to 200 characters, no number; a node that joins with another id is refused. */
  readonly id: string;
  /** Where everything durable is. */
  readonly store: ObjectStore;
  /** With nothing to write, an epoch every so often. *Default* 5 000; at most half of `sessionTimeoutMs`. */
  readonly heartbeatIntervalMs?: number | undefined;
  /**
   * After so long without a new epoch a standby tries to lead; a leader cut off for so long refuses
   * writes. *Default* 20 000, at most 10 minutes.
   */
  readonly sessionTimeoutMs?: number | undefined;
  /** How often a follower asks the store for the next epoch. *Default* 1 000. */
  readonly pollIntervalMs?: number | undefined;
  /** The same while somebody waits in `sync`. *Default* 50. */
  readonly eagerPollIntervalMs?: number | undefined;
  /**
   * Epochs allowed. *Default*: 2 a second sustained with a burst of 120 on a remote store, unlimited on
   * a local one. What exceeds it waits and shares an epoch.
   */
  readonly requestBudget?: RequestBudget | "unlimited" | undefined;
  /** Pause before a failed request to the store is repeated, *default* 50; doubles up to `retryMaxMs`, *default* 5 000. */
  readonly retryBaseMs?: number | undefined;
  readonly retryMaxMs?: number | undefined;
  /** Bytes that may wait for their epoch, *default* 64 MiB; beyond, `transaction` throws `overloaded`. */
  readonly pendingBytesMax?: number | undefined;
  /** The same for the number of transactions, *default* 10 000. */
  readonly pendingTransactionsMax?: number | undefined;
  /** Objects fetched at a time when joining, *default* 16 … */
  readonly fetchParallel?: number | undefined;
  /** … and bytes held for it, *default* 64 MiB. */
  readonly fetchBytesMax?: number | undefined;
  readonly snapshot?: SnapshotOptions | undefined;
  /** How long history is kept: every epoch younger than this can be restored. *Default* 7 days, at least an hour. */
  readonly retentionMs?: number | undefined;
  /** How often the leader looks for what has become too old. *Default* 10 minutes. */
  readonly retentionIntervalMs?: number | undefined;
  /**
   * How often the leader reads the whole history in the background and proves that it can be restored. *Default*: never,
   * because it costs a read of everything; `cluster.verify()` and `lbc verify` do it when they are asked.
   */
  readonly verifyIntervalMs?: number | undefined;
  /** How often a node reports itself to the leader at the most, and the leader tells of what is no news. *Default* 1 000. */
  readonly gossipIntervalMs?: number | undefined;
  /**
   * A standby replaces a leader whose address refuses connections twice, 100 ms apart, without waiting for
   * `sessionTimeoutMs`: what a crashed process looks like. *Default* true.
   */
  readonly fastFailover?: boolean | undefined;
  /** `/.lbc/health/ready` says no to a node that lags more than this. *Default* 20 000. */
  readonly readyLagMaxMs?: number | undefined;
  /** What is answered without the cluster's secret. *Default*: all three. */
  readonly openEndpoints?: readonly OpenEndpoint[] | undefined;
  /** How long a graceful end may take: answers in flight, the last epochs. *Default* 10 000. */
  readonly shutdownTimeoutMs?: number | undefined;
  /** Largest request body that a node takes. *Default* 16 MiB. */
  readonly requestBytesMax?: number | undefined;
  /** Authenticates internal requests where the cluster has no secret of its own: a cluster of the original. At least 16 characters. */
  readonly secret?: string | undefined;
  /** Where events go. *Default*: nowhere. */
  readonly log?: Log | undefined;
  /** For simulations. */
  readonly clock?: Clock | undefined;
  /** For simulations. */
  readonly random?: Random | undefined;
  /** For simulations. */
  readonly transport?: Transport | undefined;
  /** For simulations. */
  readonly openSqlite?: OpenSqlite | undefined;
}

type Filled<Options> = { readonly [Name in keyof Options]-?: Exclude<Options[Name], undefined> };

/** Validated options with every default filled in. */
export interface ClusterSettings
  extends Omit<Filled<ClusterOptions>, "requestBudget" | "secret" | "snapshot" | "verifyIntervalMs"> {
  readonly snapshot: Filled<SnapshotOptions>;
  /** `undefined` where requests are free. */
  readonly budget: RequestBudget | undefined;
  readonly secret: string | undefined;
  /** `undefined`: never. */
  readonly verifyIntervalMs: number | undefined;
}

const milliseconds = (min: number, max: number) => z.number().int().min(min).max(max);
const count = (max = Number.MAX_SAFE_INTEGER) => z.number().int().min(1).max(max);
const isObjectWith = (names: readonly string[]) => (value: unknown) =>
  typeof value === "object" && value !== null && names.every((name) => name in value);

/** What a column of NUMERIC affinity, which `_lbc`'s has, does not keep as text: https://www.sqlite.org/datatype3.html §3 */
const LOOKS_NUMERIC = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*$/i;

const snapshotShape = z.strictObject({
  walBytesMin: z
    .number()
    .int()
    .min(0)
    .default(4 * MIB),
  databaseFraction: z.number().min(0).default(0.5),
  objectsMax: count().default(96),
  epochsMax: count().default(65_536),
  intervalMinMs: milliseconds(0, DAY_MS).default(30_000),
});

const clusterShape = z.strictObject({
  id: z
    .string()
    .min(1, "must not be empty")
    .max(200)
    .refine((id) => !LOOKS_NUMERIC.test(id), "must not look like a number: SQLite would keep it as one"),
  store: z.custom<ObjectStore>(
    isObjectWith(["get", "head", "put", "list", "delete", "deleteMany"]),
    "must be an object store, e.g. new FileSystemStore(directory)",
  ),
  heartbeatIntervalMs: milliseconds(10, 5 * MINUTE_MS).default(5000),
  sessionTimeoutMs: milliseconds(50, 10 * MINUTE_MS).default(20_000),
  pollIntervalMs: milliseconds(5, MINUTE_MS).default(1000),
  eagerPollIntervalMs: milliseconds(1, MINUTE_MS).default(50),
  requestBudget: z
    .union([z.literal("unlimited"), z.strictObject({ perSecond: z.number().positive(), burst: z.number().min(1) })])
    .optional(),
  retryBaseMs: milliseconds(1, MINUTE_MS).default(50),
  retryMaxMs: milliseconds(1, MINUTE_MS).default(5000),
  pendingBytesMax: count().default(64 * MIB),
  pendingTransactionsMax: count().default(10_000),
  fetchParallel: count(256).default(16),
  fetchBytesMax: count().default(64 * MIB),
  snapshot: z.preprocess((value) => value ?? {}, snapshotShape),
  retentionMs: milliseconds(60 * MINUTE_MS, 100 * 365 * DAY_MS).default(7 * DAY_MS),
  retentionIntervalMs: milliseconds(10, DAY_MS).default(10 * MINUTE_MS),
  verifyIntervalMs: milliseconds(10, 366 * DAY_MS).optional(),
  gossipIntervalMs: milliseconds(10, MINUTE_MS).default(1000),
  fastFailover: z.boolean().default(true),
  readyLagMaxMs: milliseconds(1, DAY_MS).default(20_000),
  openEndpoints: z.array(z.enum(["status", "health", "metrics"])).default(["status", "health", "metrics"]),
  shutdownTimeoutMs: milliseconds(0, 10 * MINUTE_MS).default(10_000),
  requestBytesMax: count().default(16 * MIB),
  secret: z.string().min(16).optional(),
  log: z.custom<Log>((value) => typeof value === "function", "must be a function").default(() => silent),
  clock: z
    .custom<Clock>(isObjectWith(["monotonicMs", "wallMs", "after", "soon"]), "must be a Clock")
    .default(systemClock),
  random: z.custom<Random>(isObjectWith(["bytes", "fraction"]), "must be a Random").default(systemRandom),
  transport: z.custom<Transport>(isObjectWith(["listen", "connect"]), "must be a Transport").default(systemTransport),
  openSqlite: z
    .custom<OpenSqlite>((value) => typeof value === "function", "must be a function")
    .default(() => createSqlite),
});

/** What relations between options compare; what is wrong by itself is `NaN` here, and no relation then fails. */
const relatedShape = z.object({
  heartbeatIntervalMs: clusterShape.shape.heartbeatIntervalMs.catch(Number.NaN),
  sessionTimeoutMs: clusterShape.shape.sessionTimeoutMs.catch(Number.NaN),
  retryBaseMs: clusterShape.shape.retryBaseMs.catch(Number.NaN),
  retryMaxMs: clusterShape.shape.retryMaxMs.catch(Number.NaN),
});

/** Checked apart from the shape, so that one error tells the problems of both. */
function relationProblems(options: unknown): string[] {
  const { data } = relatedShape.safeParse(options);
  if (data === undefined) return [];
  const { heartbeatIntervalMs, sessionTimeoutMs, retryBaseMs, retryMaxMs } = data;
  const problems: string[] = [];
  if (heartbeatIntervalMs * 2 > sessionTimeoutMs) {
    problems.push(
      `heartbeatIntervalMs: must be at most half of sessionTimeoutMs (${sessionTimeoutMs}), is ${heartbeatIntervalMs}`,
    );
  }
  if (retryBaseMs > retryMaxMs) problems.push(`retryBaseMs: must be at most retryMaxMs (${retryMaxMs})`);
  return problems;
}

/** *Default* request budget on a store that charges for requests. */
const REMOTE_BUDGET: RequestBudget = { perSecond: 2, burst: 120 };

/**
 * Checks the options of a cluster.
 *
 * @throws ClusterError `invalid`/`bad_configuration` that names every problem at once
 */
export function parseClusterOptions(options: ClusterOptions): ClusterSettings {
  const { requestBudget, ...settings } = parseWith(
    clusterShape,
    options,
    "LittleBigCluster",
    relationProblems(options),
  );
  const standard = settings.store.locality === "remote" ? REMOTE_BUDGET : undefined;
  const budget = requestBudget === "unlimited" ? undefined : (requestBudget ?? standard);
  const snapshot = Object.freeze(settings.snapshot);
  const { secret, verifyIntervalMs } = settings;
  return Object.freeze({ ...settings, snapshot, secret, verifyIntervalMs, budget: budget && Object.freeze(budget) });
}

/**
 * Checks `options` against `shape`, with every problem in one error.
 *
 * @param related problems that were found apart from the shape
 */
export function parseWith<Shape extends z.ZodType>(
  shape: Shape,
  options: unknown,
  what: string,
  related: readonly string[] = [],
): z.output<Shape> {
  const result = shape.safeParse(options);
  if (result.success && related.length === 0) return result.data;
  const ofShape = (result.error?.issues ?? []).map((issue) => {
    const path = issue.path.length === 0 ? "options" : issue.path.join(".");
    return `${path}: ${issue.message}`;
  });
  const problems = [...ofShape, ...related];
  throw new ClusterError(
    "invalid",
    "bad_configuration",
    `the options of ${what} are wrong:\n  ${problems.join("\n  ")}`,
    { problems },
  );
}
