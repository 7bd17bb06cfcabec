/** Writes a cluster's database as a plain SQLite file (docs/architecture.md P8). */
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import { PAGE_BYTES } from "../format/wal.ts";
import type { PageSource } from "../sqlite/image.ts";
import type { ReplicaState } from "../sqlite/replica-state.ts";
import type { SystemRowMap } from "../sqlite/scratch-database.ts";
import { copyPages } from "../sqlite/scratch-files.ts";
import { writeFileDurably } from "../store/file-system-write.ts";
import { ByteMeter } from "./byte-meter.ts";
import type { HistoryParts } from "./parts.ts";
import type { LongCallOptions } from "./progress.ts";
import { withoutSecret } from "./without-secret.ts";

/** Looking for the secret, writing. */
const PHASES = 2;

export interface ExportOptions extends LongCallOptions {
  /** Replaces the file if it exists; *default* false. */
  readonly overwrite?: boolean | undefined;
}

/** What was exported. */
export interface Exported {
  readonly epoch: number;
  /** Size of the file. */
  readonly bytes: number;
}

/**
 * Writes the database of `state` to a file that any SQLite opens. The cluster's secret is not in it. The file is there
 * whole or not at all, and stays when the machine loses power.
 *
 * @throws ClusterError `invalid`: `file_exists`, `file_unwritable`, `secret_in_data`
 */
export async function exportDatabase(
  parts: HistoryParts,
  state: ReplicaState,
  file: string,
  options: ExportOptions = {},
): Promise<Exported> {
  const target = resolve(file);
  const overwrite = options.overwrite ?? false;
  await checkTarget(target, overwrite);
  const { epoch } = state;
  const pin = state.image.pin();
  const meter = new ByteMeter(options, PHASES * pin.byteLength);
  try {
    const rows = (old: SystemRowMap) => new Map([...old].filter(([key]) => key !== "secret"));
    const source = await withoutSecret({ source: pin, secret: state.rows.secret, rows }, parts, meter);
    const bytes = source.pageCount * PAGE_BYTES;
    meter.begin(bytes);
    await writeFile(source, target, overwrite, meter, options.signal);
    meter.finish();
    return { epoch, bytes };
  } finally {
    pin.release();
  }
}

/** What SQLite finds beside a database it takes for a part of it. */
const COMPANIONS = ["-wal", "-journal"] as const;

async function checkTarget(target: string, overwrite: boolean): Promise<void> {
  const directory = await statOf(dirname(target));
  if (!directory?.isDirectory())
    throw unwritable(target, `there is no directory ${dirname(target)}; make it first`, undefined);
  const there = await statOf(target);
  if (there?.isDirectory()) throw unwritable(target, "it is a directory; name a file in it", undefined);
  if (there !== undefined && !overwrite) throw exists(target);
  for (const suffix of COMPANIONS) {
    const companion = await statOf(target + suffix);
    if (companion === undefined || companion.size === 0) continue;
    const reason = `${target}${suffix} is there, of another database, and SQLite would mix the two; remove it or choose another name`;
    throw unwritable(target, reason, undefined);
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unwritable(path, errorMessage(error), error);
  }
}

async function writeFile(
  source: PageSource,
  target: string,
  overwrite: boolean,
  meter: ByteMeter,
  signal: AbortSignal = new AbortController().signal,
): Promise<void> {
  const read = (offset: number, length: number) => {
    meter.add(length);
    return copyPages(source, offset, length);
  };
  const body = { byteLength: source.pageCount * PAGE_BYTES, read };
  const write = { root: dirname(target), key: basename(target), target, body, signal };
  try {
    if ((await writeFileDurably({ ...write, ifAbsent: !overwrite })) === "exists") throw exists(target);
  } catch (error) {
    signal.throwIfAborted();
    if (isClusterError(error) && error.code === "store_unsupported" && !overwrite) {
      // A file system without hard links (a memory stick's): then nothing holds off who creates the file just now.
      await checkTarget(target, overwrite);
      return await writeFile(source, target, true, meter, signal);
    }
    throw isClusterError(error) ? error : unwritable(target, errorMessage(error), error);
  }
}

function exists(file: string): ClusterError {
  return new ClusterError(
    "invalid",
    "file_exists",
    `the database was not exported: ${file} exists; choose another name, or allow it to be overwritten`,
    { file },
  );
}

function unwritable(file: string, reason: string, cause: unknown): ClusterError {
  return new ClusterError(
    "invalid",
    "file_unwritable",
    `the database was not exported to ${file}: ${reason}`,
    { file },
    cause === undefined ? undefined : { cause },
  );
}
