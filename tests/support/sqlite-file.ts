import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseClusterOptions } from "../../src/config.ts";
import type { HistoryParts } from "../../src/history/parts.ts";
import { restore } from "../../src/history/restore.ts";
import { MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { sha256Hex, systemClock, systemRandom } from "../../src/platform/system.ts";
import { createSqlite } from "../../src/sqlite/context.ts";
import { type ReplicaState, SystemReader } from "../../src/sqlite/replica-state.ts";
import { bytesOf } from "./cluster.ts";
import { testDirectory } from "./directory.ts";

/** Path of a new file in a directory of the test's own. */
export function newPath(name = "x.db"): string {
  return join(mkdtempSync(join(testDirectory(), "file-")), name);
}

/** What stock SQLite answers about a file, where it is. */
export function askFile(path: string, sql: string): string {
  return execFileSync("sqlite3", [path, sql], { encoding: "utf8", maxBuffer: 2 ** 28 }).trim();
}

/** A file that stock SQLite made of a script of SQL and dot commands. */
export function sqliteFile(script: string): string {
  const path = newPath();
  execFileSync("sqlite3", ["-bail", path], { input: script });
  return path;
}

/** A file with these bytes. */
export function fileOf(bytes: Uint8Array | string): string {
  const path = newPath();
  writeFileSync(path, bytes);
  return path;
}

/** Every object of a store. */
export async function allObjects(store: ObjectStore): Promise<Map<string, Uint8Array>> {
  const objects = new Map<string, Uint8Array>();
  for (let after: string | undefined; ; ) {
    const page = await store.list("", { startAfter: after });
    for (const { key } of page.objects) objects.set(key, await bytesOf(store, key));
    after = page.objects.at(-1)?.key;
    if (!page.more) return objects;
  }
}

/** A digest of every object of a store. */
export async function digests(store: ObjectStore): Promise<Map<string, string>> {
  return new Map([...(await allObjects(store))].map(([key, bytes]) => [key, sha256Hex(bytes)]));
}

/** Whether the text's bytes are anywhere. */
export function holds(bytes: Uint8Array, text: string): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(text, 0, "latin1");
}

/** Keys of the objects that hold the text. */
export async function keysWith(store: ObjectStore, text: string): Promise<string[]> {
  return [...(await allObjects(store))].filter(([, bytes]) => holds(bytes, text)).map(([key]) => key);
}

/** What the history works with. */
export function historyParts(store: ObjectStore = new MemoryStore(), id = "test"): HistoryParts {
  return { settings: parseClusterOptions({ id, store }), store, log: () => {} };
}

/** The state of a cluster at an epoch. */
export async function stateAt(store: ObjectStore, upTo?: number): Promise<ReplicaState> {
  const system = new SystemReader(await createSqlite(systemClock, systemRandom));
  const none = { log: () => {}, signal: undefined, onProgress: undefined };
  const limits = { parallel: 4, bytesMax: 2 ** 26, clock: systemClock, retentionMs: 3_600_000 };
  return (await restore({ store, system, ...limits, upTo, ...none })).state;
}
