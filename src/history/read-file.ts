/** Reads an SQLite database file and its WAL into memory, as they are at one moment. */
import type { BigIntStats } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";
import type { ClusterError } from "../errors.ts";
import { errorMessage } from "../errors.ts";
import { CHUNK_BYTES } from "../sqlite/image.ts";
import { importError } from "../sqlite/import-checks.ts";
import { ChunkedFile } from "../sqlite/scratch-files.ts";

/** Larger files would not fit into one object, nor into one piece of memory on every runtime. */
const FILE_BYTES_MAX = 4 * 1024 ** 3;

/** A database file as it was. */
export interface ReadDatabase {
  readonly database: ChunkedFile;
  /** `undefined` if nothing is in one. */
  readonly wal: ChunkedFile | undefined;
}

/** What lies where a database is, at one moment. */
interface FileSet {
  readonly database: BigIntStats;
  readonly wal: BigIntStats | undefined;
}

/** A size that is told before the first byte is read. */
export type OnSize = (bytes: number) => void;

/**
 * Reads the file and what is in the `-wal` beside it.
 *
 * @throws ClusterError `invalid`/`file_unreadable`, `unavailable`/`file_in_use`, `invalid`/`database_too_large`
 */
export async function readDatabaseFile(
  file: string,
  onSize: OnSize,
  onBytes: (count: number) => void,
): Promise<ReadDatabase> {
  // Where a name is a link, what belongs to the database lies beside the file itself.
  const path = await realpath(file).catch((error: unknown) => {
    throw unreadable(file, error);
  });
  const before = await lookAt(file, path);
  const size = Number(before.database.size);
  const walSize = Number(before.wal?.size ?? 0);
  if (size + walSize > FILE_BYTES_MAX) {
    const reason = `it has ${size + walSize} bytes, more than a cluster can hold: ${FILE_BYTES_MAX}`;
    throw importError("invalid", "database_too_large", file, reason, { found: size + walSize, limit: FILE_BYTES_MAX });
  }
  onSize(size + walSize);
  const database = await readBytes(file, path, size, onBytes);
  const wal = walSize === 0 ? undefined : await readBytes(file, `${path}-wal`, walSize, onBytes);
  const after = await lookAt(file, path);
  if (!isSame(before.database, after.database)) throw inUse(file, "it changed while it was read");
  if (!isSame(before.wal, after.wal)) throw inUse(file, "its -wal changed while it was read");
  return { database, wal };
}

async function lookAt(file: string, path: string): Promise<FileSet> {
  const database = await statOf(path).catch((error: unknown) => {
    throw unreadable(file, error);
  });
  if (database === undefined) throw inUse(file, "it went away while it was read");
  if (!database.isFile())
    throw importError(
      "invalid",
      "file_unreadable",
      file,
      database.isDirectory() ? "it is a directory" : "it is no file",
    );
  if (await isHotJournal(`${path}-journal`))
    throw inUse(file, "a transaction has begun and not ended, its -journal lies beside the file");
  return { database, wal: await statOf(`${path}-wal`) };
}

async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** As SQLite judges it: a journal that was used up is empty, or begins with zeros. https://www.sqlite.org/lockingv3.html#hot_journals */
async function isHotJournal(path: string): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
  try {
    const first = new Uint8Array(1);
    const { bytesRead } = await handle.read(first, 0, 1, 0);
    return bytesRead === 1 && first[0] !== 0;
  } finally {
    await handle.close();
  }
}

function isSame(before: BigIntStats | undefined, after: BigIntStats | undefined): boolean {
  // An empty WAL is as good as none.
  if ((before?.size ?? 0n) === 0n && (after?.size ?? 0n) === 0n) return true;
  return before?.size === after?.size && before?.mtimeNs === after?.mtimeNs && before?.ino === after?.ino;
}

async function readBytes(
  file: string,
  path: string,
  size: number,
  onBytes: (count: number) => void,
): Promise<ChunkedFile> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw isAbsent(error) ? inUse(file, "it went away while it was read") : unreadable(file, error);
  });
  try {
    const chunks: Uint8Array[] = [];
    for (let offset = 0; offset < size; offset += CHUNK_BYTES) {
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES, size - offset));
      for (let filled = 0; filled < chunk.length; ) {
        const { bytesRead } = await handle.read(chunk, filled, chunk.length - filled, offset + filled);
        if (bytesRead === 0) throw inUse(file, "it became shorter while it was read");
        filled += bytesRead;
        onBytes(bytesRead);
      }
      chunks.push(chunk);
    }
    return new ChunkedFile(chunks, size);
  } finally {
    await handle.close();
  }
}

function isAbsent(error: unknown): boolean {
  return (error as { code?: unknown }).code === "ENOENT";
}

function unreadable(file: string, error: unknown): ClusterError {
  const reason = isAbsent(error) ? "there is no such file" : `it cannot be read: ${errorMessage(error)}`;
  return importError("invalid", "file_unreadable", file, reason, {}, error);
}

function inUse(file: string, reason: string): ClusterError {
  return importError(
    "unavailable",
    "file_in_use",
    file,
    `${reason}: another program is using it, or was cut off. Close that program, or import a copy: sqlite3 ${file} "VACUUM INTO 'copy.db'"`,
  );
}
