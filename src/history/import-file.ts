/**
 * A cluster's database made of any SQLite file.
 *
 * ```
 *  file, -wal ──► memory ──► SQLite absorbs the WAL ──► checks ──► system rows ──► VACUUM INTO ──► pages of 4096 bytes
 *       unchanged meanwhile?                                        nothing that was deleted lives on
 * ```
 *
 * SQLite does its part without a pause: about three seconds for 256 MiB in which nothing else of the process runs.
 */
import type { SqliteContext } from "../sqlite/connection.ts";
import {
  asking,
  checkHeader,
  checkIntegrity,
  checkIsDatabase,
  checkSystemTable,
  checkVirtualTables,
} from "../sqlite/import-checks.ts";
import { absorbWal, ScratchDatabase, type SystemRowMap } from "../sqlite/scratch-database.ts";
import type { ChunkedFile } from "../sqlite/scratch-files.ts";
import type { ByteMeter } from "./byte-meter.ts";
import { readDatabaseFile } from "./read-file.ts";

/** Reading, checking and converting the file; putting the epoch and its snapshot. */
const PHASES = 5;

/**
 * Reads, checks and converts the file.
 *
 * @param rows the system table of the new cluster
 * @throws ClusterError `invalid`: `file_unreadable`, `not_a_database`, `database_unsupported`, `database_too_large`,
 *   `foreign_system_table`, `unknown_format`; `corrupt`/`database_corrupt`; `unavailable`/`file_in_use`
 */
export async function importFile(
  file: string,
  context: SqliteContext,
  rows: SystemRowMap,
  meter: ByteMeter,
): Promise<ChunkedFile> {
  const onSize = (bytes: number) => {
    meter.expect(PHASES * bytes);
    meter.begin(bytes);
  };
  const { database, wal } = await readDatabaseFile(file, onSize, meter.add);
  checkIsDatabase(database, file);
  if (wal === undefined) database.leaveWalMode();
  else absorb(context, database, wal, file);
  checkHeader(database, file);
  try {
    return convert(context, database, rows, file, meter);
  } catch (error) {
    meter.throwIfAborted(); // SQLite only knows that something failed.
    throw error;
  }
}

function absorb(context: SqliteContext, database: ChunkedFile, wal: ChunkedFile, file: string): void {
  try {
    asking(file, () => absorbWal(context, database, wal));
  } catch (error) {
    // What is wrong may be told better by the header that was in the WAL.
    checkHeader(database, file);
    throw error;
  }
}

function convert(
  context: SqliteContext,
  database: ChunkedFile,
  rows: SystemRowMap,
  file: string,
  meter: ByteMeter,
): ChunkedFile {
  meter.begin(database.size());
  database.onBytes = meter.add;
  const scratch = asking(file, () => new ScratchDatabase(context, database));
  try {
    checkIntegrity(scratch, file);
    checkVirtualTables(scratch, file);
    checkSystemTable(scratch, file);
    meter.begin(database.size());
    database.onBytes = () => {};
    return asking(file, () => {
      scratch.replaceSystemRows(rows);
      return scratch.rebuild(meter.add);
    });
  } finally {
    scratch.close();
  }
}
