import { describe, expect, it } from "vitest";
import { ClusterError } from "../../src/errors.ts";
import { RACE_CREATORS, type RaceResult, raceToCreate } from "../../src/store/atomic-create-probe.ts";
import { FileSystemStore } from "../../src/store/file-system-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectStore, PutBody, PutOptions, PutOutcome } from "../../src/store/store.ts";
import { FaultyStore, type OnStoreCall } from "../../src/testing/faulty-store.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const race = (store: ObjectStore): Promise<RaceResult> => raceToCreate(store, "key", undefined);

const putFaults = (onCall: OnStoreCall, store: ObjectStore = new MemoryStore()): FaultyStore => {
  return new FaultyStore(store, { onCall: (call) => (call.operation === "put" ? onCall(call) : undefined) });
};

const refusal = (code: string) => new ClusterError("unavailable", code, code);

/** Lets one creator through and turns the others away, as stores with a limit for one key do. */
const turnAwayAllBut = (allowed: readonly number[], store?: ObjectStore) =>
  putFaults(
    ({ number }) => (allowed.includes(number) ? undefined : { kind: "fail_before", error: refusal("store_throttled") }),
    store,
  );

class Overwriting extends MemoryStore {
  override put(key: string, body: PutBody): Promise<PutOutcome> {
    return super.put(key, body);
  }
}

describe("a race of creators", () => {
  it("has one winner where create is atomic", async () => {
    expect(await race(new MemoryStore())).toEqual({ verdict: "atomic" });
    expect(await race(new FileSystemStore(temporaryDirectory()))).toEqual({ verdict: "atomic" });
  });

  it("shows a store that tells several that they won", async () => {
    expect(await race(new Overwriting())).toMatchObject({
      verdict: "not_atomic",
      found: `${RACE_CREATORS} of ${RACE_CREATORS} concurrent creators of one key were told that they created it`,
    });
  });

  it("shows a store that keeps the bytes of a loser", async () => {
    const store = new (class extends MemoryStore {
      override async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
        const outcome = await super.put(key, body, options);
        if (outcome === "exists") await super.put(key, body);
        return outcome;
      }
    })();
    expect(await race(store)).toMatchObject({ verdict: "not_atomic", found: expect.stringContaining("bytes") });
  });

  it("shows a store in which nobody wins", async () => {
    const store = new MemoryStore();
    await store.put("key", new Uint8Array(1));
    expect(await race(store)).toMatchObject({ verdict: "not_atomic", found: expect.stringContaining("none of") });
  });

  it("says nothing when an answer was lost, whether or not it was the winner's", async () => {
    for (const lost of [1, 2]) {
      const store = putFaults(({ number }) => (number === lost ? { kind: "fail_after" } : undefined));
      expect(await race(store)).toMatchObject({ verdict: "unproven", reason: { code: "store_timeout" } });
    }
  });

  it("says nothing when the object cannot be read back", async () => {
    const store = new FaultyStore(new MemoryStore(), {
      onCall: ({ operation }) => (operation === "get" ? { kind: "fail_before" } : undefined),
    });
    expect(await race(store)).toMatchObject({ verdict: "unproven", reason: { code: "store_timeout" } });
  });

  it("finds two winners also when other answers were lost", async () => {
    const store = putFaults(({ number }) => (number > 2 ? { kind: "fail_after" } : undefined), new Overwriting());
    expect(await race(store)).toMatchObject({ verdict: "not_atomic", found: expect.stringContaining("2 of 32") });
  });

  it("takes creators that a store turned away for losers, and tries once more who comes late", async () => {
    // The winner's bytes are read in between.
    const late = RACE_CREATORS + 2;
    for (const code of ["store_conflict", "store_throttled"]) {
      const some = putFaults(({ number }) =>
        number % 2 === 0 ? { kind: "fail_before", error: refusal(code) } : undefined,
      );
      expect(await race(some)).toEqual({ verdict: "atomic" });
    }
    expect(await race(turnAwayAllBut([1, late]))).toEqual({ verdict: "atomic" });
    expect(await race(turnAwayAllBut([1, late], new Overwriting()))).toMatchObject({
      verdict: "not_atomic",
      found: expect.stringContaining("a second time"),
    });
    expect(await race(turnAwayAllBut([1]))).toMatchObject({ verdict: "unproven" });
    expect(await race(turnAwayAllBut([]))).toMatchObject({ verdict: "unproven" });
  });
});
