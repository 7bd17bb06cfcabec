/** A new cluster that begins with the state of another. */
import { parseClusterOptions } from "../config.ts";
import { ClusterError } from "../errors.ts";
import { PAGE_BYTES, walByteLength } from "../format/wal.ts";
import type { ReplicaState } from "../sqlite/replica-state.ts";
import type { ObjectStore } from "../store/store.ts";
import { ByteMeter } from "./byte-meter.ts";
import { encodeFirstEpoch, firstRows } from "./first-epoch.ts";
import { createCluster } from "./init.ts";
import type { HistoryParts } from "./parts.ts";
import type { LongCallOptions } from "./progress.ts";
import { withoutSecret } from "./without-secret.ts";

export interface ForkOptions extends LongCallOptions {
  /** The new cluster's id; differs from that of the original. */
  readonly id: string;
}

/** What was forked. */
export interface Forked {
  /** The epoch of the original; the new cluster begins with epoch 0. */
  readonly epoch: number;
  /** Size of the database. */
  readonly bytes: number;
}

/**
 * Makes a cluster in `target` whose epoch 0 is the database of `state`, under another id and with a secret of its own.
 * The original's store is not touched, and nothing of its secret is in the new one.
 *
 * @throws ClusterError `invalid`: `same_cluster_id`, `bad_configuration`, `already_initialized` if a cluster is at the
 *   place (the original, or that of another fork at the same time), `store_not_atomic`, `secret_in_data`
 */
export async function fork(
  parts: HistoryParts,
  state: ReplicaState,
  target: ObjectStore,
  options: ForkOptions,
): Promise<Forked> {
  const { id, signal } = options;
  // Both are checked as those of any cluster are.
  const { store } = parseClusterOptions({ id, store: target });
  const { clusterId, secret } = state.rows;
  if (id === clusterId) {
    throw new ClusterError(
      "invalid",
      "same_cluster_id",
      `cluster ${id} was not forked: the fork needs another id than the original, so that nodes of one never join the other`,
      { id },
    );
  }
  const settings = { ...parts.settings, id, store };
  const { epoch } = state;
  const pin = state.image.pin();
  const walBytes = walByteLength(pin.pageCount);
  // Looking for the secret, making the epoch, writing it, writing its snapshot.
  const meter = new ByteMeter(options, 3 * pin.byteLength + walBytes);
  let bytes = 0;
  const rows = () => new Map(Object.entries(firstRows(settings)));
  try {
    await createCluster({ settings, store, log: parts.log }, meter, signal, async () => {
      const source = await withoutSecret({ source: pin, secret, rows }, parts, meter);
      bytes = source.pageCount * PAGE_BYTES;
      meter.begin(bytes);
      return encodeFirstEpoch(source, settings.random, meter.add);
    });
    return { epoch, bytes };
  } finally {
    pin.release();
  }
}
