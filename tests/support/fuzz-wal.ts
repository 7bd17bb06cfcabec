import { PAGE_BYTES, WAL_HEADER_BYTES, walByteLength, walFrameCount } from "../../src/format/wal.ts";

const FRAME_HEADER_BYTES = 24;
const FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES;
const BIG_ENDIAN_MAGIC = 0x377f0683;

/**
 * What somebody makes of a damaged WAL who knows the format: whole frames, with the header's salts, and every checksum
 * right. The sums are made apart from the code under test: https://www.sqlite.org/fileformat2.html#checksum_algorithm
 */
export function withRightChecksums(damaged: Uint8Array): Uint8Array {
  const frameCount = Math.max(0, Math.floor(walFrameCount(damaged.length)));
  const bytes = damaged.slice(0, walByteLength(frameCount));
  if (frameCount === 0) return bytes;
  const view = new DataView(bytes.buffer);
  const isLittleEndian = view.getUint32(0) !== BIG_ENDIAN_MAGIC;
  let [first, second] = [0, 0];
  const add = (from: number, to: number) => {
    for (let at = from; at < to; at += 8) {
      first = (first + view.getUint32(at, isLittleEndian) + second) >>> 0;
      second = (second + view.getUint32(at + 4, isLittleEndian) + first) >>> 0;
    }
  };
  const write = (at: number) => {
    view.setUint32(at, first);
    view.setUint32(at + 4, second);
  };
  add(0, 24);
  write(24);
  for (let at = WAL_HEADER_BYTES; at < bytes.length; at += FRAME_BYTES) {
    bytes.copyWithin(at + 8, 16, 24);
    add(at, at + 8);
    add(at + FRAME_HEADER_BYTES, at + FRAME_BYTES);
    write(at + 16);
  }
  return bytes;
}

/** Where the size of the database after the commit is told. */
export function commitSizeOffset(bytes: Uint8Array): number {
  return bytes.length - FRAME_BYTES + 4;
}
