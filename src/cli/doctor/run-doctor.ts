/** Runs the checks one after the other, bounded in time and requests, and cleans up whatever happens. */
import { setMaxListeners } from "node:events";
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import { parseClusterOptions } from "../../config.ts";
import { ClusterError, isClusterError } from "../../errors.ts";
import { systemClock, systemRandom } from "../../platform/system.ts";
import { RACE_CREATORS } from "../../store/atomic-create-probe.ts";
import { withDeadline } from "../../store/deadline.ts";
import { MeteredStore, type RequestCounts, type RequestPrices, S3_STANDARD_PRICES } from "../../store/metered-store.ts";
import type { CreateInParts } from "../../store/s3-create-in-parts.ts";
import type { ObjectStore } from "../../store/store.ts";
import type { Check, CheckParts } from "./check.ts";
import { accessCheck } from "./check-access.ts";
import { clockCheck } from "./check-clock.ts";
import { createRaceCheck } from "./check-create-race.ts";
import { latencyCheck } from "./check-latency.ts";
import { listCheck } from "./check-list.ts";
import { partsCheck } from "./check-parts.ts";
import { readAfterWriteCheck } from "./check-read-after-write.ts";
import { costFinding } from "./cost.ts";
import { failedFinding } from "./failure.ts";
import { type CheckName, type DoctorFinding, type DoctorReport, worstVerdict } from "./finding.ts";
import { providerFinding } from "./providers.ts";
import { type LeftBehind, Scratch } from "./scratch.ts";

const CHECK_TIME_MAX_MS = 120_000;
const CLEANUP_TIME_MAX_MS = 30_000;

/** How long requests of a check that was given up may still run before what they wrote is deleted. */
const SETTLE_TIME_MAX_MS = 5000;

/** Calls at the same time, each with a few listeners at the signal: more than that would be a leak. */
const LISTENERS_MAX: number = 4 * RACE_CREATORS;

/** *Default* of {@link DoctorOptions.databaseBytes}. */
export const DATABASE_BYTES: number = 256 * 1024 * 1024;

/** How far the doctor has come. */
export interface DoctorProgress {
  readonly check: CheckName;
  readonly done: number;
  readonly total: number;
}

/** Options of {@link runDoctor}. */
export interface DoctorOptions {
  /** Ends it early; what was written is deleted before the reason is thrown. */
  readonly signal?: AbortSignal | undefined;
  /** The same store, opened a second time; *default* the first one for all. */
  readonly secondHandle?: ObjectStore | undefined;
  /** Of an S3 store: see `s3CreateInParts`. Without it uploads in parts are not tried. */
  readonly createInParts?: CreateInParts | undefined;
  /** *Default* {@link S3_STANDARD_PRICES}. */
  readonly prices?: RequestPrices | undefined;
  /** Whether more objects than a page of LIST has are written; *default* true. */
  readonly withManyKeys?: boolean | undefined;
  /** Size of the database whose snapshots the cost includes; *default* 256 MiB. */
  readonly databaseBytes?: number | undefined;
  readonly onProgress?: ((progress: DoctorProgress) => void) | undefined;
  /** Told what could not be deleted: there is no finding when the doctor ends early. */
  readonly onLeftBehind?: ((left: LeftBehind) => void) | undefined;
  /** *Default* the machine's clock. */
  readonly clock?: Clock | undefined;
  /** *Default* the machine's randomness. */
  readonly random?: Random | undefined;
}

/**
 * Finds out whether a store is good enough for a cluster: about 2 300 requests, most of them for the listing of many
 * keys and the race, and 20 MiB each way. Everything is below `.lbc/.doctor-<random>/`, where no cluster looks, and is gone
 * in the end.
 *
 * What the store answers never throws: it becomes a finding. A store that does not let us in has only that one.
 */
export async function* runDoctor(
  store: ObjectStore,
  options: DoctorOptions = {},
): AsyncGenerator<DoctorFinding, DoctorReport, void> {
  const doctor = new Doctor(store, options);
  const findings: DoctorFinding[] = [];
  for await (const finding of doctor.findings()) {
    findings.push(finding);
    yield finding;
  }
  return { store: store.url, verdict: worstVerdict(findings), findings, requests: doctor.requests() };
}

class Doctor {
  readonly #store: MeteredStore;
  readonly #secondHandle: MeteredStore | undefined;
  readonly #options: DoctorOptions;
  readonly #parts: Omit<CheckParts, "signal" | "onStep">;
  readonly #running = new Set<Promise<unknown>>();

