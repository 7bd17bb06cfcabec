/**
 * The search for an order: see `checkLinearizable`.
 *
 * Invocations and answers stand in one list by time. Whatever was invoked before the first answer in the list may be next
 * in the order: it is placed, which takes its two entries out of the list, and the search goes on from the beginning. An
 * answer that is reached means that its operation is placed nowhere: the last placed one is put back and the next one is
 * tried. A state that was reached before, the same operations placed and the same value, is not tried again.
 *
 * Operations of unknown outcome have no answer in the list, so nothing forces them. Since one that nothing observes may as
 * well never have happened, the next operation after one of them must be one that looks at the value. This prunes most
 * of the subsets of them that would otherwise be tried.
 */
import type { RegisterOperation, RegisterValue } from "./register-operation.ts";

export type SearchResult = "linearizable" | "violated" | "undecided";

/** An invocation, or the answer to it. */
interface Entry {
  readonly call: Call;
  readonly isAnswer: boolean;
  readonly atMs: number;
  previous: Entry | undefined;
  next: Entry | undefined;
}

interface Call {
  readonly operation: RegisterOperation;
  readonly isCertain: boolean;
  /** Among those of its certainty, in the order of invocation. */
  index: number;
  answer: Entry | undefined;
}

/** An entry that was placed, and what was before. */
interface Placed {
  readonly entry: Entry;
  readonly lastPlaced: number;
  readonly value: RegisterValue;
  readonly mustBeObserved: boolean;
}

export class RegisterSearch {
  readonly #head: { readonly next: Entry | undefined };
  readonly #certainCount: number;
  readonly #isPlaced: boolean[];
  readonly #placedUnknown = new Set<number>();
  /** All certain ones before it are placed. */
  #firstOpen = 0;
  /** No certain one after it is placed. */
  #lastPlaced = -1;
  #value: RegisterValue;
  #steps = 0;
  /** The last placed one is of unknown outcome, and nothing has looked at what it did. */
  #mustBeObserved = false;

  constructor(operations: readonly RegisterOperation[], initial: RegisterValue) {
    const isIdle = isUnobserved(operations);
    const isNeeded = (operation: RegisterOperation) => operation.outcome === "ok" || !isIdle(operation);
    const calls = operations
      .filter((operation) => isConstraint(operation) && isNeeded(operation))
      .map((operation): Call => ({ operation, isCertain: operation.outcome === "ok", index: 0, answer: undefined }));
    calls.sort((a, b) => a.operation.invokedAtMs - b.operation.invokedAtMs);
    const counts = { certain: 0, unknown: 0 };
    for (const call of calls) call.index = call.isCertain ? counts.certain++ : counts.unknown++;
    this.#certainCount = counts.certain;
    this.#isPlaced = Array<boolean>(counts.certain).fill(false);
    this.#value = initial;
    this.#head = linkedByTime(calls);
  }

  /** Operations placed so far. */
  get steps(): number {
    return this.#steps;
  }

  /** May be called once. */
  run(stepsMax: number): SearchResult {
    const seen = new Set<string>();
    const placed: Placed[] = [];
    let certainLeft = this.#certainCount;
    let entry = this.#head.next;
    while (certainLeft > 0) {
      if (entry !== undefined && !entry.isAnswer) {
        const after = this.#valueAfter(entry.call.operation);
        if (after !== undefined) {
          if (++this.#steps > stepsMax) return "undecided";
          const before = this.#place(entry, after);
          const state = this.#state();
          if (!seen.has(state)) {
            seen.add(state);
            placed.push(before);
            if (entry.call.isCertain) certainLeft--;
            entry = this.#head.next;
            continue;
          }
          this.#putBack(before);
        }
        entry = entry.next;
      } else {
        const last = placed.pop();
        if (last === undefined) return "violated";
        this.#putBack(last);
        if (last.entry.call.isCertain) certainLeft++;
        entry = last.entry.next;
      }
    }
    return "linearizable";
  }

  /** What the register holds after it; `undefined` if it cannot be next. */
  #valueAfter(operation: RegisterOperation): RegisterValue | undefined {
    if (operation.type === "write") return this.#mustBeObserved ? undefined : operation.value;
    if (operation.type === "read") return operation.value === this.#value ? this.#value : undefined;
    const isEqual = operation.expected === this.#value;
    // Of unknown outcome it matters only if it swapped: else it is as if it had never happened.
    if (operation.outcome === "unknown" || operation.swapped === true) return isEqual ? operation.value : undefined;
    return isEqual ? undefined : this.#value;
  }

