/** Histories as a cluster's life writes them, and what happens to the objects of a bucket; all from a seed. */
import { readFileSync } from "node:fs";
import type { Random } from "../../src/base/random.ts";
import { parseKey, walKey } from "../../src/format/keys.ts";
import { PACK_LEVELS, packSalts } from "../../src/format/pack.ts";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import { encodeFirstEpoch } from "../../src/history/first-epoch.ts";
import { type ClusterOptions, MemoryStore, type ObjectStore, type Transaction } from "../../src/mod.ts";
import { sha256Hex } from "../../src/platform/system.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import { bytesOf, lead, newStore, QUIET, type Subject } from "./cluster.ts";
import { allObjects, sqliteFile } from "./sqlite-file.ts";

/** What a cluster wrote, and what its database was. */
export interface RandomHistory {
  readonly objects: ReadonlyMap<string, Uint8Array>;
  /** SHA-256 of the database at each epoch, from the WALs alone. */
  readonly states: readonly string[];
}

/** A whole number from 0 to below `count`. */
export function below(random: Random, count: number): number {
  return Math.floor(random.fraction() * count);
}

export function oneOf<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)] as T;
}

/** A history of at least so many epochs, of one leader after the other. */
export async function randomHistory(random: Random, epochs: number): Promise<RandomHistory> {
  const store = new MemoryStore();
  if (random.fraction() < 0.5) await store.put(walKey(0), vacuumingFirstEpoch(random));
  else await newStore(store);
  for (let reached = 0; reached < epochs; ) {
    const upTo = Math.min(epochs, reached + 20 + below(random, epochs));
    reached = await leadUpTo(store, upTo, random);
  }
  return { objects: await allObjects(store), states: await statesOf(store) };
}

/** The first epoch of a cluster whose database can give pages back. */
function vacuumingFirstEpoch(random: Random): Uint8Array {
  const secret = Buffer.from(random.bytes(32)).toString("base64url");
  const file = sqliteFile(`PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
    CREATE TABLE _lbc (key TEXT PRIMARY KEY, value ANY);
    INSERT INTO _lbc VALUES ('cluster_id', 'test'), ('format', 1), ('secret', '${secret}'),
      ('last_update', '2026-01-01T00:00:00Z');`);
  const bytes = new Uint8Array(readFileSync(file));
  return encodeFirstEpoch(DurableImage.adopt([bytes], bytes.length / PAGE_BYTES), random, () => {});
}

/** One leader, whose packs and snapshots sometimes fail; it ends as leaders do, or crashes. */
async function leadUpTo(store: ObjectStore, epoch: number, random: Random): Promise<number> {
  const settings: Partial<ClusterOptions> = { ...QUIET, shutdownTimeoutMs: 1000, snapshot: randomSnapshots(random) };
  const failures = oneOf(random, [0, 0.2, 0.5]);
  const subject = await lead(store, { settings });
  const { node, faults } = subject;
  faults.onCall = ({ operation, key }) => {
    const isKept = operation !== "put" || key.endsWith(".wal");
    return isKept || random.fraction() >= failures ? undefined : { kind: oneOf(random, ["fail_before", "fail_after"]) };
  };
  await node.transaction((tx) => tx.exec("CREATE TABLE IF NOT EXISTS items (name TEXT PRIMARY KEY, body BLOB)"))
    .durable;
  while (node.epoch.current < epoch) await step(subject, random);
  await node.shutdown();
  return node.epoch.current;
}

function randomSnapshots(random: Random): ClusterOptions["snapshot"] {
  return {
    walBytesMin: oneOf(random, [2 ** 17, 2 ** 40]),
    databaseFraction: oneOf(random, [0.5, 3]),
    objectsMax: oneOf(random, [30, 96, 100_000]),
    epochsMax: oneOf(random, [7, 40, 90, 65_536]),
    intervalMinMs: oneOf(random, [0, 0, 50]),
  };
}

/** An epoch, or a few. */
async function step({ node }: Subject, random: Random): Promise<void> {
  if (random.fraction() < 0.004 && node.epoch.current > 10) {
    await node.rollback(node.epoch.current - 1 - below(random, 9)).catch(() => {});
    return;
  }
  const size = random.fraction() < 0.1 ? below(random, 40_000) : below(random, 300);
  await node.transaction((tx) => change(tx, random, size)).durable;
}

