import type { Dirent } from "node:fs";
import { opendir, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { isAbsent } from "./file-system-errors.ts";
import { TEMPORARY_MARK } from "./file-system-write.ts";
import { assertKey, compareKeys } from "./key-rules.ts";
import type { ListPage, ObjectInfo } from "./store.ts";

/** Temporary files that nobody has written to for this long were left by a process that died. */
const STALE_TEMPORARY_MS = 60 * 60 * 1000;

/** Entries that one read of a directory brings. */
const DIRECTORY_READ_ENTRIES = 256;

/** Entries kept beyond those wanted, so that sorting is rare. */
const SELECTION_SLACK_ENTRIES = 2048;

/** Files whose sizes are asked for at the same time. */
const STATS_IN_FLIGHT_MAX = 16;

/** What to list. */
export interface FileListing {
  readonly root: string;
  readonly prefix: string;
  readonly startAfter: string;
  readonly limit: number;
  readonly signal: AbortSignal;
}

/** A file, or with `/` at the end of its key a directory: so they sort as their keys do. */
interface Entry {
  readonly key: string;
  readonly isDirectory: boolean;
}

/** One page of the objects below a directory, in the order of their keys' bytes. */
export async function listFiles(listing: FileListing): Promise<ListPage> {
  let startAfter = listing.startAfter;
  for (;;) {
    const keys: string[] = [];
    const top = listing.prefix.slice(0, listing.prefix.lastIndexOf("/") + 1);
    await collectKeys({ ...listing, startAfter }, top, keys);
    const more = keys.length > listing.limit;
    if (more) keys.pop();
    const objects = await withSizes(listing, keys);
    // A page of files that were all deleted meanwhile would leave the caller nothing to go on from.
    if (objects.length > 0 || !more) return { objects, more };
    startAfter = keys.at(-1) as string;
  }
}

/** Collects the keys below `directoryKey` (empty, or with `/` at its end) until there is one more than the limit. */
async function collectKeys(listing: FileListing, directoryKey: string, keys: string[]): Promise<void> {
  const wanted = listing.limit + 1;
  let after = "";
  while (keys.length < wanted) {
    const { entries, isComplete } = await smallestEntries(listing, directoryKey, after, wanted - keys.length);
    for (const entry of entries) {
      if (keys.length === wanted) return;
      if (entry.isDirectory) await collectKeys(listing, entry.key, keys);
      else keys.push(entry.key);
      after = entry.key;
    }
    if (isComplete) return;
  }
}

/** The `count` first entries after `after` that the listing needs. Memory stays bounded in a directory of any size. */
async function smallestEntries(
  listing: FileListing,
  directoryKey: string,
  after: string,
  count: number,
): Promise<{ entries: Entry[]; isComplete: boolean }> {
  const path = join(listing.root, directoryKey);
  let entries: Entry[] = [];
  let isComplete = true;
  const keepSmallest = () => {
    entries.sort((a, b) => compareKeys(a.key, b.key));
    if (entries.length > count) {
      isComplete = false;
      entries = entries.slice(0, count);
    }
  };
  try {
    for await (const found of await opendir(path, { bufferSize: DIRECTORY_READ_ENTRIES })) {
      listing.signal.throwIfAborted();
      if (found.name.startsWith(TEMPORARY_MARK)) await removeIfStale(join(path, found.name));
      const entry = toEntry(directoryKey, found);
      if (entry === undefined || compareKeys(entry.key, after) <= 0 || !isNeeded(listing, entry)) continue;
      entries.push(entry);
      if (entries.length > count + SELECTION_SLACK_ENTRIES) keepSmallest();
    }
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  keepSmallest();
  return { entries, isComplete };
}

function toEntry(directoryKey: string, found: Dirent): Entry | undefined {
  if (found.name.startsWith(TEMPORARY_MARK)) return undefined;
  if (found.isDirectory()) return { key: `${directoryKey}${found.name}/`, isDirectory: true };
  return found.isFile() ? { key: directoryKey + found.name, isDirectory: false } : undefined;
}

function isNeeded({ prefix, startAfter }: FileListing, { key, isDirectory }: Entry): boolean {
  const isAfter = compareKeys(key, startAfter) > 0;
  if (isDirectory) return (key.startsWith(prefix) || prefix.startsWith(key)) && (isAfter || startAfter.startsWith(key));
  return isAfter && key.startsWith(prefix) && isKey(key);
}

/** Files that something else put there may have names that no key can have. */
function isKey(text: string): boolean {
  try {
    assertKey(text);
    return true;
  } catch {
    return false;
  }
}

async function removeIfStale(path: string): Promise<void> {
  try {
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > STALE_TEMPORARY_MS) await unlink(path);
  } catch {
    // Its writer finished, another lister was faster, or the directory is read-only: nothing is lost.
  }
}

async function withSizes(listing: FileListing, keys: readonly string[]): Promise<ObjectInfo[]> {
  const sizes = new Array<number | undefined>(keys.length);
  let next = 0;
  const worker = async () => {
    while (next < keys.length) {
      const index = next++;
      listing.signal.throwIfAborted();
      sizes[index] = await fileSize(join(listing.root, keys[index] as string));
    }
  };
  await Promise.all(Array.from({ length: Math.min(STATS_IN_FLIGHT_MAX, keys.length) }, worker));
  return keys.flatMap((key, index) => {
    const size = sizes[index];
    return size === undefined ? [] : [{ key, size }];
  });
}

async function fileSize(path: string): Promise<number | undefined> {
  try {
    const stats = await stat(path);
    return stats.isFile() ? stats.size : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}
