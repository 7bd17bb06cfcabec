/** What the store and the way to it are like at a moment: its usual slowness, and the faults that are under way. */
import type { Fault } from "./fault-plan.ts";
import type { SimulatedProcess } from "./process.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { CallFate, StoreOperation, Weather } from "./store.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** A store's usual slowness. */
export interface StoreSpeed {
  /** A request's way there and an answer's back, each at the least. */
  readonly leastMs: number;
  /** What chance adds on average. */
  readonly jitterMs: number;
  /** How many calls take far longer. */
  readonly tailRate: number;
  /** How much longer these take. */
  readonly tailFactor: number;
}

/** A disk's, or that of a store near by. */
export const LOCAL_STORE: StoreSpeed = { leastMs: 0.5, jitterMs: 1, tailRate: 0.01, tailFactor: 50 };
/** Some 20 ms for a call. */
export const REMOTE_STORE: StoreSpeed = { leastMs: 8, jitterMs: 10, tailRate: 0.01, tailFactor: 20 };

type StoreFault = Extract<
  Fault,
  {
    kind:
      | "outage"
      | "storeless"
      | "slowStore"
      | "slowBodies"
      | "throttle"
      | "refusals"
      | "lostRequests"
      | "lostAnswers"
      | "damagedReads"
      | "lateLandings";
  }
>;

const REFUSAL_STATUSES = [409, 429, 503, 500] as const;

export function isStoreFault(fault: Fault): fault is StoreFault {
  return STORE_KINDS.has(fault.kind);
}

const STORE_KINDS: ReadonlySet<string> = new Set<StoreFault["kind"]>([
  "outage",
  "storeless",
  "slowStore",
  "slowBodies",
  "throttle",
  "refusals",
  "lostRequests",
  "lostAnswers",
  "damagedReads",
  "lateLandings",
]);

export class StoreWeather {
  readonly #random: SeededRandom;
  readonly #speed: StoreSpeed;
  readonly #active = new Set<StoreFault>();
  readonly #time: VirtualTime;
  readonly #hostOf: (member: number) => string;
  /** Calls in this second. */
  readonly #calls = { second: 0, count: 0 };

  constructor(random: SeededRandom, speed: StoreSpeed, time: VirtualTime, hostOf: (member: number) => string) {
    this.#random = random;
    this.#speed = speed;
    this.#time = time;
    this.#hostOf = hostOf;
  }

  begin(fault: StoreFault): void {
    this.#active.add(fault);
  }

  end(fault: StoreFault): void {
    this.#active.delete(fault);
  }

  readonly fateOf: Weather = (operation, _key, from) => {
    let fate: CallFate = { thereMs: this.#delayMs(), backMs: this.#delayMs() };
    this.#countCall();
    let lateMs = 0;
    for (const fault of this.#active) {
      if (fault.kind === "lateLandings") lateMs += this.#lateMs(fault, operation);
      else fate = this.#worse(fate, fault, operation, from);
    }
    return { ...fate, thereMs: fate.thereMs + lateMs };
  };

  #countCall(): void {
    const second = Math.floor(this.#time.nowMs / 1000);
    if (this.#calls.second !== second) Object.assign(this.#calls, { second, count: 0 });
    this.#calls.count++;
  }

  #lateMs({ rate, landMsMax }: Extract<StoreFault, { kind: "lateLandings" }>, operation: StoreOperation): number {
    const [dice, share] = [this.#random.fraction(), this.#random.fraction()];
    return operation === "put" && dice < rate ? share * landMsMax : 0;
  }

  #worse(
    fate: CallFate,
    fault: Exclude<StoreFault, { kind: "lateLandings" }>,
    operation: StoreOperation,
    from: SimulatedProcess,
  ): CallFate {
    const random = this.#random;
    // Drawn whether it is needed or not: so one fault does not change the fate that another decides.
    const [dice, share] = [random.fraction(), random.fraction()];
    switch (fault.kind) {
      case "outage":
        return lost(fate, share);
      case "storeless":
        return from.host === this.#hostOf(fault.member) ? lost(fate, share) : fate;
      case "slowStore":
        return { ...fate, thereMs: fate.thereMs * fault.factor, backMs: fate.backMs * fault.factor };
      case "slowBodies":
        return { ...fate, bytesPerMs: Math.min(fault.bytesPerMs, fate.bytesPerMs ?? Number.POSITIVE_INFINITY) };
      case "throttle":
        return this.#calls.count > fault.perSecond ? { ...fate, refused: { status: 503, after: false } } : fate;
      case "refusals": {
        const status = REFUSAL_STATUSES[Math.floor(share * REFUSAL_STATUSES.length)] as number;
        return dice < fault.rate
          ? { ...fate, refused: { status, after: status >= 500 && (share * 100) % 1 < 0.5 } }
          : fate;
      }
      case "lostRequests":
        return dice < fault.rate ? { ...fate, isLost: true } : fate;
      case "lostAnswers":
        return dice < fault.rate ? { ...fate, isAnswerLost: true } : fate;
      case "damagedReads": {
        const kind = share < 0.5 ? "truncate" : "flip";
        return operation === "get" && dice < fault.rate ? { ...fate, damage: { kind, share: (share * 2) % 1 } } : fate;
      }
    }
  }

  #delayMs(): number {
    const { leastMs, jitterMs, tailRate, tailFactor } = this.#speed;
    const delayMs = leastMs + this.#random.exponential(jitterMs);
    return this.#random.chance(tailRate) ? delayMs * tailFactor : delayMs;
  }
}

/** In an outage the request or its answer is lost, so it may have taken effect. */
function lost(fate: CallFate, share: number): CallFate {
  return share < 0.8 ? { ...fate, isLost: true } : { ...fate, isAnswerLost: true };
}
