import { randomBytes } from "node:crypto";
import { type FileHandle, link, mkdir, open, rename, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { toHex } from "../base/bytes.ts";
import { errnoOf, noHardLinks } from "./file-system-errors.ts";
import { badKey } from "./key-rules.ts";
import { bodyPieces, isPartSource } from "./put-body.ts";
import type { PutBody, PutOutcome } from "./store.ts";

/** Names that begin so are files being written: no key has such a segment and no listing shows them. */
export const TEMPORARY_MARK = ".lbc-tmp-";

/** Bytes in memory go to the system in pieces of this size. */
const PIECE_BYTES = 8 * 1024 * 1024;
/**
 * A source is read and synced in pieces of this size: reading one does not hold
 * up the event loop, and a small file's fsync, which waits for what others have
 * not yet written, never waits for much.
 */
const SOURCE_PIECE_BYTES = 1024 * 1024;

/** How often a directory may vanish under a writer (others delete what was in it) before it gives up. */
const DIRECTORY_ATTEMPTS_MAX = 10;

/** A file to write. */
export interface FileWrite {
  readonly root: string;
  readonly key: string;
  readonly target: string;
  readonly body: PutBody;
  readonly ifAbsent: boolean;
  readonly signal: AbortSignal;
}

/**
 * Writes a file so that it is there whole or not at all, and stays when the
 * machine loses power:
 *
 *     temporary file beside the target ─► write ─► fsync
 *        ├─ create:    link to the target (fails if it exists), unlink the temporary name
 *        └─ overwrite: rename over the target
 *     fsync of the directory, which holds the name
 */
export async function writeFileDurably(write: FileWrite): Promise<PutOutcome> {
  const directory = dirname(write.target);
  const temporary = await createTemporary(directory);
  // While the temporary file is in it, the directory cannot be removed: so this is the one to sync at the end.
  const opening = openDirectory(directory);
  opening.catch(() => {});
  try {
    await writeBody(temporary.file, write);
    const outcome = await giveName(temporary.path, write);
    const handle = await opening;
    // Should the removal of the temporary name be lost, a listing sweeps it one day.
    await Promise.all([handle?.sync(), removeTemporary(temporary.path, write)]);
    return outcome;
  } catch (error) {
    await unlink(temporary.path).catch(() => {});
    throw error;
  } finally {
    const handle = await opening.catch(() => undefined);
    await Promise.all([temporary.file.close(), handle?.close()]);
  }
}

/** Makes changes of names in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await openDirectory(directory);
  try {
    await handle?.sync();
  } finally {
    await handle?.close();
  }
}

async function openDirectory(directory: string): Promise<FileHandle | undefined> {
  // Windows cannot open directories; its file systems journal names themselves.
  return process.platform === "win32" ? undefined : await open(directory, "r");
}

async function createTemporary(directory: string): Promise<{ file: FileHandle; path: string }> {
  const path = join(directory, `${TEMPORARY_MARK}${process.pid}-${toHex(randomBytes(8))}`);
  for (let attempt = 1; ; attempt++) {
    try {
      return { file: await open(path, "wx"), path };
    } catch (error) {
      if (errnoOf(error) !== "ENOENT" || attempt === DIRECTORY_ATTEMPTS_MAX) throw error;
      await makeDirectory(directory);
    }
  }
}

/**
 * Makes the directory and those above it that are missing, each with its name synced.
 * Not `mkdir` with `recursive`: on Node 20 that never ends where making a directory
 * answers ENOENT although its parent is there (/proc, some network file systems).
 */
async function makeDirectory(directory: string): Promise<void> {
  const parent = dirname(directory);
  if ((await tryToMakeDirectory(directory)) === "no parent") {
    if (parent === directory) return;
    await makeDirectory(parent);
    // Another deleter may have taken the parent away again: then the writer comes back.
    if ((await tryToMakeDirectory(directory)) === "no parent") return;
  }
  await syncDirectory(parent).catch((error: unknown) => {
    // A parent that may be entered but not read cannot be synced; one that is gone needs no sync.
    if (!["EACCES", "EPERM", "ENOENT"].includes(errnoOf(error) ?? "")) throw error;
  });
}

async function tryToMakeDirectory(directory: string): Promise<"there" | "no parent"> {
  try {
    await mkdir(directory);
    return "there";
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT") return "no parent";
    if (errno !== "EEXIST") throw error;
    const isFile = (await stat(directory).catch(() => undefined))?.isFile();
    if (isFile) throw Object.assign(new Error(`${directory} is a file`), { code: "ENOTDIR" });
    return "there";
  }
}

async function writeBody(file: FileHandle, write: FileWrite): Promise<void> {
  const isSource = isPartSource(write.body);
  for (const piece of bodyPieces(write.body, SOURCE_PIECE_BYTES)) {
    let offset = 0;
    while (offset < piece.length) {
      write.signal.throwIfAborted();
      const { bytesWritten } = await file.write(piece, offset, Math.min(PIECE_BYTES, piece.length - offset), null);
      offset += bytesWritten;
    }
    if (isSource) await file.datasync();
  }
  await file.datasync();
  // The last moment at which giving up still leaves nothing behind.
  write.signal.throwIfAborted();
}

async function giveName(temporary: string, write: FileWrite): Promise<PutOutcome> {
  if (write.ifAbsent) return await linkIfAbsent(temporary, write);
  await rename(temporary, write.target);
  return "created";
}

async function removeTemporary(temporary: string, write: FileWrite): Promise<void> {
  if (write.ifAbsent) await unlink(temporary);
}

async function linkIfAbsent(temporary: string, write: FileWrite): Promise<PutOutcome> {
  try {
    await link(temporary, write.target);
    return "created";
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "EPERM" || errno === "ENOTSUP" || errno === "EOPNOTSUPP") throw noHardLinks(write.root, error);
    if (errno !== "EEXIST") throw error;
    const there = await stat(write.target).catch(() => undefined);
    if (there?.isDirectory()) throw badKey(write.key, "other objects' keys go on below this key");
    return "exists";
  }
}
