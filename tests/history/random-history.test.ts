/** Whatever happened to the objects of a history: what is restored is exactly what was, or there is an error. */
import process from "node:process";
import { describe, expect, it } from "vitest";
import type { LogEvent } from "../../src/base/log.ts";
import type { Random } from "../../src/base/random.ts";
import { parseClusterOptions } from "../../src/config.ts";
import { walKey } from "../../src/format/keys.ts";
import { restoreReplica } from "../../src/history/past.ts";
import { ClusterError, LittleBigCluster, type ObjectStore, type VerifyReport } from "../../src/mod.ts";
import { sha256Hex } from "../../src/platform/system.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { below, damageOne, oneOf, type RandomHistory, randomHistory, storeOf } from "../support/random-history.ts";

/** Others are tried by hand: `LBC_SEED=7 npx vitest run tests/history/random-history.test.ts`. */
const SEED = Number(process.env["LBC_SEED"] ?? 1);
const HISTORIES = 5;
const ROUNDS = 12;
const LOOKS = 12;
/** One history is long enough for a pack of packs. */
const LONG_EPOCHS = 1100;

interface Outcome {
  readonly epoch: number;
  readonly state: string;
}

/** What a restore gives; an error that is none of ours is passed on. */
async function outcomeOf(store: ObjectStore, epoch: number | undefined): Promise<Outcome | ClusterError> {
  const settings = parseClusterOptions({ id: "test", store });
  const events: LogEvent[] = [];
  try {
    const replica = await restoreReplica({ settings, store, log: (event) => events.push(event) }, epoch);
    try {
      const pin = replica.state.image.pin();
      return { epoch: replica.epoch, state: sha256Hex(pin.copy(0, pin.byteLength)) };
    } finally {
      replica.close();
    }
  } catch (error) {
    if (error instanceof ClusterError) return error;
    throw error;
  }
}

async function verified(store: ObjectStore, repair: boolean): Promise<VerifyReport | undefined> {
  try {
    return await new LittleBigCluster({ id: "test", store }).verify({ repair });
  } catch (error) {
    if (error instanceof ClusterError) return undefined;
    throw error;
  }
}

function isClaimed(report: VerifyReport | undefined, epoch: number): boolean {
  if (report === undefined || epoch < report.from || epoch > report.to) return false;
  return !report.lost.some(({ first, last }) => first <= epoch && epoch <= last);
}

/** Epochs around what was damaged, and others. */
function epochsToLookAt(damage: string, newest: number, random: Random): number[] {
  const named = [...damage.matchAll(/\d{20}/g)].map(([digits]) => Number(digits));
  const near = named.flatMap((epoch) => [epoch - 1, epoch, epoch + 1]).filter((epoch) => epoch >= 0 && epoch <= newest);
  const some = Array.from({ length: LOOKS }, () =>
    near.length > 0 && random.fraction() < 0.7 ? oneOf(random, near) : below(random, newest + 1),
  );
  return [...new Set(some)];
}

async function newestWal(store: ObjectStore, highest: number): Promise<number> {
  for (let epoch = highest; ; epoch--) if ((await store.head(walKey(epoch))) !== undefined) return epoch;
}

describe.each(Array.from({ length: HISTORIES }, (_, index) => index))("history %i", (index) => {
  const random = new SeededRandom(1000 * SEED + index);
  let history: RandomHistory;

  it("is written, and every epoch of it can be restored", async () => {
    history = await randomHistory(random, index === 0 ? LONG_EPOCHS : 90 + below(random, 160));
    const store = await storeOf(history.objects);
    const newest = history.states.length - 1;
    for (let look = 0; look < LOOKS; look++) {
      const epoch = look === 0 ? undefined : below(random, newest + 1);
      const outcome = await outcomeOf(store, epoch);
      expect(outcome).toMatchObject({ epoch: epoch ?? newest, state: history.states[epoch ?? newest] });
    }
    const lostNothing = { to: newest, lost: [], isRestorable: true };
    expect(await verified(store, false)).toMatchObject(lostNothing);
  }, 60_000);

  it.each(Array.from({ length: ROUNDS }, (_, round) => round))(
    "damage %i",
    async (round) => {
      const store = await storeOf(history.objects);
      const newest = history.states.length - 1;
      const damage: string[] = [];
      for (let count = 1 + below(random, 1 + round); count > 0; count--) damage.push(await damageOne(store, random));
      const report = await verified(store, false);
      const what = `${damage.join("\n")}\nof ${report?.from} to ${report?.to} lost: ${JSON.stringify(report?.lost)}`;
      const opened: number[] = [];
      for (const epoch of epochsToLookAt(what, newest, random)) {
        const outcome = await outcomeOf(store, epoch);
        if (outcome instanceof ClusterError)
          expect(isClaimed(report, epoch), `${epoch}: ${outcome.message}\n${what}`).toBe(false);
        else {
          expect(outcome, `${epoch}\n${what}`).toEqual({ epoch, state: history.states[epoch] });
          opened.push(epoch);
        }
      }
      const joined = await outcomeOf(store, undefined);
      if (!(joined instanceof ClusterError)) {
        expect(joined.epoch, what).toBeGreaterThanOrEqual(await newestWal(store, newest));
        expect(joined.state, what).toBe(history.states[joined.epoch]);
      }
      // A repair takes nothing away.
      await verified(store, true);
      for (const epoch of opened)
        expect(await outcomeOf(store, epoch), `${epoch} after a repair\n${what}`).toMatchObject({
          epoch,
          state: history.states[epoch],
        });
    },
    60_000,
  );
});
