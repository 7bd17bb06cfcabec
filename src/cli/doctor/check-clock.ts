/** The store's clock against ours, and against itself. */
import { AUTH_WINDOW_MS } from "../../net/auth.ts";
import { type Check, type CheckParts, SMALL_BYTES } from "./check.ts";
import type { DoctorFinding } from "./finding.ts";

const SAMPLES = 5;

/** Stores tell the time in whole seconds. */
const RESOLUTION_MS = 1000;

/** Less than that is shown as no difference. */
const DIFFERENCE_SHOWN_MS = 100;

/** What a node that joins allows for when it judges the age of the newest epoch (docs/architecture.md §5, rule 3). */
const AGE_ERROR_MAX_MS = 2000;

/** The clocks at one request. */
interface Sample {
  /** The store's clock minus ours. */
  readonly aheadMs: number;
  /** How wrong that may be. */
  readonly errorMs: number;
  /** How old the store says an object is, minus how old it is. */
  readonly ageErrorMs: number;
}

export const clockCheck: Check = { name: "clock", verdictIfFailed: "warning", run: compareClocks };

async function compareClocks(parts: CheckParts): Promise<readonly DoctorFinding[]> {
  const samples: Sample[] = [];
  for (let index = 0; index < SAMPLES; index++) {
    parts.onStep(index, SAMPLES);
    const sample = await measure(parts, index);
    if (sample !== undefined) samples.push(sample);
  }
  const best = samples.sort((a, b) => a.errorMs - b.errorMs)[0];
  if (best === undefined) {
    return [{ check: "clock", verdict: "info", found: "not measured: the objects were not there", measured: {} }];
  }
  return [againstOurs(best), ...againstItself(best)];
}

async function measure({ store, scratch, clock, signal }: CheckParts, index: number): Promise<Sample | undefined> {
  const key = scratch.key(`clock/${index}`);
  const writtenMs = clock.monotonicMs();
  await store.put(key, new Uint8Array(SMALL_BYTES), { signal });
  const askedMs = clock.monotonicMs();
  const askedWallMs = clock.wallMs();
  const stat = await store.head(key, { signal });
  const answeredMs = clock.monotonicMs();
  if (stat === undefined) return undefined;
  const ourNowMs = askedWallMs + (answeredMs - askedMs) / 2;
  // A store that tells whole seconds has cut off between none and one of them.
  const isWholeSecond = stat.nowMs % RESOLUTION_MS === 0;
  const storeNowMs = stat.nowMs + (isWholeSecond ? RESOLUTION_MS / 2 : 0);
  const errorMs = (answeredMs - askedMs) / 2 + (isWholeSecond ? RESOLUTION_MS / 2 : 0);
  const toldAgeMs = stat.nowMs - stat.lastModifiedMs;
  // The object was written at some moment while the put ran.
  const [ageMinMs, ageMaxMs] = [0, answeredMs - writtenMs + RESOLUTION_MS];
  const ageErrorMs = toldAgeMs < ageMinMs ? toldAgeMs - ageMinMs : Math.max(0, toldAgeMs - ageMaxMs);
  return { aheadMs: storeNowMs - ourNowMs, errorMs, ageErrorMs };
}

function againstOurs({ aheadMs, errorMs }: Sample): DoctorFinding {
  const seconds = (ms: number) => `${(Math.abs(ms) / 1000).toFixed(1)} s`;
  const isSame = Math.abs(aheadMs) <= errorMs + DIFFERENCE_SHOWN_MS;
  const difference = isSame ? "agrees with" : `is ${seconds(aheadMs)} ${aheadMs > 0 ? "ahead of" : "behind"}`;
  const found = `the store's clock ${difference} this machine's (to within ${seconds(errorMs)})`;
  const measured = { aheadMs: Math.round(aheadMs), errorMs: Math.round(errorMs) };
  if (Math.abs(aheadMs) <= AUTH_WINDOW_MS + errorMs) return { check: "clock", verdict: "ok", found, measured };
  return {
    check: "clock",
    verdict: "warning",
    found,
    meaning:
      "no write is at risk, but nodes whose clocks differ by more than a minute refuse each other's requests, S3 refuses " +
      "requests that are signed 15 minutes off, and the times in the history are those of the leader's machine",
    advice: "set this machine's clock by NTP (chrony, systemd-timesyncd), and those of the other nodes",
    measured,
  };
}

function againstItself({ ageErrorMs }: Sample): readonly DoctorFinding[] {
  if (Math.abs(ageErrorMs) <= AGE_ERROR_MAX_MS) return [];
  const seconds = Math.round(Math.abs(ageErrorMs) / 1000);
  return [
    {
      check: "clock",
      verdict: "warning",
      found: `the store says that a new object is ${seconds} s ${ageErrorMs > 0 ? "older" : "younger"} than it is`,
      meaning:
        ageErrorMs > 0
          ? "a node that joins may take the newest epoch for abandoned and replace a leader that lives"
          : "a node that joins waits longer than it must before it replaces a leader that is gone",
      advice: "check that the machines of the store have the same time, and that nothing between changes Date headers",
      measured: { ageErrorMs: Math.round(ageErrorMs) },
    },
  ];
}
