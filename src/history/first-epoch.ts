/** Epoch 0 of a cluster that begins with a database which is there already: its WAL holds every page. */
import { toBase64Url } from "../base/bytes.ts";
import type { Random } from "../base/random.ts";
import type { ClusterSettings } from "../config.ts";
import { ClusterError } from "../errors.ts";
import { FORMAT } from "../format/system-rows.ts";
import { PAGE_BYTES, WalEncoder, walByteLength } from "../format/wal.ts";
import type { PageSource } from "../sqlite/image.ts";

const SECRET_BYTES = 32;
/** One object, written by one request, in one piece of memory. */
const WAL_BYTES_MAX = 4 * 1024 ** 3 - 1;
/** The page with the byte at 1 GiB is for locks and is never written. https://www.sqlite.org/fileformat2.html#the_lock_byte_page */
const LOCK_PAGE: number = 1024 ** 3 / PAGE_BYTES + 1;
const WRITE_VERSION = 18;
const READ_VERSION = 19;
const WAL_MODE = 2;

/** The system table of a new cluster, with a secret of its own. */
export function firstRows({ id, random, clock }: ClusterSettings): Record<string, string | number> {
  return {
    cluster_id: id,
    format: FORMAT,
    secret: toBase64Url(random.bytes(SECRET_BYTES)),
    last_update: new Date(clock.wallMs()).toISOString(),
  };
}

/**
 * The WAL with every page of a database, which it makes a WAL database.
 *
 * @param onBytes told of the bytes made
 */
export function encodeFirstEpoch(source: PageSource, random: Random, onBytes: (count: number) => void): Uint8Array {
  const pageNumbers = new Uint32Array(source.pageCount - (source.pageCount > LOCK_PAGE ? 1 : 0));
  for (let index = 0; index < pageNumbers.length; index++)
    pageNumbers[index] = index + 1 < LOCK_PAGE ? index + 1 : index + 2;
  const byteLength = walByteLength(pageNumbers.length);
  if (byteLength > WAL_BYTES_MAX) {
    throw new ClusterError(
      "invalid",
      "database_too_large",
      `the database has ${source.pageCount * PAGE_BYTES} bytes: a cluster's first epoch is one object of at most ${WAL_BYTES_MAX} bytes, this one would have ${byteLength}`,
      { found: byteLength, limit: WAL_BYTES_MAX },
    );
  }
  const salts = new Uint32Array(random.bytes(8).slice().buffer);
  const copyPage = (frame: number, target: Uint8Array, offset: number) => {
    const pageNumber = pageNumbers[frame] as number;
    source.read((pageNumber - 1) * PAGE_BYTES, PAGE_BYTES, target, offset);
    if (pageNumber === 1) target.fill(WAL_MODE, offset + WRITE_VERSION, offset + READ_VERSION + 1);
    onBytes(PAGE_BYTES);
  };
  const encoder = new WalEncoder(pageNumbers, source.pageCount, [salts[0] ?? 0, salts[1] ?? 0], copyPage);
  return encoder.read(0, encoder.byteLength);
}
