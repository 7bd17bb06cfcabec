import { expect, test } from "vitest";
import type { ParsedKey } from "../../src/format/keys.ts";
import { chooseBootstrap, judgeLaterEpochs } from "../../src/protocol/bootstrap.ts";
import { seededRandom } from "../support/seeded-random.ts";

/** Objects from text: `3` is a WAL, `s3` a snapshot, `5-9` WALs. */
function listing(text: string): ParsedKey[] {
  return text
    .split(" ")
    .filter(Boolean)
    .flatMap((word): ParsedKey[] => {
      if (word.startsWith("s")) return [{ kind: "snapshot", epoch: Number(word.slice(1)) }];
      const [first = 0, last = first] = word.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => ({ kind: "wal", epoch: first + index }));
    });
}

function choiceText(text: string): string {
  const choice = chooseBootstrap(listing(text));
  if (choice.type === "empty") return "empty";
  if (choice.type === "noBase") return `no base in ${choice.firstEpoch} to ${choice.headEpoch}`;
  return choice.plans
    .map(({ base, headEpoch, isProven }) => `${base.kind} ${base.epoch} to ${headEpoch}${isProven ? "" : " unproven"}`)
    .join(", ");
}

test.each([
  ["nothing", "", "empty"],
  ["an init that stopped after epoch 0's WAL", "0", "wal 0 to 0"],
  ["a fresh cluster", "0 s0", "wal 0 to 0, snapshot 0 to 0 unproven"],
  ["all epochs from the first", "0-5", "wal 0 to 5"],
  [
    "the newest snapshot first, older ones for the case of damage",
    "0-9 s0 s5",
    "snapshot 5 to 9, snapshot 0 to 9, wal 0 to 9",
  ],
  ["trimmed below the snapshot", "5-9 s5", "snapshot 5 to 9"],
  ["the snapshot's own WAL is gone: it is not needed", "6-9 s5", "snapshot 5 to 9"],
  [
    "an unproven snapshot, which no later epoch confirms, comes last",
    "5-9 s5 s9",
    "snapshot 5 to 9, snapshot 9 to 9 unproven",
  ],
  ["an unproven snapshot alone", "s9", "snapshot 9 to 9 unproven"],
  ["a hole after a snapshot: it cannot be gone on from", "0-5 s5 7-9", "no base in 0 to 9"],
  ["a hole, and a snapshot above it", "0-5 s5 7-9 s7", "snapshot 7 to 9"],
  ["an orphan epoch below a gap, created again by a paused leader", "3 20-25 s20", "snapshot 20 to 25"],
  ["orphan epoch 0 below a gap is no base", "0 20-25 s20", "snapshot 20 to 25"],
  ["the listing began too late", "20-25", "no base in 20 to 25"],
  ["a snapshot newer than every WAL", "0-5 s9", "snapshot 9 to 9 unproven"],
])("%s", (_name, objects, plans) => {
  expect(choiceText(objects)).toBe(plans);
});

test("the order of the listing and packs do not matter", () => {
  const objects: ParsedKey[] = [...listing("5-9 s5 s9 s3 0"), { kind: "pack", epoch: 100, fromEpoch: 0 }];
  const expected = chooseBootstrap(listing("0 s3 s5 5-9 s9"));
  const random = seededRandom(1);
  for (let round = 0; round < 50; round++) {
    objects.sort(() => random.fraction() - 0.5);
    expect(chooseBootstrap(objects)).toEqual(expected);
  }
});

test("every plan can be carried out: all WALs after its base up to the head are listed (seeded)", () => {
  const random = seededRandom(2);
  for (let round = 0; round < 2_000; round++) {
    const objects = listing("0-12 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10").filter(
      ({ kind }) => random.fraction() < (kind === "wal" ? 0.85 : 0.3),
    );
    const choice = chooseBootstrap(objects);
    if (choice.type !== "plans") continue;
    const has = (kind: string, epoch: number) =>
      objects.some((object) => object.kind === kind && object.epoch === epoch);
    for (const { base, headEpoch } of choice.plans) {
      expect(has(base.kind, base.epoch)).toBe(true);
      expect(headEpoch).toBe(Math.max(...objects.map(({ epoch }) => epoch)));
      for (let epoch = base.epoch + 1; epoch <= headEpoch; epoch++) expect(has("wal", epoch)).toBe(true);
    }
  }
});

test("P10: a listing of 300 000 objects is decided", () => {
  expect(choiceText("0-300000 s0")).toBe("snapshot 0 to 300000, wal 0 to 300000");
});

test.each([
  ["none", []],
  ["next", [8]],
  ["next", [8, 9, 10]],
  ["hole", [9]],
  ["hole", [8, 10]],
  ["hole", [20, 21]],
] as const)("later epochs say %s: %j", (judgement, later) => {
  expect(judgeLaterEpochs(7, later)).toBe(judgement);
});
