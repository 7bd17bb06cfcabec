import { PAGE_BYTES } from "../../src/format/wal.ts";
import { Connection } from "../../src/sqlite/connection.ts";
import { MemoryFile } from "../../src/sqlite/files.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import { type SystemRowChanges, Writer } from "../../src/sqlite/writer.ts";
import { newReplica } from "./cluster-database.ts";

/**
 * An epoch of a cluster that began with a database file: its tables, made by `script`, come before the system table.
 *
 * @param change what a transaction of the epoch does
 */
export async function importedEpoch(script: string, change: string, rows: SystemRowChanges): Promise<Uint8Array> {
  const replica = await newReplica();
  const { context } = replica;
  const file = new MemoryFile();
  const journal = new MemoryFile();
  context.vfs.set("/imported", { exists: () => file.size() > 0, open: () => file });
  context.vfs.set("/imported-journal", { exists: () => journal.size() > 0, open: () => journal });
  const connection = new Connection(context, "/imported", "write");
  connection.exec(`PRAGMA page_size = 4096; PRAGMA journal_mode = MEMORY; ${script};
    CREATE TABLE _lbc (key TEXT PRIMARY KEY, value ANY); INSERT INTO _lbc VALUES ('cluster_id', 'imported')`);
  connection.close();
  const writer = Writer.open(context, DurableImage.adopt([file.copy()], file.size() / PAGE_BYTES));
  try {
    writer.transact((tx) => tx.exec(change));
    return writer.seal(rows).bytes;
  } finally {
    writer.close();
    replica.close();
  }
}
