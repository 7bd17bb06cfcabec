/** Whatever happened to the objects of a history: what is restored is exactly what was, or there is an error. */
import { describe, expect, it } from "vitest";
import type { LogEvent } from "../../src/base/log.ts";
import { parseClusterOptions } from "../../src/config.ts";
import { ClusterError, LittleBigCluster, type ObjectStore, type VerifyReport } from "../../src/mod.ts";
import { restoreReplica } from "../../src/history/past.ts";
import { sha256Hex } from "../../src/platform/system.ts";
import { below, damageOne, type RandomHistory, randomHistory, storeOf } from "../support/random-history.ts";
import { seededRandom } from "../support/seeded-random.ts";

const SEED = Number(process.env["LBC_SEED"] ?? 1);
const HISTORIES = Number(process.env["LBC_HISTORIES"] ?? 5);
const ROUNDS = Number(process.env["LBC_ROUNDS"] ?? 12);
const LOOKS = 14;

interface Outcome {
  readonly epoch: number;
  readonly state: string;
  readonly events: readonly LogEvent[];
}

/** What a restore gives; an error that is none of ours is passed on. */
async function outcomeOf(store: ObjectStore, epoch: number | undefined): Promise<Outcome | ClusterError> {
  const events: LogEvent[] = [];
  const settings = parseClusterOptions({ id: "test", store });
  try {
    const replica = await restoreReplica({ settings, store, log: (event) => events.push(event) }, epoch);
    const pin = replica.state.image.pin();
    const state = sha256Hex(pin.copy(0, pin.byteLength));
    const outcome = { epoch: replica.epoch, state, events };
    replica.close();
    return outcome;
  } catch (error) {
    if (error instanceof ClusterError) return error;
    throw error;
  }
}

function isLost({ from, lost }: VerifyReport, epoch: number): boolean {
  return epoch < from || lost.some(({ first, last }) => first <= epoch && epoch <= last);
}

async function newestWal(store: ObjectStore, states: readonly string[]): Promise<number> {
  for (let epoch = states.length + 5; ; epoch--)
    if ((await store.head(`.lbc/${String(epoch).padStart(20, "0")}.wal`)) !== undefined) return epoch;
}

const histories = Array.from({ length: HISTORIES }, (_, index) => index);

describe.each(histories)("history %i", (index) => {
  let history: RandomHistory;
  const random = seededRandom(1000 * SEED + index);

  it("is written", async () => {
    history = await randomHistory(random, index === 0 ? 1100 : 90 + below(random, 160));
  }, 60_000);

  it("is restored to every epoch when nothing happened to it", async () => {
    const store = await storeOf(history.objects);
    const newest = history.states.length - 1;
    for (let look = 0; look < LOOKS; look++) {
      const epoch = look === 0 ? undefined : below(random, newest + 1);
      const outcome = await outcomeOf(store, epoch);
      expect(outcome).toMatchObject({ epoch: epoch ?? newest, state: history.states[epoch ?? newest] });
    }
    expect(await new LittleBigCluster({ id: "test", store }).verify()).toMatchObject({ isRestorable: true, lost: [] });
  }, 60_000);

  it.each(Array.from({ length: ROUNDS }, (_, round) => round))("damage %i", async (round) => {
    const store = await storeOf(history.objects);
    const newest = history.states.length - 1;
    const damage: string[] = [];
    for (let count = 1 + below(random, 1 + round); count > 0; count--) damage.push(await damageOne(store, random));
    const what = damage.join("\n");
    const report = await new LittleBigCluster({ id: "test", store }).verify().catch((error: unknown) => {
      if (error instanceof ClusterError) return undefined;
      throw error;
    });
    for (let look = 0; look < LOOKS; look++) {
      const epoch = below(random, newest + 1);
      const outcome = await outcomeOf(store, epoch);
      if (!(outcome instanceof ClusterError)) expect(outcome, what).toMatchObject({ epoch, state: history.states[epoch] });
      else if (report !== undefined && epoch <= report.to)
        expect(isLost(report, epoch), `${epoch} of ${report.from} to ${report.to}: ${outcome.message}, lost ${JSON.stringify(report.lost)}\n${what}`).toBe(true);
    }
    const joined = await outcomeOf(store, undefined);
    if (joined instanceof ClusterError) return;
    expect(joined.epoch, what).toBeGreaterThanOrEqual(await newestWal(store, history.states));
    expect(joined.state, what).toBe(history.states[joined.epoch]);
  }, 60_000);
});
