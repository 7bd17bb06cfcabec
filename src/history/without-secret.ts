/**
 * A database that may be given away: the cluster's secret opens its internal endpoints to whoever has it (P9), so not a
 * byte of it may stay, also not where SQLite keeps what was deleted.
 */
import { Buffer } from "node:buffer";
import { ClusterError } from "../errors.ts";
import { PAGE_BYTES } from "../format/wal.ts";
import type { PageSource } from "../sqlite/image.ts";
import { ScratchDatabase, type SystemRowMap } from "../sqlite/scratch-database.ts";
import { copyPages, LayeredFile } from "../sqlite/scratch-files.ts";
import type { ByteMeter } from "./byte-meter.ts";
import type { HistoryParts } from "./parts.ts";

/** Pieces of the secret that are looked for: of one that was partly overwritten at most 14 characters in a row stay unseen. */
const PIECE_LENGTH = 8;
const SCAN_BYTES = 8 * 1024 * 1024;

/** The database to clean, and what becomes of it. */
export interface Cleaning {
  /** Must not change meanwhile. */
  readonly source: PageSource;
  /** What must not be in the result. */
  readonly secret: string | undefined;
  /** The system table of the result. */
  readonly rows: (old: SystemRowMap) => SystemRowMap;
}

/**
 * The database with other system rows and without the secret. It is the same page by page, but for those of the system
 * table; only if an older copy of the secret is found elsewhere it is made anew as a whole.
 *
 * @throws ClusterError `invalid`/`secret_in_data` if a row of the user's holds the secret
 */
export async function withoutSecret(cleaning: Cleaning, parts: HistoryParts, meter: ByteMeter): Promise<PageSource> {
  const { source, secret } = cleaning;
  const { clock, random, openSqlite } = parts.settings;
  const layered = new LayeredFile(source);
  const scratch = new ScratchDatabase(await openSqlite(clock, random), layered);
  const pause = () => new Promise<void>((resolve) => clock.soon(resolve));
  try {
    scratch.replaceSystemRows(cleaning.rows(scratch.systemRows));
    if (secret === undefined) return layered;
    meter.begin(layered.size());
    const pieces: string[] = [];
    for (let at = 0; at + PIECE_LENGTH <= secret.length; at += PIECE_LENGTH)
      pieces.push(secret.slice(at, at + PIECE_LENGTH));
    if (!(await holdsAny(layered, pieces, pause, meter))) return layered;
    parts.log({ level: "info", event: "database_rebuilt", reason: "free space held an older copy of a system row" });
    meter.begin(layered.size());
    const rebuilt = scratch.rebuild(meter.add);
    meter.begin(rebuilt.size());
    if (await holdsAny(rebuilt, [secret], pause, meter)) refuse();
    return rebuilt;
  } finally {
    scratch.close();
  }
}

/** Whether one of the texts is anywhere in the pages, none of which a text crosses. */
async function holdsAny(
  source: PageSource,
  texts: readonly string[],
  pause: () => Promise<void>,
  meter: ByteMeter,
): Promise<boolean> {
  const byteLength = source.pageCount * PAGE_BYTES;
  for (let offset = 0; offset < byteLength; offset += SCAN_BYTES) {
    const bytes = copyPages(source, offset, Math.min(SCAN_BYTES, byteLength - offset));
    const buffer = Buffer.from(bytes.buffer);
    if (texts.some((text) => buffer.includes(text, 0, "latin1"))) return true;
    meter.add(bytes.length);
    await pause();
  }
  return false;
}

function refuse(): never {
  throw new ClusterError(
    "invalid",
    "secret_in_data",
    "the database was not copied: one of its tables holds the cluster's secret, which whoever gets the copy could use; delete it there, and take a later point",
  );
}
