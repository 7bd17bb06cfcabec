/**
 * Making a cluster (docs/architecture.md §2): epoch 0's WAL is the commit point; everything
 * else can be derived from it.
 */
import { equalBytes, toBase64Url, toHex } from "../base/bytes.ts";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import { epochText, LAST_SNAPSHOT_KEY, PREFIX, parseKey, snapshotKey, walKey } from "../format/keys.ts";
import { FORMAT } from "../format/system-rows.ts";
import { sleep } from "../platform/sleep.ts";
import { backoffMs } from "../protocol/moment.ts";
import { createSqlite } from "../sqlite/context.ts";
import { DurableImage } from "../sqlite/image.ts";
import { ReplicaState, SystemReader } from "../sqlite/replica-state.ts";
import { Writer } from "../sqlite/writer.ts";
import type { ObjectStore } from "../store/store.ts";
import { listLaterEpochs } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";

const SECRET_BYTES = 32;
const PROBE_CREATORS = 32;
const PROBE_ATTEMPTS_MAX = 3;
const CREATE_ATTEMPTS_MAX = 8;

/**
 * Makes the cluster.
 *
 * @throws ClusterError `invalid`/`already_initialized`, `invalid`/`store_not_atomic`, and the store's own errors
 */
export async function initialize(parts: HistoryParts, signal: AbortSignal | undefined): Promise<void> {
  const { store, log } = parts;
  if (await hasEpochs(store, signal)) throw alreadyInitialized(store);
  await proveAtomicCreate(store, parts, signal);
  const wal = await firstEpoch(parts);
  if (!(await createFirstEpoch(wal, parts, signal))) throw alreadyInitialized(store);
  log({ level: "info", event: "initialized", store: store.url, bytes: wal.length });
  await completeInit(parts, signal);
}

/** Writes what an init that stopped half way has left out: the first snapshot and the marker. */
export async function completeInit(parts: HistoryParts, signal: AbortSignal | undefined): Promise<void> {
  const { store, settings } = parts;
  const wal = await store.get(walKey(0), { signal });
  if (wal === undefined) return;
  const system = new SystemReader(await createSqlite(settings.clock, settings.random));
  try {
    const state = ReplicaState.empty(system);
    state.apply(state.verify(wal.bytes, wal.key));
    const pin = state.image.pin();
    await store.put(snapshotKey(0), pin.copy(0, pin.byteLength), { signal });
    pin.release();
    await store.put(LAST_SNAPSHOT_KEY, new TextEncoder().encode(epochText(0)), { ifAbsent: true, signal });
  } finally {
    system.close();
  }
}

function alreadyInitialized(store: ObjectStore): ClusterError {
  return new ClusterError(
    "invalid",
    "already_initialized",
    `there is a cluster at ${store.url} already: join it, or choose another place`,
    {
      store: store.url,
    },
  );
}

/** Whether the store holds any object of a cluster. */
export async function hasEpochs(store: ObjectStore, signal: AbortSignal | undefined): Promise<boolean> {
  let after: string | undefined;
  for (;;) {
    const { objects, more } = await store.list(PREFIX, { startAfter: after, signal });
    if (objects.some(({ key }) => parseKey(key) !== undefined)) return true;
    after = objects.at(-1)?.key;
    if (!more || after === undefined) return false;
  }
}

async function firstEpoch({ settings }: HistoryParts): Promise<Uint8Array> {
  const { clock, random, id } = settings;
  const context = await createSqlite(clock, random);
  const lastUpdate = new Date(clock.wallMs()).toISOString();
  const secret = toBase64Url(random.bytes(SECRET_BYTES));
  const writer = Writer.create(context, new DurableImage(), { cluster_id: id, format: FORMAT, secret });
  try {
    return writer.seal({ last_update: lastUpdate }).bytes;
  } finally {
    writer.close();
  }
}

/** Gives false if another init was first. */
async function createFirstEpoch(
  wal: Uint8Array,
  parts: HistoryParts,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const { store } = parts;
  const isOurs = await repeat("init_create_failed", parts, signal, async () => {
    const outcome = await store.put(walKey(0), wal, { ifAbsent: true, signal });
    if (outcome === "created") return true;
    const found = await store.get(walKey(0), { signal });
    return found !== undefined && equalBytes(found.bytes, wal);
  });
  if (!isOurs) return false;
  // Epoch 0 may be missing because the history of an old cluster was trimmed: then ours does not belong there.
  const later = await repeat("init_check_failed", parts, signal, () => listLaterEpochs(store, 0, signal));
  if (later.length === 0 || later[0] === 1) return true;
  await store.delete(walKey(0), { signal });
  return false;
}

/** Repeats what failed for a passing reason. */
async function repeat<T>(
  event: string,
  parts: HistoryParts,
  signal: AbortSignal | undefined,
  action: () => Promise<T>,
): Promise<T> {
  const { clock, random, retryBaseMs, retryMaxMs } = parts.settings;
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      const isPassing = isClusterError(error) && error.kind === "unavailable";
      if (!isPassing || attempt === CREATE_ATTEMPTS_MAX) throw error;
      parts.log({ level: "warn", event, attempt, reason: errorMessage(error) });
      await sleep(clock, backoffMs(attempt, retryBaseMs, retryMaxMs, random.fraction()), signal);
    }
  }
}

/**
 * Races concurrent creators of one key on the store itself: exactly one may win.
 *
 * @throws ClusterError `invalid`/`store_not_atomic`
 */
async function proveAtomicCreate(
  store: ObjectStore,
  parts: HistoryParts,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { random } = parts.settings;
  for (let attempt = 1; ; attempt++) {
    const key = `${PREFIX}.probe-${toHex(random.bytes(8))}`;
    const bodies = Array.from({ length: PROBE_CREATORS }, (_, creator) =>
      new TextEncoder().encode(`creator ${creator} ${key}`),
    );
    const answers = await Promise.allSettled(bodies.map((body) => store.put(key, body, { ifAbsent: true, signal })));
    try {
      const failure = answers.find((answer) => answer.status === "rejected");
      const winners = answers.flatMap((answer, index) =>
        answer.status === "fulfilled" && answer.value === "created" ? [index] : [],
      );
      const stored = winners.length === 0 && failure !== undefined ? undefined : await store.get(key, { signal });
      if (winners.length > 1)
        refuseStore(
          store,
          `${winners.length} of ${PROBE_CREATORS} concurrent creators of one key were told that they created it`,
        );
      const winner = bodies[winners[0] ?? -1];
      if (winner !== undefined && (stored === undefined || !equalBytes(stored.bytes, winner))) {
        refuseStore(store, "the object does not hold the bytes of the creator that was told that it created it");
      }
      if (failure === undefined) {
        if (winner === undefined)
          refuseStore(store, `none of ${PROBE_CREATORS} concurrent creators of a new key was told that it created it`);
        return;
      }
      const isPassing = isClusterError(failure.reason) && failure.reason.kind === "unavailable";
      if (!isPassing || attempt === PROBE_ATTEMPTS_MAX) throw failure.reason;
    } finally {
      await store.delete(key, { signal }).catch(() => {});
    }
  }
}

function refuseStore(store: ObjectStore, found: string): never {
  throw new ClusterError(
    "invalid",
    "store_not_atomic",
    `the store at ${store.url} cannot hold a cluster: ${found}. Leader election needs an atomic create-if-absent (If-None-Match: *); use a store that has it`,
    { store: store.url, found },
  );
}
