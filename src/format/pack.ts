/**
 * Packs: what changed over many epochs in one object (docs/architecture.md §2).
 *
 * A pack of (from, to] is a WAL file of one commit with the newest version, as of `to`, of every page that changed in
 * between, in the order of their numbers. It takes a database at any epoch of [from, to) to the one at `to`. Packs are
 * aligned: each level's length divides where they begin, so their names can be guessed, and whoever leads goes on where
 * the last leader stopped.
 */
import { ClusterError } from "../errors.ts";
import { parseWal, WAL_HEADER_BYTES, type Wal } from "./wal.ts";

/** Epochs in a pack, by level. */
export const PACK_LEVELS: readonly number[] = [64, 1024, 16_384];

/** The epochs after `from` up to `to`. */
export interface EpochRange {
  readonly from: number;
  readonly to: number;
}

/** Whether there is a pack of this range. */
export function isPackRange({ from, to }: EpochRange): boolean {
  return PACK_LEVELS.includes(to - from) && from % (to - from) === 0;
}

/** The packs that are complete with this epoch, the shortest first. */
export function packsEndingAt(epoch: number): EpochRange[] {
  return PACK_LEVELS.filter((length) => epoch > 0 && epoch % length === 0).map((length) => ({
    from: epoch - length,
    to: epoch,
  }));
}

/** The pack of a level that takes a database at `epoch` further. */
export function packAfter(epoch: number, length: number): EpochRange {
  const from = Math.floor(epoch / length) * length;
  return { from, to: from + length };
}

/** The aligned packs, the longest possible first, that together lead from `from` as far towards `to` as packs do. */
export function packCover(from: number, to: number): EpochRange[] {
  const cover: EpochRange[] = [];
  for (let epoch = from; ; ) {
    const longest = PACK_LEVELS.findLast((length) => epoch % length === 0 && epoch + length <= to);
    // Before the first boundary: the shortest pack that reaches over it.
    const next = longest === undefined ? packAfter(epoch, PACK_LEVELS[0] as number) : packAfter(epoch, longest);
    if (next.to > to) return cover;
    cover.push(next);
    epoch = next.to;
  }
}

/**
 * The salts of a pack: they tell it from the same pack of another cluster, and from another pack of this one, so that an
 * object at the wrong place is noticed. FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/
 */
export function packSalts(clusterId: string, { from, to }: EpochRange): [number, number] {
  const text = `${clusterId}/${from}-${to}`;
  return [fnv1a(text, 0x811c9dc5), fnv1a(text, 0x01000193)];
}

function fnv1a(text: string, basis: number): number {
  let hash = basis;
  for (let i = 0; i < text.length; i++) {
    hash ^= text.charCodeAt(i);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
}

/**
 * Verifies a pack.
 *
 * @param what names the object in the error
 * @throws ClusterError `corrupt`: `wal_corrupt` if it is damaged, `wrong_pack` if it is another
 */
export function parsePack(bytes: Uint8Array, clusterId: string, range: EpochRange, what: string): Wal {
  const wal = parseWal(bytes, what);
  if (isPackOf(wal.bytes, clusterId, range)) return wal;
  throw new ClusterError(
    "corrupt",
    "wrong_pack",
    `${what} is another pack, or one of another cluster, and was not applied`,
    { object: what, where: "salts", expected: packSalts(clusterId, range), found: saltsOf(wal.bytes) },
  );
}

/** Whether the header of a WAL file is that of the pack of a range. */
export function isPackOf(header: Uint8Array, clusterId: string, range: EpochRange): boolean {
  if (header.length < WAL_HEADER_BYTES) return false;
  const [first, second] = saltsOf(header);
  const expected = packSalts(clusterId, range);
  return first === expected[0] && second === expected[1];
}

function saltsOf(header: Uint8Array): [number, number] {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  return [view.getUint32(16), view.getUint32(20)];
}
