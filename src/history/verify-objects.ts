/** Compares what was written to spare work, snapshots and packs, with the state that the epochs lead to. */
import { equalBytes } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";
import { packKey, snapshotKey } from "../format/keys.ts";
import { type EpochRange, packSalts, parsePack } from "../format/pack.ts";
import { framePageOffset, PAGE_BYTES, WalEncoder } from "../format/wal.ts";
import type { ReplicaState } from "../sqlite/replica-state.ts";
import type { ObjectStore, PartSource } from "../store/store.ts";
import { snapshotParts } from "./read-snapshot.ts";

/** Fails unless the snapshot of the state's epoch is the state, byte for byte. */
export async function compareSnapshot(
  store: ObjectStore,
  state: ReplicaState,
  signal: AbortSignal | undefined,
): Promise<void> {
  const key = snapshotKey(state.epoch);
  let offset = 0;
  for await (const { bytes, size } of snapshotParts(store, state.epoch, signal)) {
    if (size !== state.image.byteLength) differs(key, "size", state.image.byteLength, size);
    for (let start = 0; start < bytes.length; start += PAGE_BYTES) {
      const pageNumber = (offset + start) / PAGE_BYTES + 1;
      if (!equalBytes(bytes.subarray(start, start + PAGE_BYTES), state.image.page(pageNumber)))
        differs(key, `page ${pageNumber}`, "the replayed bytes", "others");
    }
    offset += bytes.length;
  }
}

/** The snapshot of a state, to be written. */
export function snapshotOf(state: ReplicaState): { readonly source: PartSource; release(): void } {
  const pin = state.image.pin();
  return {
    source: { byteLength: pin.byteLength, read: (offset, length) => pin.copy(offset, length) },
    release: () => pin.release(),
  };
}

/** Pages that are compared before the event loop may get its turn. */
const COMPARED_PAGES = 512;

/**
 * Fails unless the pack leads to the state: it names every page that changed, and has each as it is.
 *
 * @param changed the pages that changed in its range, ascending; `undefined` if that is not known
 * @param rest called now and then
 */
export async function comparePack(
  bytes: Uint8Array,
  state: ReplicaState,
  range: EpochRange,
  changed: Uint32Array | undefined,
  rest: () => Promise<void>,
): Promise<void> {
  const key = packKey(range.from, range.to);
  const wal = parsePack(bytes, state.rows.clusterId, range, key);
  const { image } = state;
  if (wal.pageCount !== image.pageCount) differs(key, "pages", image.pageCount, wal.pageCount);
  const has = new Set<number>();
  for (const [frame, pageNumber] of wal.pageNumbers.entries()) {
    if (frame % COMPARED_PAGES === 0) await rest();
    has.add(pageNumber);
    if (pageNumber > image.pageCount) continue;
    const start = framePageOffset(frame);
    if (!equalBytes(wal.bytes.subarray(start, start + PAGE_BYTES), image.page(pageNumber)))
      differs(key, `page ${pageNumber}`, "the replayed bytes", "others");
  }
  const missing = changed?.find((pageNumber) => pageNumber <= image.pageCount && !has.has(pageNumber));
  if (missing !== undefined) differs(key, `page ${missing}`, "present", "missing");
}

/** A pack of what changed up to a state, to be written. */
export function packOf(state: ReplicaState, range: EpochRange, changed: Uint32Array): WalEncoder {
  const { image, rows } = state;
  const pages = changed.filter((pageNumber) => pageNumber <= image.pageCount);
  return new WalEncoder(pages, image.pageCount, packSalts(rows.clusterId, range), (frame, target, offset) => {
    target.set(image.page(pages[frame] as number), offset);
  });
}

function differs(object: string, where: string, expected: string | number, found: string | number): never {
  throw new ClusterError(
    "corrupt",
    "differs",
    `${object} is not what the epochs lead to: ${where}: expected ${expected}, found ${found}`,
    { object, where, expected, found },
  );
}
