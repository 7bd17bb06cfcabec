/**
 * Runs a pure protocol: gives it events with the time, carries out its actions,
 * and wakes it when it asked to be woken. One event at a time; an event that an
 * action causes at once waits its turn.
 */
import { type Cancel, type Clock, readClock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import type { Decision, Moment } from "../protocol/moment.ts";

export interface MachineParts<State, Event, Action> {
  readonly clock: Clock;
  readonly random: Random;
  readonly tick: Event;
  step(state: State, event: Event, moment: Moment): Decision<State, Action>;
  /** Starts the action. Gives false to drop those that were decided with it and come after it. */
  execute(action: Action): boolean;
}

/** The time by both clocks, and a random number. */
export function momentOf(clock: Clock, random: Random): Moment {
  return { ...readClock(clock), fraction: random.fraction() };
}

export class Machine<State, Event, Action> {
  readonly #parts: MachineParts<State, Event, Action>;
  readonly #queue: Event[] = [];
  #state: State;
  #isRunning = false;
  #isStopped = false;
  #cancelWake: Cancel = () => {};

  constructor(initial: State, parts: MachineParts<State, Event, Action>) {
    this.#state = initial;
    this.#parts = parts;
  }

  get state(): State {
    return this.#state;
  }

  /** Takes an event; after `stop` it is dropped. */
  dispatch(event: Event): void {
    if (this.#isStopped) return;
    this.#queue.push(event);
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined && !this.#isStopped; next = this.#queue.shift())
        this.#run(next);
    } finally {
      this.#isRunning = false;
    }
  }

  /** No further event is taken and no timer fires; safe twice. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelWake();
    this.#queue.length = 0;
  }

  #run(event: Event): void {
    const { clock, random, step, execute, tick } = this.#parts;
    const decision = step(this.#state, event, momentOf(clock, random));
    this.#state = decision.state;
    this.#cancelWake();
    if (Number.isFinite(decision.wakeAtMs)) {
      const delayMs = Math.max(0, decision.wakeAtMs - clock.monotonicMs());
      // Timers may fire a little early; a tick that comes too soon would be asked for again at once.
      this.#cancelWake = clock.after(Math.ceil(delayMs), () => this.dispatch(tick));
    }
    for (const action of decision.actions) {
      if (this.#isStopped || !execute(action)) return;
    }
  }
}
