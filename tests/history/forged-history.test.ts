/** Histories of other shapes than SQLite makes of them here: a database that is cut off, and grows without being written. */
import { describe, expect, it } from "vitest";
import { packKey, snapshotKey, walKey } from "../../src/format/keys.ts";
import { encodeChain } from "../../src/format/system-rows.ts";
import { encodeWal } from "../../src/format/wal.ts";
import { composePack } from "../../src/history/compose-pack.ts";
import { restoreReplica } from "../../src/history/past.ts";
import { packOf } from "../../src/history/verify-objects.ts";
import type { ObjectStore } from "../../src/mod.ts";
import type { Replica } from "../../src/sqlite/replica.ts";
import { bytesOf, imageAt } from "../support/cluster.ts";
import { newReplica } from "../support/cluster-database.ts";
import { historyParts } from "../support/sqlite-file.ts";
import { minuteText, WrittenHistory } from "../support/written-history.ts";

const RANGE = { from: 0, to: 64 };
const CUT_PAGES = 9;
/** https://www.sqlite.org/fileformat2.html#the_database_header */
const PAGE_COUNT_OFFSET = 28;

/** An epoch that changes nothing but the size of the database. */
async function resize(store: ObjectStore, replica: Replica, pageCount: number): Promise<void> {
  const { image, epoch } = replica.state;
  const first = image.page(1).slice();
  new DataView(first.buffer).setUint32(PAGE_COUNT_OFFSET, pageCount);
  const bytes = encodeWal([{ pageNumber: 1, bytes: first }], pageCount, [epoch, pageCount]);
  replica.apply(replica.verify(bytes, walKey(epoch + 1)));
  await store.put(walKey(replica.epoch), bytes);
}

/** An epoch as a leader writes it, which proves the one before it. */
async function prove(store: ObjectStore, replica: Replica): Promise<void> {
  const { epoch, walHash = "", image } = replica.state;
  const writer = replica.openWriter();
  const chain = encodeChain({ epoch, wal: walHash, state: image.stateChecksum });
  const { bytes } = writer.seal({ last_update: minuteText(epoch + 1), chain });
  writer.close();
  replica.apply(replica.verify(bytes, walKey(epoch + 1)));
  await store.put(walKey(epoch + 1), bytes);
}

/** 65 epochs: in the 40th the database is cut off, in the 50th it grows over what was cut off, where it reads as zeros. */
async function history(): Promise<{ store: ObjectStore; replica: Replica }> {
  const { store } = await WrittenHistory.create([
    { time: minuteText(0), write: (tx) => tx.exec("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000))") },
  ]);
  const replica = await newReplica();
  replica.apply(replica.verify(await bytesOf(store, walKey(0)), walKey(0)));
  await store.put(snapshotKey(0), await imageAt(store, 0));
  const { pageCount } = replica.state.image;
  while (replica.epoch < 65) {
    if (replica.epoch === 39) await resize(store, replica, pageCount - CUT_PAGES);
    else if (replica.epoch === 49) await resize(store, replica, pageCount);
    else await prove(store, replica);
  }
  return { store, replica };
}

describe("pages that are cut off and grown over, but not written", () => {
  it("are in a pack, whoever makes it", async () => {
    const { store } = await history();
    const past = await restoreReplica(historyParts(store), 64);
    const { image, changes } = past.state;
    const pages = changes.after(0) as Uint32Array;
    expect(pages.length).toBeGreaterThan(CUT_PAGES);
    const whole = image.pin().copy(0, image.byteLength);
    expect(whole).toEqual(await imageAt(store, 64));
    expect(whole.subarray(-4096 * CUT_PAGES).every((byte) => byte === 0)).toBe(true);

    const kept = packOf(past.state, RANGE, pages);
    const bytes = kept.read(0, kept.byteLength);
    const composed = await composePack(store, "test", RANGE, { bytesMax: 2 ** 30, signal: undefined });
    if (typeof composed === "string") throw new Error(composed);
    expect(composed.read(0, composed.byteLength)).toEqual(bytes);
    past.close();

    // And the pack leads to the state of then from whatever epoch.
    await store.put(packKey(0, 64), bytes);
    await store.put(snapshotKey(20), await imageAt(store, 20));
    await store.put(snapshotKey(45), await imageAt(store, 45));
    await store.delete(walKey(60));
    for (const base of [45, 20, 0]) {
      const again = await restoreReplica(historyParts(store), 64);
      expect(again.state.image.pin().copy(0, whole.length)).toEqual(whole);
      again.close();
      await store.delete(snapshotKey(base));
    }
  });
});
