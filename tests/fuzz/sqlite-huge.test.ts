/**
 * Databases that grow past 1, 2 and 4 GiB: the page that SQLite leaves out for locks, and offsets beyond 31 and 32 bits.
 *
 * In CI on images whose empty middle is one piece of memory, many times over. With `LBC_HUGE=1` on a real one: about three
 * minutes, 13 GiB of memory, 9 GiB of disk: `LBC_HUGE=1 NODE_OPTIONS=--max-old-space-size=16000 npx vitest run
 * tests/fuzz/sqlite-huge.test.ts`.
 */
import { expect, test } from "vitest";
import { equalBytes } from "../../src/base/bytes.ts";
import { encodeChain } from "../../src/format/system-rows.ts";
import { framePageOffset, PAGE_BYTES } from "../../src/format/wal.ts";
import { FileSystemStore, LittleBigCluster } from "../../src/mod.ts";
import { CHUNK_BYTES, CHUNK_PAGES, DurableImage, WalLayer } from "../../src/sqlite/image.ts";
import type { Replica } from "../../src/sqlite/replica.ts";
import { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { bytesOf, Led, newReplica } from "../support/cluster-database.ts";
import { testDirectory } from "../support/directory.ts";
import { sqliteCliVersion } from "../support/sqlite-cli.ts";
import { askFile } from "../support/sqlite-file.ts";

const GIB = 1024 ** 3;
/** Never written: https://www.sqlite.org/fileformat2.html#the_lock_byte_page */
const LOCK_PAGE = GIB / PAGE_BYTES + 1;
const PAGE_COUNT_OFFSET = 28;

/** A database that says it has so many pages; those that it does not use are zeros, and take no memory. */
function sparseImage(database: Uint8Array, pageCount: number): DurableImage {
  const first = new Uint8Array(CHUNK_BYTES);
  first.set(database);
  new DataView(first.buffer).setUint32(PAGE_COUNT_OFFSET, pageCount);
  const empty = new Uint8Array(CHUNK_BYTES);
  const chunkCount = Math.ceil(pageCount / CHUNK_PAGES);
  // The last one grows, so it has memory of its own.
  const chunks = Array.from({ length: chunkCount }, (_, index) =>
    index === 0 ? first : index === chunkCount - 1 ? new Uint8Array(CHUNK_BYTES) : empty,
  );
  return DurableImage.adopt(chunks, pageCount);
}

function showing(replica: Replica, image: DurableImage): void {
  replica.replace(ReplicaState.fromSnapshot(replica.system, image, 5, "the snapshot"));
}

test.each([1, 4])("P2: a database that grows past %i GiB is the same on leader and follower", async (gib) => {
  const led = await Led.create("CREATE TABLE t(id INTEGER PRIMARY KEY, body)");
  const database = bytesOf(led.image);
  led.close();
  const pageCount = (gib * GIB) / PAGE_BYTES - 4;
  const [leader, follower] = [await newReplica(1), await newReplica(2)];
  for (const replica of [leader, follower]) showing(replica, sparseImage(database, pageCount));
  const writer = leader.openWriter();
  const { state } = leader;
  const chain = encodeChain({ epoch: 5, wal: "0".repeat(64), state: state.image.stateChecksum });
  const body = (id: number) => new Uint8Array(10_000).fill(id);
  writer.transact((tx) => {
    for (let id = 1; id <= 10; id++) tx.run("INSERT INTO t VALUES (?, ?)", [id, body(id)]);
  });
  const wal = writer.seal({ last_update: "now", chain });
  expect([...wal.pageNumbers].filter((page) => page > pageCount).length).toBeGreaterThan(20);
  expect(wal.pageNumbers.includes(LOCK_PAGE)).toBe(false);
  const layer = new WalLayer(follower.state.image, wal);
  for (const [frame, pageNumber] of wal.pageNumbers.entries()) {
    const page = new Uint8Array(PAGE_BYTES);
    layer.read((pageNumber - 1) * PAGE_BYTES, PAGE_BYTES, page, 0);
    const start = framePageOffset(frame);
    expect(equalBytes(page, wal.bytes.subarray(start, start + PAGE_BYTES))).toBe(true);
  }
  const verified = follower.verify(wal.bytes, "epoch 6");
  const foretold = follower.state.image.checksumAfter(wal);
  leader.settle(writer, verified.walHash, verified.rows);
  follower.apply(verified);
  expect([follower, leader].map((replica) => replica.state.image.stateChecksum)).toEqual([foretold, foretold]);
  for (const { db } of [leader, follower]) {
    expect(db.values("SELECT id FROM t WHERE length(body) = 10000")).toHaveLength(10);
    for (const id of [1, 4, 5, 10]) expect(db.values("SELECT body FROM t WHERE id = ?", [id])).toEqual([[body(id)]]);
  }
  // Above what is sealed: pages beyond the boundary are read from the image, changed, and dropped again.
  writer.transact((tx) => tx.run("UPDATE t SET body = zeroblob(10000) WHERE id = 10"));
  const next = writer.seal({ last_update: "later" });
  follower.state.image.apply(next);
  follower.replace(follower.state);
  expect(follower.db.values("SELECT id FROM t WHERE body = zeroblob(10000)")).toEqual([[10]]);
  writer.close();
});

test.runIf(process.env["LBC_HUGE"] === "1")(
  "P1, P2, P8: a database of 4.2 GiB, row by row",
  async () => {
    const directory = testDirectory();
    const store = new FileSystemStore(`${directory}/store`);
    const cluster = new LittleBigCluster({ id: "huge", store });
    await cluster.init();
    const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
    try {
      await node.waitForLeadership({ timeoutMs: 60_000 });
      await node.transaction((tx) => tx.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)")).durable;
      const body = new Uint8Array(1024 ** 2);
      let id = 0;
      for (const sizeMin of [1.02 * GIB, 2.05 * GIB, 4.2 * GIB]) {
        while (node.status().db.size < sizeMin) {
          await node.transaction((tx) => {
            for (const end = id + 48; id < end; ) tx.run("INSERT INTO t VALUES (?, ?)", [++id, body.fill(id & 255)]);
          }).durable;
        }
        await expectRows(cluster, node.epoch.current, id, `${directory}/x.db`);
      }
    } finally {
      await node.shutdown();
    }
  },
  1_200_000,
);

/** A follower and an exported file have every row. */
async function expectRows(cluster: LittleBigCluster, epoch: number, count: number, file: string): Promise<void> {
  const sum = `SELECT count(*), sum(length(body)) FROM t WHERE substr(hex(substr(body, 1, 1)), 1) = printf('%02X', id & 255)`;
  const follower = await cluster.joinAsFollower({ address: "127.0.0.1:0" });
  try {
    await follower.sync({ atLeast: epoch });
    expect(follower.db.values(sum)).toEqual([[count, count * 1024 ** 2]]);
  } finally {
    await follower.shutdown();
  }
  if (sqliteCliVersion === undefined) return;
  await cluster.export(epoch, file, { overwrite: true });
  expect(askFile(file, `PRAGMA integrity_check; ${sum}`)).toBe(`ok\n${count}|${count * 1024 ** 2}`);
}