function change(tx: Transaction, random: Random, size: number): void {
  const name = `row ${below(random, 60)}`;
  const table = `t${below(random, 4)}`;
  const kind = random.fraction();
  if (kind < 0.7) tx.run("INSERT OR REPLACE INTO items VALUES (?, ?)", [name, random.bytes(size)]);
  else if (kind < 0.8) tx.exec(`DELETE FROM items WHERE name < '${name}'; PRAGMA incremental_vacuum`);
  else if (kind < 0.85)
    tx.exec(`CREATE TABLE IF NOT EXISTS ${table} (a, b); CREATE INDEX IF NOT EXISTS ${table}_b ON ${table}(b)`);
  else if (kind < 0.9)
    tx.exec(`CREATE TABLE IF NOT EXISTS ${table} (a, b); INSERT INTO ${table} VALUES (${size}, randomblob(9000))`);
  else if (kind < 0.95) tx.exec(`DROP TABLE IF EXISTS ${table}; PRAGMA incremental_vacuum(${below(random, 9)})`);
  else tx.run("DELETE FROM items WHERE name = ?", [name]);
}

/** What each epoch is, by nothing but the WAL format: pages are copied over each other, what is cut off is gone. */
async function statesOf(store: ObjectStore): Promise<string[]> {
  const states: string[] = [];
  let image = new Uint8Array(0);
  for (let epoch = 0; (await store.head(walKey(epoch))) !== undefined; epoch++) {
    const wal = parseWal(await bytesOf(store, walKey(epoch)), walKey(epoch));
    const next = new Uint8Array(wal.pageCount * PAGE_BYTES);
    next.set(image.subarray(0, next.length));
    for (const [frame, page] of wal.pageNumbers.entries()) {
      const start = framePageOffset(frame);
      if (page <= wal.pageCount) next.set(wal.bytes.subarray(start, start + PAGE_BYTES), (page - 1) * PAGE_BYTES);
    }
    image = next;
    states.push(sha256Hex(image));
  }
  return states;
}

/** A store with these objects. */
export async function storeOf(objects: ReadonlyMap<string, Uint8Array>): Promise<MemoryStore> {
  const store = new MemoryStore();
  for (const [key, bytes] of objects) await store.put(key, bytes);
  return store;
}

/** Something goes wrong with an object; says what. */
export async function damageOne(store: ObjectStore, random: Random): Promise<string> {
  const keys = [...(await allObjects(store)).keys()];
  const kind = oneOf(random, ["wal", "wal", "snapshot", "pack", "marker"]);
  const ofKind = keys.filter((key) => (parseKey(key)?.kind ?? "marker") === kind);
  if (ofKind.length === 0) return "nothing";
  const key = oneOf(random, ofKind);
  if (kind === "marker") return await damageMarker(store, key, random);
  const damage = oneOf(random, [
    "delete",
    "delete",
    "flip",
    "cut",
    "swap",
    "neighbour",
    ...(kind === "pack" ? ["forge", "rename"] : []),
  ]);
  const bytes = (await bytesOf(store, key)).slice();
  if (damage === "delete") await store.delete(key);
  else if (damage === "flip") {
    const at = below(random, bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << below(random, 8));
    await store.put(key, bytes);
  } else if (damage === "cut") await store.put(key, bytes.subarray(0, below(random, bytes.length)));
  else if (damage === "forge") await store.put(key, forgedPack(bytes, key, random));
  else if (damage === "rename") return `${key} renamed to ${await renamePack(store, bytes, random)}`;
  else {
    const index = ofKind.indexOf(key);
    const other = damage === "swap" ? oneOf(random, ofKind) : (ofKind[index + oneOf(random, [-1, 1])] ?? key);
    await store.put(key, await bytesOf(store, other));
    return `${key} is now ${other}`;
  }
  return `${damage} ${key}`;
}

async function damageMarker(store: ObjectStore, key: string, random: Random): Promise<string> {
  const text = oneOf(random, [
    String(below(random, 400)).padStart(20, "0"),
    "9".repeat(16).padStart(20, "0"),
    "what?",
    undefined,
  ]);
  if (text === undefined) await store.delete(key);
  else await store.put(key, new TextEncoder().encode(text));
  return `${key} says ${text}`;
}

/** Well made, but for a byte of one page. */
function forgedPack(bytes: Uint8Array, key: string, random: Random): Uint8Array {
  const { fromEpoch = 0, epoch = 0 } = parseKey(key) ?? {};
  let wal: ReturnType<typeof parseWal>;
  try {
    wal = parseWal(bytes, key);
  } catch {
    return bytes;
  }
  const pages = [...wal.pageNumbers].map((pageNumber, frame) => ({
    pageNumber,
    bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
  }));
  const page = oneOf(random, pages).bytes;
  page[4095 - below(random, 100)] = below(random, 256);
  return encodeWal(pages, wal.pageCount, packSalts("test", { from: fromEpoch, to: epoch }));
}

async function renamePack(store: ObjectStore, bytes: Uint8Array, random: Random): Promise<string> {
  const length = oneOf(random, [...PACK_LEVELS, 10, 100]);
  const from = oneOf(random, [below(random, 5) * length, below(random, 300)]);
  const name = `.lbc/${String(from).padStart(20, "0")}-${String(from + length).padStart(20, "0")}.pack`;
  await store.put(name, bytes);
  return name;
}
