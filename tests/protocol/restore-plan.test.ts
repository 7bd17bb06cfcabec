import { expect, test } from "vitest";
import { judgeLaterEpochs } from "../../src/protocol/later-epochs.ts";
import { type HistoryObjects, newestEpoch, planRestore } from "../../src/protocol/restore-plan.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";

const WAL_BYTES = 8000;

/** Objects from text: `3` is a WAL, `s3` a snapshot, `5-9` WALs, `p0-64` a pack, `p0-64:9000` one of that size. */
function objectsOf(text: string): HistoryObjects & { snapshots: number[]; wals: Map<number, number> } {
  const snapshots: number[] = [];
  const wals = new Map<number, number>();
  const packs: { from: number; to: number; size: number }[] = [];
  for (const word of text.split(" ").filter(Boolean)) {
    const [from = 0, to = from, size = 20_000] = word.replace(/^[sp]/, "").split(/[-:]/).map(Number);
    if (word.startsWith("s")) snapshots.push(from);
    else if (word.startsWith("p")) packs.push({ from, to, size });
    else for (let epoch = from; epoch <= to; epoch++) wals.set(epoch, WAL_BYTES);
  }
  return { snapshots, wals, packs };
}

function choiceText(text: string, upTo?: number): string {
  const choice = planRestore(objectsOf(text), upTo);
  if (choice.type === "empty") return "empty";
  if (choice.type === "noWay") return `no way to ${choice.target}`;
  return [...choice.plans]
    .map(({ base, target, isProven }) => `${base.kind} ${base.epoch} to ${target}${isProven ? "" : " unproven"}`)
    .join(", ");
}

/** The steps of the best plan: `w5`, `p0-64`. */
function stepsText(text: string, upTo?: number): string {
  const choice = planRestore(objectsOf(text), upTo);
  if (choice.type !== "plans") return choice.type;
  const steps = [...choice.plans][0]?.steps ?? [];
  return steps.map((step) => (step.kind === "wal" ? `w${step.epoch}` : `p${step.from}-${step.epoch}`)).join(" ");
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
  ["a hole after a snapshot: it cannot be gone on from", "0-5 s5 7-9", "no way to 9"],
  ["a hole, and a snapshot above it", "0-5 s5 7-9 s7", "snapshot 7 to 9"],
  ["a hole that a pack leads over", "s0 1-5 7-9 p0-8", "snapshot 0 to 9"],
  ["an orphan epoch below a gap, created again by a paused leader", "3 20-25 s20", "snapshot 20 to 25"],
  ["orphan epoch 0 below a gap is no base", "0 20-25 s20", "snapshot 20 to 25"],
  ["the listing began too late", "20-25", "no way to 25"],
  ["a snapshot newer than every WAL", "0-5 s9", "snapshot 9 to 9 unproven"],
  ["a pack that ends at the newest epoch, whose WAL is lost", "s0 1-3 p0-4", "snapshot 0 to 4 unproven"],
])("%s", (_name, objects, plans) => {
  expect(choiceText(objects)).toBe(plans);
});

test.each([
  ["WALs", "s0 1-3", undefined, "w1 w2 w3"],
  ["packs, then WALs", "s0 1-10 p0-4 p4-8", undefined, "p0-4 p4-8 w9 w10"],
  ["the longest pack", "s0 1-20 p0-4 p4-8 p8-12 p12-16 p0-16", undefined, "p0-16 w17 w18 w19 w20"],
  ["a pack that begins before the snapshot", "s2 3-10 p0-8", undefined, "p0-8 w9 w10"],
  ["not one that is dearer than what it replaces", "s0 1-10 p0-8:900000", undefined, "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10"],
  [
    "shorter packs if they are cheaper than one that begins too early",
    "s12 13-17 p0-16:900000 p12-16:20000",
    undefined,
    "p12-16 w17",
  ],
  ["never a pack up to the newest epoch: nothing proves it yet", "s0 1-8 p0-8", undefined, "w1 w2 w3 w4 w5 w6 w7 w8"],
  ["an earlier epoch, which the next one proves: packs up to it", "s0 1-9 p0-8", 8, "p0-8"],
  ["an earlier epoch: no pack beyond it", "s0 1-9 p0-8", 7, "w1 w2 w3 w4 w5 w6 w7"],
  ["an earlier epoch: not the snapshot after it", "s0 1-9 s5", 3, "w1 w2 w3"],
  ["an epoch that has a snapshot: nothing", "s0 1-9 s5", 5, ""],
])("what is read: %s", (_name, objects, upTo, steps) => {
  expect(stepsText(objects, upTo)).toBe(steps);
});

