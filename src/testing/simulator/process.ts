/** One run of a node: its clocks, its chance, and the power to stop it. */
import type { Cancel, Clock } from "../../base/clock.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { EventOwner, HeldEvent, VirtualTime } from "./virtual-time.ts";

/** When the simulated world begins, by a right wall clock. */
export const WALL_BEGIN_MS: number = Date.UTC(2026, 0, 1);

/** No timer fires early, not by a rounding either: who looks at the clock then would wait again, for nothing. */
const TIMER_LATE_MS = 0.001;

export interface ProcessOptions {
  /** Of the machine, e.g. `n1`; for people. */
  readonly name: string;
  /** Address of the machine, without a port. */
  readonly host: string;
  readonly time: VirtualTime;
  readonly random: SeededRandom;
  /** How fast its clocks run, 1 is right. */
  readonly clockRate?: number;
  /** How wrong its wall clock is, in milliseconds. */
  readonly wallOffsetMs?: number;
}

interface Timer {
  readonly run: () => void;
  dueMs: number;
  cancel: Cancel;
}

export class SimulatedProcess implements EventOwner {
  readonly name: string;
  readonly host: string;
  readonly random: SeededRandom;
  readonly clock: Clock;
  readonly #time: VirtualTime;
  readonly #clockRate: number;
  readonly #timers = new Set<Timer>();
  #timerPeak = 0;
  #held: HeldEvent[] = [];
  #state: "running" | "paused" | "ended" = "running";
  #wallOffsetMs: number;
  /** How long its monotonic clock stood still. */
  #suspendedMs = 0;
  #suspendedAtMs: number | undefined;
  #silentSinceMs: number | undefined;

  constructor({ name, host, time, random, clockRate = 1, wallOffsetMs = 0 }: ProcessOptions) {
    this.name = name;
    this.host = host;
    this.random = random;
    this.#time = time;
    this.#clockRate = clockRate;
    this.#wallOffsetMs = wallOffsetMs;
    this.clock = {
      monotonicMs: () => this.#monotonicMs(),
      wallMs: () => WALL_BEGIN_MS + this.#time.nowMs * this.#clockRate + this.#wallOffsetMs,
      after: (delayMs, fn) => this.#after(delayMs, fn),
      soon: (fn) => this.#time.schedule(0, fn, { owner: this }),
    };
  }

  get state(): "running" | "paused" | "ended" {
    return this.#state;
  }

  get isPaused(): boolean {
    return this.#state === "paused";
  }

  /** Timers that wait. */
  get timerCount(): number {
    return this.#timers.size;
  }

  /** The most that ever waited at a time. */
  get timerPeak(): number {
    return this.#timerPeak;
  }

  /** Since when it has answered nothing; `undefined` while it runs. */
  get silentSinceMs(): number | undefined {
    return this.#silentSinceMs;
  }

  hold(event: HeldEvent): void {
    this.#held.push(event);
  }

  /** It stands still, as by SIGSTOP: its clocks go on. */
  pause(): void {
    if (this.#state !== "running") return;
    this.#state = "paused";
    this.#silentSinceMs = this.#time.nowMs;
  }

  /** The whole machine stands still: what it shows of that afterwards is its wall clock. */
  suspend(): void {
    if (this.#state !== "running") return;
    this.pause();
    this.#suspendedAtMs = this.#time.nowMs;
    for (const timer of this.#timers) timer.cancel();
  }

  /** It goes on: with its timers first, or with what came for it, as chance has it. */
  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "running";
    this.#silentSinceMs = undefined;
    this.#endSuspension();
    const held = this.#held;
    this.#held = [];
    const timersFirst = this.random.chance(0.5);
    const ordered = timersFirst
      ? [...held.filter(({ isTimer }) => isTimer), ...held.filter(({ isTimer }) => !isTimer)]
      : held;
    for (const { isTimer, run } of ordered) this.#time.schedule(0, run, { owner: this, isTimer });
  }

  /** It is gone: nothing of it happens any more. */
  end(): void {
    this.#state = "ended";
    this.#silentSinceMs ??= this.#time.nowMs;
    this.#held = [];
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  /** How wrong its wall clock is. */
  get wallErrorMs(): number {
    return this.clock.wallMs() - WALL_BEGIN_MS - this.#time.nowMs;
  }

  /** Somebody sets the wall clock. */
  setWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  #monotonicMs(): number {
    const until = this.#suspendedAtMs ?? this.#time.nowMs;
    return (until - this.#suspendedMs) * this.#clockRate;
  }

  #after(delayMs: number, fn: () => void): Cancel {
    if (this.#state === "ended") return () => {};
    const timer: Timer = {
      dueMs: this.#time.nowMs + Math.max(0, delayMs) / this.#clockRate + TIMER_LATE_MS,
      run: () => {
        this.#timers.delete(timer);
        fn();
      },
      cancel: () => {},
    };
    this.#timers.add(timer);
    this.#timerPeak = Math.max(this.#timerPeak, this.#timers.size);
    this.#arm(timer);
    return () => {
      this.#timers.delete(timer);
      timer.cancel();
    };
  }

  #arm(timer: Timer): void {
    // One that was cancelled while it was held does nothing.
    const run = () => {
      if (this.#timers.has(timer)) timer.run();
    };
    timer.cancel = this.#time.schedule(timer.dueMs - this.#time.nowMs, run, { owner: this, isTimer: true });
  }

  #endSuspension(): void {
    if (this.#suspendedAtMs === undefined) return;
    const lengthMs = this.#time.nowMs - this.#suspendedAtMs;
    this.#suspendedAtMs = undefined;
    this.#suspendedMs += lengthMs;
    for (const timer of this.#timers) {
      timer.dueMs += lengthMs;
      this.#arm(timer);
    }
  }
}
