import { open, rmdir, stat, unlink } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Clock } from "../base/clock.ts";
import { ClusterError } from "../errors.ts";
import { systemClock } from "../platform/system.ts";
import { assertRange, listLimit, rangeWithin } from "./call-checks.ts";
import { type Deadline, transferTimeoutMs, withDeadline } from "./deadline.ts";
import { errnoOf, type FileCall, fileSystemError, isAbsent, notADirectory } from "./file-system-errors.ts";
import { listFiles } from "./file-system-list.ts";
import { syncDirectory, TEMPORARY_MARK, writeFileDurably } from "./file-system-write.ts";
import { assertKey, assertPrefix, badKey } from "./key-rules.ts";
import type {
  CallOptions,
  GetOptions,
  ListOptions,
  ListPage,
  ObjectStat,
  ObjectStore,
  PutBody,
  PutOptions,
  PutOutcome,
  StoredObject,
} from "./store.ts";

const CALL_TIMEOUT_MS = 30_000;

const READ_BYTES_MAX = 8 * 1024 * 1024;

/** Files that `deleteMany` removes at the same time. */
const DELETES_IN_FLIGHT_MAX = 16;

/** Settings of a {@link FileSystemStore}. */
export interface FileSystemStoreOptions {
  /** Longest time of one call, plus a second for every MiB written; *default* 30 000. */
  readonly callTimeoutMs?: number | undefined;
  /** Measures the time-outs; *default* the machine's clock. */
  readonly clock?: Clock | undefined;
}

/**
 * Objects as files below a directory, which is made when something is first
 * written. Any number of processes may share it. It needs a file system with
 * hard links and, for more than one machine, with links that are atomic across
 * them.
 *
 * What a file system cannot do that S3 can: hold an object `a` and an object
 * `a/b` at the same time (`invalid`/`bad_key`), and, where it ignores the case of
 * names, tell `A` from `a`.
 */
export class FileSystemStore implements ObjectStore {
  readonly locality = "local" as const;
  readonly url: string;
  readonly #root: string;
  readonly #callTimeoutMs: number;
  readonly #clock: Clock;

