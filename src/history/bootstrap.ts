/**
 * Joining: builds the database from the bucket (docs/architecture.md §5). Nothing of it is
 * shown to readers before it is complete and proven.
 */
import type { Log } from "../base/log.ts";
import { ClusterError, isClusterError } from "../errors.ts";
import { beforeEpochKey, snapshotKey, walKey } from "../format/keys.ts";
import { PAGE_BYTES } from "../format/wal.ts";
import { type BootstrapPlan, chooseBootstrap } from "../protocol/bootstrap.ts";
import { CHUNK_BYTES, DurableImage } from "../sqlite/image.ts";
import { ReplicaState, type SystemReader, type VerifiedEpoch } from "../sqlite/replica-state.ts";
import type { ObjectStore, StoredObject } from "../store/store.ts";
import { type ListedObject, listObjects, readMarker } from "./listing.ts";
import { prefetch } from "./prefetch.ts";

/** How often a join starts over because objects went away under it. */
const ATTEMPTS_MAX = 5;
/** Snapshots are read in pieces of this size. */
const PART_BYTES: number = 32 * CHUNK_BYTES;
const PARTS_PARALLEL = 4;

/** How far a join has come. */
export interface JoinProgress {
  /** Bytes read, of about how many. */
  readonly bytes: number;
  readonly bytesTotal: number;
  /** The epoch reached, of the newest that is known. */
  readonly epoch: number;
  readonly headEpoch: number;
}

export interface BootstrapParts {
  readonly store: ObjectStore;
  readonly system: SystemReader;
  readonly parallel: number;
  readonly bytesMax: number;
  readonly log: Log;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: JoinProgress) => void) | undefined;
}

export interface Bootstrapped {
  readonly state: ReplicaState;
  /** Age of the newest epoch by the store's clock. */
  readonly newestAgeMs: number;
  /** The epoch that it started from. */
  readonly baseEpoch: number;
  /** Epochs applied after the base, with the size of their WAL. */
  readonly applied: readonly { readonly epoch: number; readonly walBytes: number }[];
}

/**
 * Reads the newest state there is.
 *
 * @throws ClusterError `invalid`/`not_initialized` if the store holds no cluster, `corrupt` if no undamaged
 *   way leads to the newest epoch
 */
export async function bootstrap(parts: BootstrapParts): Promise<Bootstrapped> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await bootstrapOnce(parts);
    } catch (error) {
      if (!(error instanceof ObjectGone) || attempt === ATTEMPTS_MAX)
        throw error instanceof ObjectGone ? error.toClusterError() : error;
      parts.log({ level: "info", event: "join_restarted", attempt, reason: error.message });
    }
  }
}

/** An object that was listed is not there any more: retention moved on. */
class ObjectGone extends Error {
  readonly key: string;

  constructor(key: string) {
    super(`${key} is gone`);
    this.key = key;
  }

  toClusterError(): ClusterError {
    return new ClusterError(
      "corrupt",
      "history_incomplete",
      `the history in the store has no complete way to its newest epoch: ${this.message}`,
      { object: this.key, where: "listing", expected: "present", found: "missing" },
    );
  }
}

async function bootstrapOnce(parts: BootstrapParts): Promise<Bootstrapped> {
  const hinted = await readMarker(parts.store, parts.signal);
  // The hint may be stale, or its snapshot damaged: then the whole listing is the truth.
  const starts = hinted === undefined ? [undefined] : [beforeEpochKey(hinted), undefined];
  const refused = new Map<string, unknown>();
  for (const start of starts) {
    const { plans, sizes } = await findPlans(start, parts);
    for (const plan of plans) {
      const base = `${plan.base.kind} ${plan.base.epoch}`;
      if (refused.has(base)) continue;
      try {
        return await follow(plan, sizes, parts);
      } catch (error) {
        if (!isWorthAnotherBase(error)) throw error;
        refused.set(base, error);
        const { details } = error;
        parts.log({
          level: "error",
          event: "join_base_refused",
          base: plan.base.epoch,
          reason: error.message,
          details,
        });
      }
    }
  }
  for (const [, firstError] of refused) throw firstError;
  throw new ClusterError(
    "invalid",
    "not_initialized",
    `there is no cluster at ${parts.store.url}: initialize it first, with cluster.init()`,
    { store: parts.store.url },
  );
}