  #place(entry: Entry, value: RegisterValue): Placed {
    const { call } = entry;
    const before = { entry, lastPlaced: this.#lastPlaced, value: this.#value, mustBeObserved: this.#mustBeObserved };
    unlink(entry);
    if (call.answer !== undefined) unlink(call.answer);
    if (call.isCertain) {
      this.#isPlaced[call.index] = true;
      this.#lastPlaced = Math.max(this.#lastPlaced, call.index);
      while (this.#isPlaced[this.#firstOpen]) this.#firstOpen++;
    } else {
      this.#placedUnknown.add(call.index);
    }
    this.#value = value;
    this.#mustBeObserved = !call.isCertain;
    return before;
  }

  #putBack({ entry, lastPlaced, value, mustBeObserved }: Placed): void {
    const { call } = entry;
    if (call.answer !== undefined) relink(call.answer);
    relink(entry);
    if (call.isCertain) {
      this.#isPlaced[call.index] = false;
      this.#firstOpen = Math.min(this.#firstOpen, call.index);
    } else {
      this.#placedUnknown.delete(call.index);
    }
    this.#lastPlaced = lastPlaced;
    this.#value = value;
    this.#mustBeObserved = mustBeObserved;
  }

  /** Which are placed, and the value. Of the certain ones all up to some are placed, and few beyond. */
  #state(): string {
    let certain = `${this.#firstOpen}`;
    for (let index = this.#firstOpen + 1; index <= this.#lastPlaced; index++)
      if (this.#isPlaced[index]) certain += `,${index}`;
    const unknown = [...this.#placedUnknown].sort((a, b) => a - b).join();
    return `${certain};${unknown};${this.#mustBeObserved};${typeof this.#value};${this.#value}`;
  }
}

/**
 * Is this an operation whose effect nobody looks at? As one of unknown outcome it may as well never have happened. A cas
 * that did not swap looks at every value: any but one explains it.
 */
export function isUnobserved(operations: readonly RegisterOperation[]): (operation: RegisterOperation) => boolean {
  const isAnyObserved = operations.some((operation) => operation.type === "cas" && onlyLooks(operation));
  const observed = new Set<RegisterValue | undefined>();
  for (const operation of operations) {
    if (operation.type === "read") observed.add(operation.value);
    if (operation.type === "cas") observed.add(operation.expected);
  }
  return (operation) => !isAnyObserved && operation.type !== "read" && !observed.has(operation.value);
}

/** True for what changes nothing. */
export function onlyLooks(operation: RegisterOperation): boolean {
  if (operation.outcome !== "ok") return operation.outcome === "not_written" || operation.type === "read";
  return operation.type === "read" || (operation.type === "cas" && operation.swapped === false);
}

/** What says nothing about the register is left out. */
function isConstraint({ type, outcome }: RegisterOperation): boolean {
  return outcome === "ok" || (outcome === "unknown" && type !== "read");
}

/** Invocations come before the answers of the same millisecond: they count as concurrent. */
function linkedByTime(calls: readonly Call[]): Entry {
  const entries: Entry[] = [];
  for (const call of calls) {
    entries.push(newEntry(call, false, call.operation.invokedAtMs));
    if (!call.isCertain) continue;
    call.answer = newEntry(call, true, call.operation.endedAtMs);
    entries.push(call.answer);
  }
  entries.sort((a, b) => a.atMs - b.atMs || Number(a.isAnswer) - Number(b.isAnswer));
  const head = { previous: undefined, next: undefined } as unknown as Entry;
  let last = head;
  for (const entry of entries) {
    entry.previous = last;
    last.next = entry;
    last = entry;
  }
  return head;
}

function newEntry(call: Call, isAnswer: boolean, atMs: number): Entry {
  return { call, isAnswer, atMs, previous: undefined, next: undefined };
}

function unlink({ previous, next }: Entry): void {
  if (previous !== undefined) previous.next = next;
  if (next !== undefined) next.previous = previous;
}

/** Entries come back in the opposite order of their leaving, so their neighbours are those that they had. */
function relink(entry: Entry): void {
  if (entry.previous !== undefined) entry.previous.next = entry;
  if (entry.next !== undefined) entry.next.previous = entry;
}
