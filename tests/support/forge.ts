import { walKey } from "../../src/format/keys.ts";
import type { ObjectStore } from "../../src/mod.ts";
import { systemClock, systemRandom } from "../../src/platform/system.ts";
import { createSqlite } from "../../src/sqlite/context.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import { Replica } from "../../src/sqlite/replica.ts";
import { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { type SystemRowChanges, type Transaction, Writer } from "../../src/sqlite/writer.ts";
import { bytesOf } from "./cluster.ts";

/** Epoch 0 of a cluster with whatever system rows. */
export async function forgeFirstEpoch(rows: SystemRowChanges): Promise<Uint8Array> {
  const writer = Writer.create(await createSqlite(systemClock, systemRandom), new DurableImage(), rows);
  try {
    return writer.seal({}).bytes;
  } finally {
    writer.close();
  }
}

/** An epoch that follows `epoch` in the store, with whatever system rows and whatever a transaction does. */
export async function forgeEpochAfter(
  store: ObjectStore,
  epoch: number,
  rows: SystemRowChanges,
  fn?: (tx: Transaction) => void,
): Promise<Uint8Array> {
  const replica = await Replica.create(systemClock, systemRandom);
  try {
    const state = ReplicaState.empty(replica.system);
    for (let at = 0; at <= epoch; at++) state.apply(state.verify(await bytesOf(store, walKey(at)), walKey(at)));
    replica.replace(state);
    const writer = replica.openWriter();
    try {
      if (fn !== undefined) writer.transact(fn);
      return writer.seal({ last_update: new Date().toISOString(), ...rows }).bytes;
    } finally {
      writer.close();
    }
  } finally {
    replica.close();
  }
}