/** Damage, also one that makes a snapshot look like another cluster's or another format's. */
function isWorthAnotherBase(error: unknown): error is ClusterError {
  if (!isClusterError(error)) return false;
  return error.kind === "corrupt" || error.code === "wrong_cluster" || error.code === "unknown_format";
}

/** The ways to start that a listing from there shows; none where that is not all that there may be. */
async function findPlans(
  start: string | undefined,
  { store, signal }: BootstrapParts,
): Promise<{ plans: readonly BootstrapPlan[]; sizes: ReadonlyMap<string, number> }> {
  const objects = await listObjects(store, start, signal);
  const choice = chooseBootstrap(objects);
  const sizes = sizesOf(objects);
  if (choice.type === "plans" && (start === undefined || choice.plans[0]?.isProven))
    return { plans: choice.plans, sizes };
  if (choice.type === "noBase" && start === undefined)
    throw new ObjectGone(walKey(missingEpoch(objects, choice.headEpoch)));
  return { plans: [], sizes };
}

/** The newest epoch before `head` that has no WAL. */
function missingEpoch(objects: readonly ListedObject[], head: number): number {
  const wals = new Set(objects.flatMap(({ kind, epoch }) => (kind === "wal" ? [epoch] : [])));
  let epoch = head;
  while (wals.has(epoch)) epoch--;
  return epoch;
}

function sizesOf(objects: readonly ListedObject[]): ReadonlyMap<string, number> {
  return new Map(objects.map(({ kind, epoch, size }) => [kind === "wal" ? walKey(epoch) : snapshotKey(epoch), size]));
}

async function follow(
  plan: BootstrapPlan,
  sizes: ReadonlyMap<string, number>,
  parts: BootstrapParts,
): Promise<Bootstrapped> {
  const { store, system, signal } = parts;
  const { base, headEpoch } = plan;
  const epochs = Array.from({ length: headEpoch - base.epoch }, (_, index) => base.epoch + 1 + index);
  const progress = new Progress(parts, headEpoch);
  progress.expect(epochs.reduce((sum, epoch) => sum + (sizes.get(walKey(epoch)) ?? 0), 0));

  const state = base.kind === "wal" ? ReplicaState.empty(system) : await readSnapshot(base.epoch, progress, parts);
  const applied: { epoch: number; walBytes: number }[] = [];
  let newest: StoredObject | undefined;
  const apply = (object: StoredObject) => {
    const verified =
      base.kind === "snapshot" && state.epoch === base.epoch
        ? verifyFirst(state, object)
        : state.verify(object.bytes, object.key);
    state.apply(verified);
    applied.push({ epoch: verified.epoch, walBytes: object.size });
    newest = object;
    progress.reached(verified.epoch, object.size);
  };
  if (base.kind === "wal") epochs.unshift(base.epoch);
  const fetchWal = async (epoch: number) => {
    const object = await store.get(walKey(epoch), { signal });
    if (object === undefined) throw new ObjectGone(walKey(epoch));
    return object;
  };
  const sizeOf = (epoch: number) => sizes.get(walKey(epoch)) ?? 0;
  for await (const { result } of prefetch(epochs, fetchWal, sizeOf, parts.parallel, parts.bytesMax)) apply(result);
  for (let next = await store.get(walKey(state.epoch + 1), { signal }); next !== undefined; ) {
    apply(next);
    next = await store.get(walKey(state.epoch + 1), { signal });
  }
  newest ??= await adoptOwnWal(state, parts);
  return {
    state,
    newestAgeMs: newest === undefined ? 0 : newest.nowMs - newest.lastModifiedMs,
    baseEpoch: base.epoch,
    applied,
  };
}

/** The first epoch after a snapshot proves it: if they do not fit, it is the snapshot that is not what it should be. */
function verifyFirst(state: ReplicaState, object: StoredObject): VerifiedEpoch {
  try {
    return state.verify(object.bytes, object.key);
  } catch (error) {
    if (!isClusterError(error) || error.code !== "diverged") throw error;
    const { where, expected, found } = error.details as Record<"where" | "expected" | "found", string>;
    refuseSnapshot(snapshotKey(state.epoch), where, found, expected);
  }
}

