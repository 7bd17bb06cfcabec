import { beforeEach, expect, test } from "vitest";
import { encodeWal, framePageOffset, PAGE_BYTES, parseWal } from "../../src/format/wal.ts";
import type { Replica } from "../../src/sqlite/replica.ts";
import { Led, newReplica } from "../support/cluster-database.ts";
import { clusterErrorOf } from "../support/errors.ts";

const PAGES_MANY = 50_000_000;

let led: Led;
let follower: Replica;

beforeEach(async () => {
  led = await Led.create("CREATE TABLE t(a)");
  led.write((tx) => tx.exec("CREATE TABLE u(a)"));
  follower = await newReplica(5);
  follower.apply(follower.verify(led.wals[0] as Uint8Array, "epoch 0"));
});

/** Epoch 1 with page 1 in it, and a commit that tells of so many pages. */
function epochWith(pageCount: number): Uint8Array {
  const wal = parseWal(led.wals[1] as Uint8Array, "epoch 1");
  const pages = Array.from(wal.pageNumbers, (pageNumber, frame) => {
    const offset = framePageOffset(frame);
    return { pageNumber, bytes: wal.bytes.slice(offset, offset + PAGE_BYTES) };
  });
  expect(pages.map(({ pageNumber }) => pageNumber)).toContain(1);
  return encodeWal(pages, pageCount, [1, 2]);
}

test("an epoch whose commit tells of the size that page 1 tells is accepted", () => {
  expect(follower.verify(epochWith(led.image.pageCount), "epoch 1").epoch).toBe(1);
});

test.each([PAGES_MANY, 1])(
  "P10: a commit that tells of %i pages more than page 1 is refused before memory is taken for them",
  (more) => {
    const before = follower.state.image.pageCount;
    const pageCount = led.image.pageCount + more;
    const error = clusterErrorOf(() => follower.verify(epochWith(pageCount), "epoch 1"));
    expect(error).toMatchObject({ kind: "corrupt", code: "wal_corrupt" });
    expect(error.details).toMatchObject({ expected: led.image.pageCount, found: pageCount });
    expect(follower.state.image.pageCount).toBe(before);
  },
);
