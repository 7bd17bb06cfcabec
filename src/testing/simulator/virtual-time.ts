/**
 * Time that passes only when nothing is left to do: a queue of events, each run when everything that the one before it
 * caused has come to rest. With all chance from a seed, a run is the same every time.
 *
 * Everything that nodes wait for must be an event here: timers, the network, the store. Promises are followed to their
 * end between two events, which takes one turn of the real event loop, in which nothing else is under way.
 */
import { setImmediate } from "node:timers";
import type { Cancel } from "../../base/clock.ts";

/** Whose event it is: it waits while its owner is paused, and is dropped when that has ended. */
export interface EventOwner {
  readonly state: "running" | "paused" | "ended";
  /** Takes the event over, to have it run when the owner goes on. */
  hold(event: HeldEvent): void;
}

/** An event that was due while its owner was paused. */
export interface HeldEvent {
  readonly isTimer: boolean;
  run(): void;
}

/** In one moment many things may happen, but not this many. */
const MOMENT_EVENTS_MAX = 100_000;

interface QueuedEvent extends HeldEvent {
  readonly atMs: number;
  /** Breaks ties, in the order of asking. */
  readonly order: number;
  readonly owner: EventOwner | undefined;
  isCancelled: boolean;
}

export interface EventOptions {
  readonly owner?: EventOwner | undefined;
  readonly isTimer?: boolean;
}

export class VirtualTime {
  readonly #heap: QueuedEvent[] = [];
  #nowMs = 0;
  #order = 0;
  #eventCount = 0;
  /** Events since time last passed. */
  #momentCount = 0;
  #hash = 0x811c9dc5;

  /** Since the beginning, in milliseconds. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events that were run. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** What happened so far, in one number: two runs that differ anywhere differ here. */
  get traceHash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0");
  }

  /** Adds to the trace's hash. */
  witness(text: string): void {
    let hash = this.#hash;
    for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    this.#hash = hash;
  }

  schedule(delayMs: number, run: () => void, { owner, isTimer = false }: EventOptions = {}): Cancel {
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const event: QueuedEvent = { atMs, order: this.#order++, owner, isTimer, isCancelled: false, run };
    this.#push(event);
    return () => {
      event.isCancelled = true;
    };
  }

  /** Resolves when everything that has begun has come to rest, and no time has passed. */
  rest(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }

  /**
   * Lets time pass until `untilMs`, or until `isOver` says so after an event.
   *
   * @param isOver also the place to look at what the event has done
   */
  async run(untilMs: number, isOver: () => boolean = () => false): Promise<void> {
    await this.rest();
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop();
      if (next.isCancelled || next.owner?.state === "ended") continue;
      this.#advance(next.atMs);
      if (next.owner?.state === "paused") {
        next.owner.hold(next);
        continue;
      }
      this.#eventCount++;
      this.#hash = Math.imul(this.#hash ^ Math.round(next.atMs * 1000), 0x01000193);
      next.run();
      await this.rest();
      if (isOver()) return;
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /** @throws Error if so much happens in one moment that it will never end */
  #advance(toMs: number): void {
    this.#momentCount = toMs === this.#nowMs ? this.#momentCount + 1 : 0;
    if (this.#momentCount > MOMENT_EVENTS_MAX) throw new Error(`time stands still at ${toMs} ms: events without end`);
    this.#nowMs = toMs;
  }

  #push(event: QueuedEvent): void {
    const heap = this.#heap;
    let index = heap.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, heap[parent] as QueuedEvent)) break;
      heap[index] = heap[parent] as QueuedEvent;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as QueuedEvent;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as QueuedEvent, heap[child] as QueuedEvent)) child++;
      if (!isBefore(heap[child] as QueuedEvent, last)) break;
      heap[index] = heap[child] as QueuedEvent;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(a: QueuedEvent, b: QueuedEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