test("an epoch that is not there yet: as far as there is", () => {
  expect(choiceText("s0 1-9", 12)).toBe("snapshot 0 to 9");
});

test("every plan can be carried out, whatever is missing, and leads to the newest epoch (seeded)", () => {
  const random = new SeededRandom(2);
  let withPacks = 0;
  for (let round = 0; round < 2_000; round++) {
    const objects = objectsOf("0-12 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 p0-4 p4-8 p8-12 p0-8");
    const snapshots = objects.snapshots.filter(() => random.fraction() < 0.3);
    const wals = new Map([...objects.wals].filter(() => random.fraction() < 0.85));
    const packs = objects.packs.filter(() => random.fraction() < 0.5);
    const choice = planRestore({ snapshots, wals, packs });
    if (choice.type !== "plans") continue;
    for (const { base, steps, target } of choice.plans) {
      expect(base.kind === "wal" ? wals.has(0) : snapshots.includes(base.epoch)).toBe(true);
      expect(target).toBe(newestEpoch({ snapshots, wals, packs }));
      let epoch = base.epoch;
      for (const step of steps) {
        if (step.kind === "wal") {
          expect(wals.has(step.epoch)).toBe(true);
          expect(step.epoch).toBe(epoch + 1);
        } else {
          withPacks++;
          expect(packs).toContainEqual({ from: step.from, to: step.epoch, size: step.size });
          expect(step.from).toBeLessThanOrEqual(epoch);
          expect(step.epoch).toBeGreaterThan(epoch);
        }
        epoch = step.epoch;
      }
      expect(epoch).toBe(target);
    }
  }
  expect(withPacks).toBeGreaterThan(100);
});

test("P10: the number of snapshots does not multiply the work, nor do names that mean nothing", () => {
  const { wals } = objectsOf("1-300000");
  const snapshots = Array.from({ length: 10_000 }, (_, index) => 30 * index);
  const choice = planRestore({ snapshots, wals, packs: [] });
  if (choice.type !== "plans") throw new Error(choice.type);
  const [first, second] = choice.plans;
  expect([first?.base.epoch, second?.base.epoch]).toEqual([299_970, 299_940]);
  // A hole near the end: no base leads there.
  expect(
    planRestore({ snapshots, wals: new Map([...wals].filter(([epoch]) => epoch !== 299_999)), packs: [] }),
  ).toEqual({ type: "noWay", target: 300_000 });
  expect(choiceText(`1-9 s0 s${Number.MAX_SAFE_INTEGER}`)).toBe(
    `snapshot ${Number.MAX_SAFE_INTEGER} to ${Number.MAX_SAFE_INTEGER} unproven`,
  );
}, 5000);

test.each([
  ["a WAL ends the way, and tells of the pack before it", "s0 1-9 p0-8", 9, true],
  ["the epoch after the target tells", "s0 1-9 p0-8", 8, true],
  ["nothing tells of the snapshot", "s0 1-5 s5 7-9 p0-8", 5, true],
  ["the epoch after a pack is missing: its last WAL is read instead", "s0 1-8 10 p0-8", 8, true],
  ["nothing tells of a pack", "s0 1-4 6 10 p0-8", 8, false],
])("proof: %s", (_name, text, upTo, isProven) => {
  const choice = planRestore(objectsOf(text), upTo);
  expect(choice.type === "plans" && [...choice.plans][0]?.isProven).toBe(isProven);
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