  constructor(directory: string, options: FileSystemStoreOptions = {}) {
    this.#root = resolve(directory);
    this.url = pathToFileURL(this.#root).href;
    this.#callTimeoutMs = options.callTimeoutMs ?? CALL_TIMEOUT_MS;
    this.#clock = options.clock ?? systemClock;
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    this.#assertKey(key);
    assertRange(options.range);
    return await this.#bounded("read", key, options, this.#callTimeoutMs, (deadline) =>
      this.#read(key, options.range, deadline),
    );
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    this.#assertKey(key);
    return await this.#bounded("read", key, options, this.#callTimeoutMs, async () => {
      const stats = await this.#absentAsUndefined(stat(this.#path(key)));
      return stats?.isFile() ? objectStat(key, stats) : undefined;
    });
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    this.#assertKey(key);
    const timeoutMs = transferTimeoutMs(this.#callTimeoutMs, body.byteLength);
    return await this.#bounded("write", key, options, timeoutMs, async ({ signal }) => {
      const ifAbsent = options.ifAbsent ?? false;
      try {
        return await writeFileDurably({ root: this.#root, key, target: this.#path(key), body, ifAbsent, signal });
      } catch (error) {
        if (errnoOf(error) === "ENOTDIR") await this.#assertRoot();
        throw error;
      }
    });
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    assertPrefix(prefix);
    const limit = listLimit(options);
    const startAfter = options.startAfter ?? "";
    return await this.#bounded("list", prefix, options, this.#callTimeoutMs, async ({ signal }) => {
      const page = await listFiles({ root: this.#root, prefix, startAfter, limit, signal });
      if (page.objects.length === 0) await this.#assertRoot();
      return page;
    });
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    await this.deleteMany([key], options);
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    for (const key of keys) this.#assertKey(key);
    await this.#bounded("delete", keys[0] ?? "", options, this.#callTimeoutMs, async (deadline) => {
      const changed = new Set<string>();
      let next = 0;
      const worker = async () => {
        while (next < keys.length) {
          deadline.signal.throwIfAborted();
          const path = this.#path(keys[next++] as string);
          if (await this.#unlink(path)) changed.add(dirname(path));
          deadline.restart(this.#callTimeoutMs);
        }
      };
      await Promise.all(Array.from({ length: Math.min(DELETES_IN_FLIGHT_MAX, keys.length) }, worker));
      for (const directory of changed) await this.#settleDirectory(directory);
    });
  }

  async #read(key: string, range: GetOptions["range"], deadline: Deadline): Promise<StoredObject | undefined> {
    const file = await this.#absentAsUndefined(open(this.#path(key), "r"));
    if (file === undefined) return undefined;
    try {
      const stats = await file.stat();
      if (!stats.isFile()) return undefined;
      const { start, end } = rangeWithin(range, stats.size);
      deadline.restart(transferTimeoutMs(this.#callTimeoutMs, end - start));
      const bytes = new Uint8Array(end - start);
      for (let filled = 0; filled < bytes.length; ) {
        deadline.signal.throwIfAborted();
        const length = Math.min(READ_BYTES_MAX, bytes.length - filled);
        const { bytesRead } = await file.read(bytes, filled, length, start + filled);
        if (bytesRead === 0) throw this.#cutShort(key, bytes.length, filled);
        filled += bytesRead;
      }
      return { ...objectStat(key, stats), bytes };
    } finally {
      await file.close();
    }
  }

  /** True if there was a file. */
  async #unlink(path: string): Promise<boolean> {
    try {
      await unlink(path);
      return true;
    } catch (error) {
      if (isAbsent(error)) return false;
      // Runtimes and systems name this error differently.
      if ((await stat(path).catch(() => undefined))?.isDirectory()) return false;
      throw error;
    }
  }

  /** After deletes: removes the directory and those above it that are empty now, and syncs what is left. */
  async #settleDirectory(directory: string): Promise<void> {
    let remaining = directory;
    while (remaining !== this.#root) {
      try {
        await rmdir(remaining);
      } catch (error) {
        if (!isAbsent(error)) break;
      }
      remaining = dirname(remaining);
    }
    await this.#absentAsUndefined(syncDirectory(remaining));
  }

  async #absentAsUndefined<T>(promise: Promise<T>): Promise<T | undefined> {
    try {
      return await promise;
    } catch (error) {
      if (!isAbsent(error)) throw error;
      if (errnoOf(error) === "ENOTDIR") await this.#assertRoot();
      return undefined;
    }
  }

  /** A root that is missing is an empty store; one that is a file is a mistake. */
  async #assertRoot(): Promise<void> {
    const stats = await stat(this.#root).catch((error: unknown) => {
      if (errnoOf(error) === "ENOENT") return undefined;
      if (errnoOf(error) === "ENOTDIR") throw notADirectory(this.#root);
      throw error;
    });
    if (stats !== undefined && !stats.isDirectory()) throw notADirectory(this.#root);
  }

  #assertKey(key: string): void {
    assertKey(key);
    if (`/${key}`.includes(`/${TEMPORARY_MARK}`)) throw badKey(key, `a segment begins with "${TEMPORARY_MARK}"`);
  }

  #path(key: string): string {
    return join(this.#root, key);
  }

  #cutShort(key: string, expected: number, found: number): ClusterError {
    const text = `read ${found} of ${expected} bytes of ${JSON.stringify(key)} in ${this.#root}: someone truncated the file`;
    return new ClusterError("unavailable", "store_truncated", text, { key, expected, found });
  }

  async #bounded<T>(
    action: FileCall["action"],
    key: string,
    options: CallOptions,
    timeoutMs: number,
    work: (deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const call: FileCall = { action, key, root: this.#root };
    const onTimeout = () => {
      const text = `cannot ${action} ${JSON.stringify(key)} in ${this.#root}: no answer within ${timeoutMs} ms`;
      return new ClusterError("unavailable", "store_timeout", text, { key, root: this.#root, timeoutMs });
    };
    return await withDeadline(
      { clock: this.#clock, timeoutMs, signal: options.signal, onTimeout },
      async (deadline) => {
        try {
          return await work(deadline);
        } catch (error) {
          throw fileSystemError(call, error);
        }
      },
    );
  }
}

function objectStat(key: string, stats: { size: number; mtimeMs: number }): ObjectStat {
  return { key, size: stats.size, lastModifiedMs: stats.mtimeMs, nowMs: Date.now() };
}
