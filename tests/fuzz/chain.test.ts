/**
 * An epoch that somebody changed, with every checksum made right again. Nothing in its own bytes gives it away, so it may
 * be believed for one epoch, and never for two: the next one names the SHA-256 of what its leader really wrote.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { equalBytes } from "../../src/base/bytes.ts";
import { PAGE_BYTES } from "../../src/format/wal.ts";
import { sha256Hex } from "../../src/platform/system.ts";
import { DurableImage } from "../../src/sqlite/image.ts";
import type { Replica } from "../../src/sqlite/replica.ts";
import { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { bytesOf, Led, newReplica } from "../support/cluster-database.ts";
import { bytesAskedFor, decoded, mutated, mutations, refusalOf, runs } from "../support/fuzz-mutations.ts";
import { commitSizeOffset, withRightChecksums } from "../support/fuzz-wal.ts";

/** What a forged epoch may be refused with: damage, another history, another cluster or format. */
const REFUSALS: readonly string[] = [
  "corrupt/wal_corrupt",
  "corrupt/system_table_unreadable",
  "corrupt/system_rows_corrupt",
  "corrupt/diverged",
  "invalid/wrong_cluster",
  "invalid/unknown_format",
];
/** The epoch that is forged. */
const FORGED = 3;

let led: Led;
let follower: Replica;
/** The database before and after the epoch that is forged. */
let before: Uint8Array;
let after: Uint8Array;

beforeAll(async () => {
  led = await Led.create("CREATE TABLE t(a INTEGER PRIMARY KEY, b); CREATE INDEX t_b ON t(b)");
  led.write((tx) => tx.run("INSERT INTO t VALUES (1, 'one'), (2, randomblob(6000))"));
  led.write((tx) => tx.run("UPDATE t SET b = 'two' WHERE a = 2"));
  before = bytesOf(led.image);
  led.write((tx) => tx.run("INSERT INTO t VALUES (3, randomblob(9000))"));
  after = bytesOf(led.image);
  led.write((tx) => tx.run("DELETE FROM t WHERE a = 1"));
  follower = await newReplica(5);
});

afterAll(() => {
  led.close();
  follower.close();
});

function walOf(epoch: number): Uint8Array {
  return led.wals[epoch] as Uint8Array;
}

/** The state before the forged epoch, as a follower has it. */
function stateBefore(): ReplicaState {
  const state = ReplicaState.empty(follower.system);
  for (let epoch = 0; epoch < FORGED; epoch++) state.apply(state.verify(walOf(epoch), `epoch ${epoch}`));
  return state;
}

/** The same from a snapshot, which does not know the SHA-256 of its own epoch. */
function snapshotBefore(): ReplicaState {
  const image = DurableImage.adopt([before.slice()], before.length / PAGE_BYTES);
  return ReplicaState.fromSnapshot(follower.system, image, FORGED - 1, "the snapshot");
}

test("P7: an epoch with any change and right checksums is refused, or the epoch after it is", () => {
  // What refused an epoch is used again: it must not have changed.
  let unchanged: ReplicaState | undefined;
  fc.assert(
    fc.property(mutations, fc.boolean(), (faults, fromSnapshot) => {
      const forged = withRightChecksums(mutated(walOf(FORGED), faults, walOf(FORGED - 1)));
      const state = fromSnapshot ? snapshotBefore() : (unchanged ?? stateBefore());
      unchanged = undefined;
      const outcome = decoded(() => state.verify(forged, "the forged epoch"));
      if ("refusal" in outcome) {
        expect(REFUSALS).toContain(refusalOf(outcome));
        expect([state.epoch, equalBytes(bytesOf(state.image), before)]).toEqual([FORGED - 1, true]);
        if (!fromSnapshot) unchanged = state;
        return;
      }
      const { value: verified } = outcome;
      expect([verified.epoch, verified.walHash]).toEqual([FORGED, sha256Hex(forged)]);
      // P10: before memory is taken for it.
      expect(verified.wal.pageCount).toBeLessThanOrEqual(before.length / PAGE_BYTES + verified.wal.frameCount);
      decoded(() => state.apply(verified));
      const next = refusalOf(decoded(() => state.verify(walOf(FORGED + 1), "the epoch after it")));
      if (equalBytes(forged, walOf(FORGED)))
        expect([next, equalBytes(bytesOf(state.image), after)]).toEqual([undefined, true]);
      else expect(REFUSALS).toContain(next);
    }),
    runs(500),
  );
});

test("P7: the same epoch with other salts, or the number of another checkpoint, is refused by the epoch after it", () => {
  fc.assert(
    fc.property(fc.constantFrom(12, 16, 20), fc.integer({ min: 1, max: 2 ** 32 - 1 }), (at, change) => {
      const forged = walOf(FORGED).slice();
      const view = new DataView(forged.buffer);
      view.setUint32(at, view.getUint32(at) ^ change);
      const state = stateBefore();
      state.apply(state.verify(withRightChecksums(forged), "the forged epoch"));
      expect(equalBytes(bytesOf(state.image), after)).toBe(true);
      expect(refusalOf(decoded(() => state.verify(walOf(FORGED + 1), "the epoch after it")))).toBe("corrupt/diverged");
    }),
    runs(25),
  );
});

test("P10: an epoch that claims another size than the database's header is refused before memory is taken for it", () => {
  const state = stateBefore();
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 32 - 1 }), (pageCount) => {
      fc.pre(pageCount !== after.length / PAGE_BYTES);
      const forged = walOf(FORGED).slice();
      new DataView(forged.buffer).setUint32(commitSizeOffset(forged), pageCount);
      let refusal: string | undefined;
      const asked = bytesAskedFor(() => {
        refusal = refusalOf(decoded(() => state.verify(withRightChecksums(forged), "the forged epoch")));
      });
      expect(REFUSALS).toContain(refusal);
      expect(asked).toBeLessThan(2 ** 20);
    }),
    runs(100),
  );
});
