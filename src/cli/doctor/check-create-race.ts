/** Whether create-if-absent is atomic: the one thing that leader election rests on. */
import { RACE_CREATORS, raceToCreate } from "../../store/atomic-create-probe.ts";
import type { Check, CheckParts } from "./check.ts";
import { failedFinding } from "./failure.ts";
import type { DoctorFinding } from "./finding.ts";

const RACES = 20;

/** Races that a store may leave without a result, by time-outs and the like, before the check gives up. */
const UNPROVEN_MAX = 5;

export const createRaceCheck: Check = { name: "create_race", verdictIfFailed: "bad", run: race };

async function race(parts: CheckParts): Promise<readonly DoctorFinding[]> {
  const { store, scratch, signal, onStep } = parts;
  let unproven = 0;
  for (let proven = 0, round = 0; proven < RACES; round++) {
    onStep(proven, RACES);
    const result = await raceToCreate(store, scratch.key(`race/${round}`), signal);
    if (result.verdict === "not_atomic") return [notAtomic(result.found, proven)];
    if (result.verdict === "atomic") {
      proven++;
      continue;
    }
    signal.throwIfAborted();
    unproven++;
    if (unproven > UNPROVEN_MAX) return [notProven(result.reason, proven)];
  }
  const found = `${RACES} races of ${RACE_CREATORS} creators, each with exactly one winner whose bytes are kept`;
  const repeated = unproven === 0 ? "" : `; ${unproven} more were left without a result by failed requests`;
  const measured = { races: RACES, creators: RACE_CREATORS, proven: RACES, unproven };
  return [{ check: "create_race", verdict: "ok", found: found + repeated, measured }];
}

function notAtomic(found: string, proven: number): DoctorFinding {
  return {
    check: "create_race",
    verdict: "bad",
    found: `race ${proven + 1} of ${RACES}: ${found}`,
    meaning: "two nodes can both believe that they lead and acknowledge writes that one of them then loses",
    advice: "use a store with an atomic create-if-absent (If-None-Match: *); lbc init refuses this one",
    measured: { races: RACES, creators: RACE_CREATORS, proven, found },
  };
}

function notProven(reason: unknown, proven: number): DoctorFinding {
  const meaning = `only ${proven} of ${RACES} races had a result: it is not proven that create-if-absent is atomic`;
  const finding = failedFinding("create_race", "bad", reason, meaning);
  return { ...finding, measured: { ...finding.measured, races: RACES, creators: RACE_CREATORS, proven } };
}
