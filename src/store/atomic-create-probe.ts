import { equalBytes } from "../base/bytes.ts";
import { isClusterError } from "../errors.ts";
import type { ObjectStore } from "./store.ts";

/** Enough that a store that asks first and writes then is caught in almost every race. */
export const RACE_CREATORS = 32;

/** How a race ended. */
export type RaceResult =
  /** Exactly one creator won, the others were told so. */
  | { readonly verdict: "atomic" }
  /** What the store did that an atomic create never does. */
  | { readonly verdict: "not_atomic"; readonly found: string }
  /** Some creators got no answer, so it says nothing about the store. */
  | { readonly verdict: "unproven"; readonly reason: unknown };

/** Answers that leave no doubt that this creator created nothing: some stores turn away who comes at the same time. */
const TURNED_AWAY_CODES = new Set(["store_conflict", "store_throttled"]);

/**
 * Races concurrent creators of one new key on the store itself. Leader election
 * rests on it that exactly one of them wins (docs/architecture.md §1, P2), and
 * stores that take `If-None-Match` for granted and ignore it are common.
 *
 * Who calls it deletes the key. What the race itself runs into is in its result.
 */
export async function raceToCreate(
  store: ObjectStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<RaceResult> {
  const bodies = Array.from({ length: RACE_CREATORS }, (_, creator) =>
    new TextEncoder().encode(`creator ${creator} ${key}`),
  );
  const answers = await Promise.allSettled(bodies.map((body) => store.put(key, body, { ifAbsent: true, signal })));
  const winners = answers.flatMap((answer, creator) => (isAnswer(answer, "created") ? [creator] : []));
  if (winners.length > 1) {
    return notAtomic(
      `${winners.length} of ${RACE_CREATORS} concurrent creators of one key were told that they created it`,
    );
  }
  const unanswered = answers.find((answer) => answer.status === "rejected" && !isTurnedAway(answer.reason));
  const [winner] = winners;
  if (winner === undefined) {
    const failed = unanswered ?? answers.find((answer) => answer.status === "rejected");
    if (failed?.status === "rejected") return { verdict: "unproven", reason: failed.reason };
    return notAtomic(`none of ${RACE_CREATORS} concurrent creators of a new key was told that it created it`);
  }
  try {
    const stored = await store.get(key, { signal });
    if (stored === undefined || !equalBytes(stored.bytes, bodies[winner] as Uint8Array)) {
      return notAtomic("the object does not hold the bytes of the creator that was told that it created it");
    }
    if (unanswered?.status === "rejected") return { verdict: "unproven", reason: unanswered.reason };
    const isRefusalSeen = answers.some((answer) => isAnswer(answer, "exists"));
    return isRefusalSeen ? { verdict: "atomic" } : await comeLate(store, key, signal);
  } catch (reason) {
    return { verdict: "unproven", reason };
  }
}

/** Where everyone else was turned away for being too many, nobody has yet met the object that is there. */
async function comeLate(store: ObjectStore, key: string, signal: AbortSignal | undefined): Promise<RaceResult> {
  const outcome = await store.put(key, new TextEncoder().encode(`late ${key}`), { ifAbsent: true, signal });
  return outcome === "exists" ? { verdict: "atomic" } : notAtomic("an object that was there was created a second time");
}

function notAtomic(found: string): RaceResult {
  return { verdict: "not_atomic", found };
}

function isAnswer(answer: PromiseSettledResult<string>, outcome: string): boolean {
  return answer.status === "fulfilled" && answer.value === outcome;
}

function isTurnedAway(reason: unknown): boolean {
  return isClusterError(reason) && TURNED_AWAY_CODES.has(reason.code);
}
