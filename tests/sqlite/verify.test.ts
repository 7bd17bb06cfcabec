import { beforeEach, expect, test } from "vitest";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import { sha256Hex } from "../../src/platform/system.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import type { Replica } from "../../src/sqlite/replica.ts";
import { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { bytesOf, Led, newReplica } from "../support/cluster-database.ts";
import { clusterErrorOf } from "../support/errors.ts";

let led: Led;
let follower: Replica;
let checksumAt3: string;

beforeEach(async () => {
  led = await Led.create("CREATE TABLE t(a)");
  for (let i = 1; i <= 3; i++) led.write((tx) => tx.run("INSERT INTO t VALUES (?)", [i]));
  checksumAt3 = led.image.stateChecksum;
  follower = await newReplica(5);
  for (let epoch = 0; epoch <= 2; epoch++)
    follower.apply(follower.verify(led.wals[epoch] as Uint8Array, `epoch ${epoch}`));
});

/** Refused with this, and nothing has changed: not the bytes, nor the checksum, nor what is accepted next. */
function expectRefused(bytes: Uint8Array, expected: string): void {
  const { image } = follower.state;
  const before = {
    bytes: bytesOf(image),
    checksum: image.stateChecksum,
    epoch: follower.epoch,
    version: image.version,
  };
  const error = clusterErrorOf(() => follower.verify(bytes, "epoch 3"));
  expect(`${error.kind}/${error.code}`).toBe(expected);
  expect(error.details).toMatchObject({ object: "epoch 3" });
  expect(Buffer.compare(bytesOf(image), before.bytes)).toBe(0);
  expect([image.stateChecksum, follower.epoch, image.version]).toEqual([before.checksum, before.epoch, before.version]);
  follower.apply(follower.verify(led.wals[3] as Uint8Array, "epoch 3"));
  expect(follower.state.image.stateChecksum).toBe(checksumAt3);
}

/** The WAL that a leader with these rows would have written as epoch 3. */
async function forged(rows: Record<string, string | number | null>, clusterId = "test"): Promise<Uint8Array> {
  const other = await Led.create("CREATE TABLE t(a)", 1, clusterId);
  for (let i = 1; i <= 2; i++) other.write((tx) => tx.run("INSERT INTO t VALUES (?)", [i]));
  const bytes = other.seal(rows);
  other.close();
  return bytes;
}

const chainOf = (change: Record<string, unknown>): string =>
  JSON.stringify({ epoch: 2, wal: follower.state.walHash, state: follower.state.image.stateChecksum, ...change });

test("the right epoch is accepted", async () => {
  expect(follower.verify(await forged({ chain: chainOf({}) }), "epoch 3").epoch).toBe(3);
});

test("P7: a damaged WAL is refused", () => {
  const bytes = (led.wals[3] as Uint8Array).slice();
  bytes[5000] = (bytes[5000] as number) ^ 1;
  expectRefused(bytes, "corrupt/wal_corrupt");
});

test("P7: an epoch that builds on another state is refused as diverged", async () => {
  expectRefused(await forged({ chain: chainOf({ state: "0123456789abcdef" }) }), "corrupt/diverged");
});

test("P7: an epoch that builds on another WAL is refused as diverged", async () => {
  expectRefused(await forged({ chain: chainOf({ wal: "0".repeat(64) }) }), "corrupt/diverged");
});

test("P7: an epoch that names another epoch before it is refused as diverged", async () => {
  expectRefused(await forged({ chain: chainOf({ epoch: 1 }) }), "corrupt/diverged");
});

test("P7: a node whose own bytes differ finds out at the next epoch", async () => {
  const bytes = bytesOf(follower.state.image);
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
  const image = DurableImage.adopt([bytes], bytes.length / PAGE_BYTES);
  const state = ReplicaState.fromSnapshot(follower.system, image, 2, "snapshot 2");
  expect(clusterErrorOf(() => state.verify(led.wals[3] as Uint8Array, "epoch 3")).code).toBe("diverged");
});

test.each([1, 2])("P7: the WAL of epoch %i in the place of epoch 3 is refused", (epoch) => {
  expectRefused(led.wals[epoch] as Uint8Array, "corrupt/diverged");
});

test("P7: epoch 0's WAL in the place of epoch 1 is refused", async () => {
  const fresh = await newReplica(6);
  fresh.apply(fresh.verify(led.wals[0] as Uint8Array, "epoch 0"));
  expect(clusterErrorOf(() => fresh.verify(led.wals[0] as Uint8Array, "epoch 1")).code).toBe("diverged");
});

test("a later epoch in the place of epoch 3 is refused", () => {
  led.write((tx) => tx.run("INSERT INTO t VALUES (4)"));
  expectRefused(led.wals[4] as Uint8Array, "corrupt/diverged");
});

test("an epoch of another cluster is refused", async () => {
  expectRefused(await forged({}, "someone else"), "invalid/wrong_cluster");
});

test("an epoch of a format to come is refused with advice", async () => {
  expectRefused(await forged({ format: 2, chain: chainOf({}) }), "invalid/unknown_format");
});

test("an epoch with a leader row that cannot be read is refused", async () => {
  expectRefused(await forged({ leader: "{", chain: chainOf({}) }), "corrupt/system_rows_corrupt");
});

test("an epoch without a readable system table is refused", () => {
  expectRefused(
    encodeWal([{ pageNumber: 1, bytes: new Uint8Array(PAGE_BYTES).fill(3) }], 5, [1, 2]),
    "corrupt/system_table_unreadable",
  );
});

test("an epoch of the original, which leaves the chain of an earlier one or has none, is accepted", async () => {
  const chain = follower.rows.chain;
  expect(follower.verify(await forged({ chain: JSON.stringify(chain) }), "epoch 3").epoch).toBe(3);
  expect(follower.verify(await forged({ chain: null }), "epoch 3").epoch).toBe(3);
});

test("what was verified for one state is not applied to another", () => {
  const verified = follower.verify(led.wals[3] as Uint8Array, "epoch 3");
  follower.apply(verified);
  expect(() => follower.apply(verified)).toThrow("epoch 3 does not follow 3");
});

test("a snapshot takes its own WAL's hash only if the pages are the same", () => {
  const image = DurableImage.adopt([bytesOf(follower.state.image)], follower.state.image.pageCount);
  const state = ReplicaState.fromSnapshot(follower.system, image, 2, "snapshot 2");
  expect(state.walHash).toBeUndefined();
  const own = led.wals[2] as Uint8Array;
  expect(clusterErrorOf(() => state.adoptWal(led.wals[1] as Uint8Array, "epoch 2")).code).toBe("diverged");
  const wal = parseWal(own, "x");
  const pages = [...wal.pageNumbers].map((pageNumber, frame) => ({
    pageNumber,
    bytes: wal.bytes.slice(framePageOffset(frame), framePageOffset(frame) + PAGE_BYTES),
  }));
  const otherSize = encodeWal(pages, wal.pageCount + 1, [1, 2]);
  expect(clusterErrorOf(() => state.adoptWal(otherSize, "epoch 2")).code).toBe("diverged");
  expect(state.walHash).toBeUndefined();
  state.adoptWal(own, "epoch 2");
  expect(state.walHash).toBe(sha256Hex(own));
});
