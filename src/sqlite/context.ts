/** Makes the SQLite instance of one node. */
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { Connection, type SqliteContext } from "./connection.ts";
import { MemoryFile } from "./files.ts";
import { probeRowidOffset } from "./rowid.ts";
import { LAYOUT_PROBE, probeLayout, ValueCodec } from "./values.ts";
import { Vfs } from "./vfs.ts";
import { Sqlite } from "./wasm.ts";

const SQLITE_ROW = 100;
const PROBE_PATH = "/probe";

/** Where a node gets its SQLite instances from. */
export type OpenSqlite = (clock: Clock, random: Random) => Promise<SqliteContext>;

/** A WASM instance with our VFS, ready for connections. */
export const createSqlite: OpenSqlite = async (clock: Clock, random: Random): Promise<SqliteContext> => {
  const sqlite = await Sqlite.create();
  const vfs = new Vfs(sqlite, clock, random, () => new MemoryFile());
  const slow: SqliteContext = { sqlite, vfs, codec: new ValueCodec(sqlite, undefined), rowidOffset: undefined };
  vfs.set(PROBE_PATH, { exists: () => true, open: () => new MemoryFile() });
  const connection = new Connection(slow, PROBE_PATH, "read");
  try {
    const { pointer } = connection.prepare(LAYOUT_PROBE);
    const isRow = sqlite.exports.sqlite3_step(pointer) === SQLITE_ROW;
    const codec = new ValueCodec(sqlite, isRow ? probeLayout(sqlite, pointer) : undefined);
    return { ...slow, codec, rowidOffset: probeRowidOffset(sqlite, connection.pointer) };
  } finally {
    connection.close();
    vfs.delete(PROBE_PATH);
  }
};
