/** The header of an SQLite database: https://www.sqlite.org/fileformat2.html#the_database_header */

/** A file with fewer bytes is no database. */
export const DATABASE_HEADER_BYTES = 100;

/** What the first bytes of a database say. */
export interface DatabaseHeader {
  readonly pageBytes: number;
  /** Size of the database; `undefined` where an old version of SQLite has written last, which did not keep it. */
  readonly pageCount: number | undefined;
  readonly encoding: "UTF-8" | "UTF-16le" | "UTF-16be";
}

const MAGIC = "SQLite format 3\0";
const PAGE_SIZE = 16;
const CHANGE_COUNTER = 24;
const PAGE_COUNT = 28;
const TEXT_ENCODING = 56;
const VERSION_VALID_FOR = 92;
const PAGE_BYTES_MIN = 512;

/** The header that the first {@link DATABASE_HEADER_BYTES} of a file hold; `undefined` if they are no header. */
export function parseDatabaseHeader(bytes: Uint8Array): DatabaseHeader | undefined {
  if (bytes.length < DATABASE_HEADER_BYTES) return undefined;
  if (new TextDecoder("latin1").decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const stored = view.getUint16(PAGE_SIZE);
  const pageBytes = stored === 1 ? 65536 : stored;
  if (pageBytes < PAGE_BYTES_MIN || (pageBytes & (pageBytes - 1)) !== 0) return undefined;
  const isKept = view.getUint32(CHANGE_COUNTER) === view.getUint32(VERSION_VALID_FOR);
  const pageCount = view.getUint32(PAGE_COUNT);
  const encoding = view.getUint32(TEXT_ENCODING);
  return {
    pageBytes,
    pageCount: isKept && pageCount > 0 ? pageCount : undefined,
    encoding: encoding === 2 ? "UTF-16le" : encoding === 3 ? "UTF-16be" : "UTF-8",
  };
}
