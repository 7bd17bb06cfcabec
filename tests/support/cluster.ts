import { onTestFinished } from "vitest";
import type { LogEvent } from "../../src/base/log.ts";
import { epochText, LAST_SNAPSHOT_KEY, snapshotKey, walKey } from "../../src/format/keys.ts";
import { framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import {
  type ClusterNode,
  type ClusterOptions,
  type JoinOptions,
  LittleBigCluster,
  MemoryStore,
  type ObjectStore,
} from "../../src/mod.ts";
import { FaultyStore, type StoreCall, type StoreFault } from "../../src/testing/mod.ts";
import { TestClock } from "./test-clock.ts";
import { within } from "./wait.ts";

/** Fast, for tests that wait for heartbeats and time-outs. */
export const FAST: Partial<ClusterOptions> = {
  heartbeatIntervalMs: 50,
  sessionTimeoutMs: 1000,
  pollIntervalMs: 20,
  eagerPollIntervalMs: 5,
  retryBaseMs: 5,
  retryMaxMs: 40,
  gossipIntervalMs: 50,
  shutdownTimeoutMs: 3000,
};

/** Nothing happens but what the test does: no heartbeat, and time-outs only by a clock that the test sets forward. */
export const QUIET: Partial<ClusterOptions> = { ...FAST, heartbeatIntervalMs: 250_000, sessionTimeoutMs: 500_000 };
/** Join option of a leader whose stream nobody can open: its followers read the store. */
export const UNREACHABLE: JoinOptions = { advertise: "127.0.0.1:1" };
/** Longer than the session time-out of {@link QUIET}. */
export const LONG_MS = 600_000;
/** So long that history may have been trimmed meanwhile. */
export const AWAY_MS: number = 2 * 60 * 60_000;

/** A node with the means to make it suffer. */
export interface Subject {
  readonly node: ClusterNode;
  readonly clock: TestClock;
  /** The node's own way to the store. */
  readonly faults: FaultyStore;
  readonly events: readonly LogEvent[];
}

export interface SubjectOptions {
  readonly settings?: Partial<ClusterOptions>;
  readonly join?: JoinOptions;
  readonly clock?: TestClock;
  readonly onCall?: (call: StoreCall) => StoreFault | undefined;
}

/** A cluster's store, initialised. */
export async function newStore(store: ObjectStore = new MemoryStore(), id = "test"): Promise<ObjectStore> {
  await new LittleBigCluster({ id, store }).init();
  return store;
}

/** Joins; the node is shut down when the test ends. */
export async function join(
  kind: "leader" | "follower",
  store: ObjectStore,
  { settings = FAST, join: joinOptions, clock = new TestClock(), onCall }: SubjectOptions = {},
): Promise<Subject> {
  const events: LogEvent[] = [];
  const faults = new FaultyStore(store, onCall === undefined ? {} : { onCall });
  const cluster = new LittleBigCluster({
    id: "test",
    store: faults,
    clock,
    log: (event) => events.push(event),
    ...settings,
  });
  const options = { address: "127.0.0.1:0", ...joinOptions };
  const node = await (kind === "leader" ? cluster.joinAsLeader(options) : cluster.joinAsFollower(options));
  onTestFinished(async () => {
    faults.onCall = () => undefined;
    await within("the shutdown after the test", node.shutdown());
  });
  return { node, clock, faults, events };
}

/** Joins as leader of a cluster that nobody leads, and waits until it does. */
export async function lead(store: ObjectStore, options: SubjectOptions = {}): Promise<Subject> {
  const clock = options.clock ?? new TestClock();
  const subject = await join("leader", store, { ...options, clock });
  // A cluster that somebody led not long ago: nobody will speak up.
  if (subject.node.leader.current !== undefined) clock.pass((options.settings?.sessionTimeoutMs ?? 0) + 1);
  await subject.node.waitForLeadership({ timeoutMs: 10_000 });
  return subject;
}

/** For this node a session time-out passes in which it hears nothing; and something makes it look at its clock. */
export function passSilence({ node, clock }: Subject): void {
  clock.pass(LONG_MS);
  node.sync({ atLeast: node.epoch.current + 1 }, { timeoutMs: 1 }).catch(() => {});
}

/** Creates the table that the tests write to. */
export async function createTable(node: ClusterNode): Promise<number> {
  const ack = node.transaction((tx) => tx.exec("CREATE TABLE IF NOT EXISTS items (name TEXT PRIMARY KEY, body BLOB)"));
  return (await ack.durable).epoch;
}

/** Adds a row, not yet durable. */
export function insert(node: ClusterNode, name: string, body: Uint8Array | null = null): Promise<{ epoch: number }> {
  return node.transaction((tx) => tx.run("INSERT INTO items(name, body) VALUES (?, ?)", [name, body])).durable;
}

/** Names of the rows that a node shows. */
export function namesIn(node: ClusterNode): string[] {
  return node.db.query<{ name: string }>("SELECT name FROM items ORDER BY name").map(({ name }) => name);
}

/** `put` calls of WAL objects. */
export function isWalPut(call: StoreCall): boolean {
  return call.operation === "put" && call.key.endsWith(".wal");
}

/** The object's bytes, which must be there. */
export async function bytesOf(store: ObjectStore, key: string): Promise<Uint8Array> {
  const object = await store.get(key);
  if (object === undefined) throw new Error(`there is no ${key}`);
  return object.bytes;
}

/** Epochs whose WAL is in the store. */
export async function walEpochs(store: ObjectStore): Promise<number[]> {
  const epochs: number[] = [];
  for (let after: string | undefined; ; ) {
    const { objects, more } = await store.list(".lbc/", { startAfter: after });
    for (const { key } of objects) {
      if (key.endsWith(".wal")) epochs.push(Number(key.slice(5, 25)));
      after = key;
    }
    if (!more) return epochs;
  }
}

/** What retention does: every epoch and snapshot below `epoch` is gone. */
export async function trimBelow(store: ObjectStore, epoch: number): Promise<void> {
  for (const old of await walEpochs(store)) {
    if (old < epoch) await store.deleteMany([walKey(old), snapshotKey(old)]);
  }
}

/** One bit of an object wrong. */
export async function flip(store: ObjectStore, key: string, offset: number): Promise<void> {
  const bytes = (await bytesOf(store, key)).slice();
  bytes[offset] = (bytes[offset] as number) ^ 1;
  await store.put(key, bytes);
}

/** The database at an epoch, made of the WALs in the store and nothing else. */
export async function imageAt(store: ObjectStore, epoch: number): Promise<Uint8Array> {
  let image = new Uint8Array(0);
  for (let at = 0; at <= epoch; at++) {
    const wal = parseWal(await bytesOf(store, walKey(at)), walKey(at));
    const next = new Uint8Array(wal.pageCount * PAGE_BYTES);
    next.set(image.subarray(0, next.length));
    for (let frame = 0; frame < wal.frameCount; frame++) {
      const offset = framePageOffset(frame);
      const page = wal.pageNumbers[frame] as number;
      next.set(wal.bytes.subarray(offset, offset + PAGE_BYTES), (page - 1) * PAGE_BYTES);
    }
    image = next;
  }
  return image;
}

/** Writes the snapshot of an epoch and points the marker to it. */
export async function putSnapshot(store: ObjectStore, epoch: number): Promise<void> {
  await store.put(snapshotKey(epoch), await imageAt(store, epoch));
  await putMarker(store, epochText(epoch));
}

export async function putMarker(store: ObjectStore, text: string): Promise<void> {
  await store.put(LAST_SNAPSHOT_KEY, new TextEncoder().encode(text));
}