  constructor(store: ObjectStore, options: DoctorOptions) {
    const { clock = systemClock, random = systemRandom, secondHandle } = options;
    this.#options = options;
    this.#store = new MeteredStore(store, { prices: options.prices });
    this.#secondHandle = secondHandle && new MeteredStore(secondHandle, { prices: options.prices });
    this.#parts = {
      store: this.#store,
      otherHandle: this.#secondHandle ?? this.#store,
      scratch: new Scratch(random),
      settings: parseClusterOptions({ id: "doctor", store }),
      clock,
      random,
    };
  }

  requests(): RequestCounts {
    const { requests, errors, bytesIn, bytesOut } = this.#store.snapshot().total;
    const second = this.#secondHandle?.snapshot().total;
    return {
      requests: requests + (second?.requests ?? 0),
      errors: errors + (second?.errors ?? 0),
      bytesIn: bytesIn + (second?.bytesIn ?? 0),
      bytesOut: bytesOut + (second?.bytesOut ?? 0),
    };
  }

  async *findings(): AsyncGenerator<DoctorFinding, void, void> {
    const { databaseBytes = DATABASE_BYTES, prices = S3_STANDARD_PRICES } = this.#options;
    const { settings, scratch } = this.#parts;
    yield providerFinding(this.#store.url);
    let left: LeftBehind | undefined;
    let isUsable = false;
    try {
      const access = await this.#run(accessCheck);
      yield* access;
      isUsable = access.every(({ verdict }) => verdict !== "bad");
      if (isUsable) yield* this.#checks();
    } finally {
      left = await this.#cleanUp();
    }
    // Of a store that does not let us in there is nothing else to say.
    if (isUsable) yield costFinding({ settings, prices, databaseBytes });
    if (isUsable || left !== undefined) yield cleanupFinding(left, scratch.prefix);
  }

  async *#checks(): AsyncGenerator<DoctorFinding, void, void> {
    const { withManyKeys = true, createInParts } = this.#options;
    const checks: readonly Check[] = [
      createRaceCheck,
      readAfterWriteCheck,
      listCheck(withManyKeys),
      partsCheck(createInParts),
      clockCheck,
      latencyCheck,
    ];
    for (const check of checks) yield* await this.#run(check);
  }

  async #run(check: Check): Promise<readonly DoctorFinding[]> {
    const { signal, onProgress } = this.#options;
    const onTimeout = () => {
      const text = `the check "${check.name}" was not done within ${CHECK_TIME_MAX_MS / 1000} s`;
      return new ClusterError("unavailable", "doctor_timeout", text, { timeoutMs: CHECK_TIME_MAX_MS });
    };
    const bounds = { clock: this.#parts.clock, timeoutMs: CHECK_TIME_MAX_MS, signal, onTimeout };
    const onStep = (done: number, total: number) => onProgress?.({ check: check.name, done, total });
    try {
      return await withDeadline(bounds, async ({ signal: ending }) => {
        setMaxListeners(LISTENERS_MAX, ending);
        return await this.#tracked(check.run({ ...this.#parts, signal: ending, onStep }));
      });
    } catch (error) {
      if (signal?.aborted || !isClusterError(error)) throw error;
      return [failedFinding(check.name, check.verdictIfFailed, error, "the check could not be finished")];
    }
  }

  /** Remembers work that may go on when nobody waits for it any more. */
  async #tracked<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }

  /** Not under the caller's signal: that may be why it ends. */
  async #cleanUp(): Promise<LeftBehind | undefined> {
    const { clock, scratch } = this.#parts;
    const settled = Promise.allSettled(this.#running);
    await withDeadline(bound(clock, SETTLE_TIME_MAX_MS), () => settled).catch(() => {});
    const { requests, errors } = this.#store.snapshot().put;
    if (requests === 0) return undefined;
    const isLateWriteLikely = errors > 0;
    const left = await withDeadline(bound(clock, CLEANUP_TIME_MAX_MS), ({ signal }) => {
      setMaxListeners(LISTENERS_MAX, signal);
      return scratch.clean(this.#store, clock, isLateWriteLikely, signal);
    }).catch((reason: unknown) => ({ prefix: scratch.prefix, keys: [], reason }));
    if (left !== undefined) this.#options.onLeftBehind?.(left);
    return left;
  }
}

function bound(clock: Clock, timeoutMs: number): Parameters<typeof withDeadline>[0] {
  const onTimeout = () => {
    const text = `cleaning up was not done within ${timeoutMs / 1000} s`;
    return new ClusterError("unavailable", "doctor_timeout", text, { timeoutMs });
  };
  return { clock, timeoutMs, signal: undefined, onTimeout };
}

function cleanupFinding(left: LeftBehind | undefined, prefix: string): DoctorFinding {
  if (left === undefined) {
    const found = `everything that the doctor wrote below ${prefix} is gone`;
    return { check: "cleanup", verdict: "ok", found, measured: { prefix, left: 0 } };
  }
  const reason = isClusterError(left.reason) ? `: ${left.reason.message}` : "";
  return {
    check: "cleanup",
    verdict: "warning",
    found: `what the doctor wrote below ${prefix} could not all be deleted${reason}`,
    meaning: "no cluster looks there; it only takes space",
    advice: `delete what is below ${prefix}`,
    measured: { prefix, left: left.keys.length },
  };
}
