/**
 * Making a cluster (docs/architecture.md §2): epoch 0's WAL is the commit point; everything
 * else can be derived from it.
 */
import { equalBytes, toHex } from "../base/bytes.ts";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import { epochText, LAST_SNAPSHOT_KEY, PREFIX, parseKey, snapshotKey, walKey } from "../format/keys.ts";
import { sleep } from "../platform/sleep.ts";
import { backoffMs } from "../protocol/moment.ts";
import { DurableImage } from "../sqlite/image.ts";
import { ReplicaState, SystemReader } from "../sqlite/replica-state.ts";
import { Writer } from "../sqlite/writer.ts";
import { raceToCreate } from "../store/atomic-create-probe.ts";
import type { ObjectStore } from "../store/store.ts";
import { ByteMeter } from "./byte-meter.ts";
import { encodeFirstEpoch, firstRows } from "./first-epoch.ts";
import { importFile } from "./import-file.ts";
import { listLaterEpochs } from "./listing.ts";
import type { HistoryParts } from "./parts.ts";
import type { LongCallOptions } from "./progress.ts";

const PROBE_ATTEMPTS_MAX = 3;
const CREATE_ATTEMPTS_MAX = 8;

/** How a cluster is made: empty, or with the content of a file. */
export interface InitOptions extends LongCallOptions {
  /**
   * An SQLite database, as the first content of the cluster. It is converted (to pages of 4096 bytes, WAL) while nothing
   * else of the process runs, about three seconds for 256 MiB, and must not change meanwhile.
   */
  readonly from?: string | undefined;
}

/**
 * Makes the cluster.
 *
 * @throws ClusterError `invalid`/`already_initialized`, `invalid`/`store_not_atomic`, the store's own errors, and those
 *   of {@link importFile}
 */
export async function initialize(parts: HistoryParts, options: InitOptions = {}): Promise<void> {
  const { from } = options;
  const meter = new ByteMeter(options);
  await createCluster(parts, meter, options.signal, () =>
    from === undefined ? emptyFirstEpoch(parts) : importedFirstEpoch(from, parts, meter),
  );
}

/**
 * Makes a cluster that begins with the epoch that `makeWal` gives. Nothing is written before that is made.
 *
 * @throws ClusterError as {@link initialize} does
 */
export async function createCluster(
  parts: HistoryParts,
  meter: ByteMeter,
  signal: AbortSignal | undefined,
  makeWal: () => Promise<Uint8Array>,
): Promise<void> {
  const { store, log } = parts;
  if (await hasEpochs(store, signal)) throw alreadyInitialized(store);
  const bytes = await createFrom(makeWal, parts, meter, signal);
  log({ level: "info", event: "initialized", store: store.url, bytes });
  await completeInit(parts, signal, meter);
}

/** Gives the size of the epoch; its bytes are not held any longer. */
async function createFrom(
  makeWal: () => Promise<Uint8Array>,
  parts: HistoryParts,
  meter: ByteMeter,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { store } = parts;
  const wal = await makeWal();
  await proveAtomicCreate(store, parts, signal);
  meter.begin(wal.length);
  if (!(await createFirstEpoch(wal, parts, signal))) throw alreadyInitialized(store);
  return wal.length;
}

/** Writes what an init that stopped half way has left out: the first snapshot and the marker. */
export async function completeInit(
  parts: HistoryParts,
  signal: AbortSignal | undefined,
  meter: ByteMeter = new ByteMeter({ signal }),
): Promise<void> {
  const { store, settings } = parts;
  const system = new SystemReader(await settings.openSqlite(settings.clock, settings.random));
  try {
    const state = ReplicaState.empty(system);
    if (!(await applyFirstEpoch(state, store, signal))) return;
    const pin = state.image.pin();
    meter.begin(pin.byteLength);
    const read = (offset: number, length: number) => {
      meter.add(length);
      return pin.copy(offset, length);
    };
    await store.put(snapshotKey(0), { byteLength: pin.byteLength, read }, { signal });
    pin.release();
    await store.put(LAST_SNAPSHOT_KEY, new TextEncoder().encode(epochText(0)), { ifAbsent: true, signal });
    meter.finish();
  } finally {
    system.close();
  }
}

/** Apart, so that the WAL's bytes are not held while the snapshot is written. */
async function applyFirstEpoch(
  state: ReplicaState,
  store: ObjectStore,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const wal = await store.get(walKey(0), { signal });
  if (wal === undefined) return false;
  state.apply(state.verify(wal.bytes, wal.key));
  return true;
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

async function emptyFirstEpoch({ settings }: HistoryParts): Promise<Uint8Array> {
  const context = await settings.openSqlite(settings.clock, settings.random);
  const { last_update, ...rows } = firstRows(settings);
  const writer = Writer.create(context, new DurableImage(), rows);
  try {
    return writer.seal({ last_update: last_update as string }).bytes;
  } finally {
    writer.close();
  }
}

async function importedFirstEpoch(file: string, { settings }: HistoryParts, meter: ByteMeter): Promise<Uint8Array> {
  const { clock, random, openSqlite } = settings;
  const context = await openSqlite(clock, random);
  const database = await importFile(file, context, new Map(Object.entries(firstRows(settings))), meter);
  return encodeFirstEpoch(database, random, () => {});
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
  const isThere = await repeat("init_check_failed", parts, signal, async () => {
    const later = await listLaterEpochs(store, 0, signal);
    // A listing may lack an epoch that was created while it was made, and show a later one.
    return later.length === 0 || (await store.head(walKey(1), { signal })) !== undefined;
  });
  if (isThere) return true;
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
    try {
      const race = await raceToCreate(store, key, signal);
      if (race.verdict === "atomic") return;
      if (race.verdict === "not_atomic") refuseStore(store, race.found);
      const isPassing = isClusterError(race.reason) && race.reason.kind === "unavailable";
      if (!isPassing || attempt === PROBE_ATTEMPTS_MAX) throw race.reason;
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
