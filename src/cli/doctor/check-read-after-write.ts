/** Whether a read sees what was written before it, by whichever way it comes. */
import { equalBytes } from "../../base/bytes.ts";
import type { ObjectStore } from "../../store/store.ts";
import type { Check, CheckParts } from "./check.ts";
import type { DoctorFinding } from "./finding.ts";

const ROUNDS = 20;

/** What is read, how often it was wrong, and what the first wrong answer was. */
interface Tally {
  stale: number;
  reads: number;
  first: string | undefined;
}

type Situation = "created" | "overwritten" | "deleted";

const SITUATIONS: Readonly<
  Record<Situation, Pick<DoctorFinding, "meaning" | "advice"> & { verdict: "bad" | "warning" }>
> = {
  created: {
    verdict: "bad",
    meaning: "a node can miss an epoch that is durable, and a lost answer cannot be resolved by reading back",
    advice: "use a store with strong read-after-write consistency, and no cache between it and the nodes",
  },
  overwritten: {
    verdict: "warning",
    meaning: "only the hints .last_snapshot and .last_vacuum are overwritten: joins read more than they need",
    advice: "look for a cache between this machine and the store",
  },
  deleted: {
    verdict: "warning",
    meaning: "a node that reads history which the retention deletes finds out later that it must start over",
    advice: "look for a cache between this machine and the store",
  },
};

export const readAfterWriteCheck: Check = { name: "read_after_write", verdictIfFailed: "bad", run: readBack };

async function readBack(parts: CheckParts): Promise<readonly DoctorFinding[]> {
  const { scratch, onStep } = parts;
  const tallies: Record<Situation, Tally> = { created: tally(), overwritten: tally(), deleted: tally() };
  for (let round = 0; round < ROUNDS; round++) {
    onStep(round, ROUNDS);
    await oneRound(parts, scratch.key(`reads/${round}`), round, tallies);
  }
  const stale = (Object.keys(SITUATIONS) as Situation[]).filter((situation) => tallies[situation].stale > 0);
  if (stale.length > 0) return stale.map((situation) => staleFinding(situation, tallies[situation]));
  const isApart = parts.otherHandle !== parts.store;
  const reads = Object.values(tallies).reduce((sum, { reads: count }) => sum + count, 0);
  const through = isApart ? ", half of them through a second connection" : "";
  return [
    {
      check: "read_after_write",
      verdict: "ok",
      found: `${reads} reads right after a create, an overwrite or a delete saw it${through}`,
      measured: { rounds: ROUNDS, reads, secondHandle: isApart, stale: 0 },
    },
  ];
}

async function oneRound(
  parts: CheckParts,
  key: string,
  round: number,
  tallies: Record<Situation, Tally>,
): Promise<void> {
  const { store, signal } = parts;
  const [first, second] = [body(round, "first"), body(round, "second, which is longer")];
  // A follower asks for the next epoch before it is there: an answer that something remembers would hide it.
  for (const handle of handles(parts)) await handle.get(key, { signal });
  await store.put(key, first, { ifAbsent: true, signal });
  for (const handle of handles(parts)) await look(handle, key, first, signal, tallies.created);
  await store.put(key, second, { signal });
  for (const handle of handles(parts)) await look(handle, key, second, signal, tallies.overwritten);
  await store.delete(key, { signal });
  for (const handle of handles(parts)) await look(handle, key, undefined, signal, tallies.deleted);
}

async function look(
  handle: ObjectStore,
  key: string,
  expected: Uint8Array | undefined,
  signal: AbortSignal,
  counts: Tally,
): Promise<void> {
  const found = (await handle.get(key, { signal }))?.bytes;
  const size = (await handle.head(key, { signal }))?.size;
  counts.reads++;
  const isSame = expected === undefined || found === undefined ? found === expected : equalBytes(found, expected);
  if (isSame && size === expected?.length) return;
  counts.stale++;
  counts.first ??= isSame
    ? `its size is said to be ${size ?? "that of nothing"}, not ${expected?.length ?? "that of nothing"}`
    : `it ${found === undefined ? "was not there" : `had ${found.length} bytes of another state`}`;
}

function staleFinding(situation: Situation, { stale, reads, first }: Tally): DoctorFinding {
  return {
    check: "read_after_write",
    ...SITUATIONS[situation],
    found: `${stale} of ${reads} reads right after an object was ${situation} did not see that; the first time ${first}`,
    measured: { situation, reads, stale },
  };
}

function handles({ store, otherHandle }: CheckParts): readonly ObjectStore[] {
  return otherHandle === store ? [store] : [store, otherHandle];
}

function tally(): Tally {
  return { stale: 0, reads: 0, first: undefined };
}

function body(round: number, text: string): Uint8Array {
  return new TextEncoder().encode(`round ${round}: ${text}`);
}
