import { expect, it } from "vitest";
import type { Random } from "../../src/base/random.ts";
import { systemClock } from "../../src/platform/system.ts";
import { createSqlite } from "../../src/sqlite/context.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import { Writer } from "../../src/sqlite/writer.ts";

/** A seed gives the same numbers every time. */
function seeded(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state * 48_271) % 2_147_483_647;
    return state;
  };
  return {
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
    fraction: () => next() / 2_147_483_647,
  };
}

async function epochOf(seed: number): Promise<Uint8Array> {
  const writer = Writer.create(await createSqlite(systemClock, seeded(seed)), new DurableImage(), { cluster_id: "x" });
  writer.transact((tx) => tx.exec("CREATE TABLE t AS SELECT randomblob(16) AS r"));
  return writer.seal({}).bytes;
}

it("SQLite's randomness, the WAL's salts included, is that of the node's Random: a seed replays byte for byte", async () => {
  expect(await epochOf(1)).toEqual(await epochOf(1));
  expect(await epochOf(1)).not.toEqual(await epochOf(2));
});
