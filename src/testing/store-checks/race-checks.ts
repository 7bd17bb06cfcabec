import { isClusterError } from "../../errors.ts";
import type { ObjectStore } from "../../store/store.ts";
import { check, expect, expectBytes, expectSame, noise, type StoreCheck, utf8 } from "./check.ts";

const CREATORS = 32;
const RACES = 12;

/** Sizes of the creators' bodies: small ones collide in the store, larger ones on their way to it. */
const BODY_BYTES: readonly number[] = [10, 5_000, 70_000];

const OVERWRITES = 40;
const READERS = 4;

/** What is promised when several do the same at the same time. */
export const raceChecks: readonly StoreCheck[] = [
  check("of 32 concurrent creators exactly one wins", async (store) => {
    for (let race = 0; race < RACES; race++) await raceToCreate(store, `races/${race}`, race);
  }),

  check("creators of different keys do not disturb each other", async (store) => {
    const keys = Array.from({ length: CREATORS }, (_, index) => `new/${index % 4}/${index}`);
    const outcomes = await Promise.all(keys.map((key) => store.put(key, utf8(key), { ifAbsent: true })));
    expect(
      outcomes.every((outcome) => outcome === "created"),
      "a create of a key of its own did not succeed",
    );
    for (const key of keys) expectBytes((await store.get(key))?.bytes, utf8(key), key);
  }),

  check("a reader sees a whole object while it is overwritten", async (store) => {
    const versions = [noise(40_000, 1), noise(90_000, 2)] as const;
    await store.put("key", versions[0]);
    let isDone = false;
    const reader = async () => {
      while (!isDone) {
        const bytes = (await store.get("key"))?.bytes;
        expectBytes(bytes, bytes?.length === versions[0].length ? versions[0] : versions[1], "get during a put");
      }
    };
    const writer = async () => {
      try {
        for (let i = 1; i <= OVERWRITES; i++) await store.put("key", versions[i % 2] as Uint8Array);
      } finally {
        isDone = true;
      }
    };
    await Promise.all([writer(), ...Array.from({ length: READERS }, reader)]);
  }),

  check("what was written is read at once, and what was deleted is gone at once", async (store) => {
    for (let i = 0; i < 20; i++) {
      await store.put("key", utf8(`version ${i}`));
      expectBytes((await store.get("key"))?.bytes, utf8(`version ${i}`), "get after put");
      expectSame((await store.list("")).objects.length, 1, "objects listed after put");
      await store.delete("key");
      expect((await store.get("key")) === undefined, "an object is there after its delete");
      expectSame((await store.list("")).objects.length, 0, "objects listed after delete");
    }
  }),
];

async function raceToCreate(store: ObjectStore, key: string, seed: number): Promise<void> {
  const bodies = Array.from({ length: CREATORS }, (_, creator) => {
    return noise((BODY_BYTES[seed % BODY_BYTES.length] as number) + creator, seed * CREATORS + creator);
  });
  const outcomes = await Promise.all(bodies.map((body) => create(store, key, body)));
  const winners = outcomes.flatMap((outcome, creator) => (outcome === "created" ? [creator] : []));
  // Some stores answer "conflict" to a loser: that claims nothing. But someone must get an answer.
  expect(winners.length === 1, `${winners.length} of ${CREATORS} concurrent creators were told that they won`);
  expectBytes((await store.get(key))?.bytes, bodies[winners[0] as number] as Uint8Array, "the winner's bytes");
  expectSame(await store.put(key, utf8("late"), { ifAbsent: true }), "exists", "a create after the race");
}

async function create(store: ObjectStore, key: string, body: Uint8Array): Promise<string> {
  try {
    return await store.put(key, body, { ifAbsent: true });
  } catch (error) {
    if (isClusterError(error) && error.kind === "unavailable") return "no answer";
    throw error;
  }
}