/** A snapshot that is the newest thing there is: its own epoch's WAL proves the pages that changed last. */
async function adoptOwnWal(
  state: ReplicaState,
  { store, signal, log }: BootstrapParts,
): Promise<StoredObject | undefined> {
  const own = await store.get(walKey(state.epoch), { signal });
  if (own === undefined) {
    log({
      level: "warn",
      event: "snapshot_unproven",
      epoch: state.epoch,
      reason: "neither its epoch nor the next is in the store",
    });
    return undefined;
  }
  state.adoptWal(own.bytes, own.key);
  return own;
}

async function readSnapshot(epoch: number, progress: Progress, parts: BootstrapParts): Promise<ReplicaState> {
  const { store, signal, system } = parts;
  const key = snapshotKey(epoch);
  const readPart = async (offset: number) => {
    const part = await store.get(key, { range: { offset, length: PART_BYTES }, signal });
    if (part === undefined) throw new ObjectGone(key);
    return part;
  };
  const first = await readPart(0);
  checkSnapshotHeader(first, key);
  progress.expect(first.size);
  progress.reached(epoch, first.bytes.length);
  const offsets = Array.from(
    { length: Math.ceil(first.size / PART_BYTES) - 1 },
    (_, index) => (index + 1) * PART_BYTES,
  );
  const pieces = [first.bytes];
  for await (const { result } of prefetch(
    offsets,
    readPart,
    () => PART_BYTES,
    PARTS_PARALLEL,
    PARTS_PARALLEL * PART_BYTES,
  )) {
    pieces.push(result.bytes);
    progress.reached(epoch, result.bytes.length);
  }
  const chunks = pieces.flatMap((piece) =>
    Array.from({ length: Math.ceil(piece.length / CHUNK_BYTES) }, (_, index) =>
      piece.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
    ),
  );
  const found = pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (found !== first.size) refuseSnapshot(key, "size", `${first.size} bytes`, `${found} bytes`);
  const image = DurableImage.adopt(chunks, first.size / PAGE_BYTES);
  return ReplicaState.fromSnapshot(system, image, epoch, key);
}

const PAGE_SIZE_OFFSET = 16;
const PAGE_COUNT_OFFSET = 28;
const MAGIC = "SQLite format 3\0";

/** https://www.sqlite.org/fileformat2.html#the_database_header */
function checkSnapshotHeader(first: StoredObject, key: string): void {
  const { bytes, size } = first;
  if (size === 0 || size % PAGE_BYTES !== 0)
    refuseSnapshot(key, "size", `a multiple of ${PAGE_BYTES} bytes`, `${size} bytes`);
  const magic = new TextDecoder("latin1").decode(bytes.subarray(0, MAGIC.length));
  if (magic !== MAGIC) refuseSnapshot(key, "header", "an SQLite database", "something else");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const pageBytes = view.getUint16(PAGE_SIZE_OFFSET);
  if (pageBytes !== PAGE_BYTES) refuseSnapshot(key, "page size", String(PAGE_BYTES), String(pageBytes));
  const pageCount = view.getUint32(PAGE_COUNT_OFFSET);
  if (pageCount !== size / PAGE_BYTES) refuseSnapshot(key, "size", `${pageCount} pages`, `${size / PAGE_BYTES} pages`);
}

function refuseSnapshot(object: string, where: string, expected: string, found: string): never {
  throw new ClusterError(
    "corrupt",
    "snapshot_corrupt",
    `${object} is damaged and was not used: ${where}: expected ${expected}, found ${found}`,
    { object, where, expected, found },
  );
}

/** Adds up what was read and tells who wants to know. */
class Progress {
  readonly #tell: ((progress: JoinProgress) => void) | undefined;
  #bytes = 0;
  #bytesTotal = 0;
  #headEpoch: number;

  constructor(parts: BootstrapParts, headEpoch: number) {
    this.#tell = parts.onProgress;
    this.#headEpoch = headEpoch;
  }

  expect(bytes: number): void {
    this.#bytesTotal += bytes;
  }

  reached(epoch: number, bytes: number): void {
    this.#bytes += bytes;
    this.#bytesTotal = Math.max(this.#bytesTotal, this.#bytes);
    this.#headEpoch = Math.max(this.#headEpoch, epoch);
    this.#tell?.({ bytes: this.#bytes, bytesTotal: this.#bytesTotal, epoch, headEpoch: this.#headEpoch });
  }
}
