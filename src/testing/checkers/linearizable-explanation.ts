/** Why a history of one register is not linearizable: see `checkLinearizable`. */
import type { RegisterOperation, RegisterValue } from "./register-operation.ts";
import { isUnobserved, onlyLooks, RegisterSearch } from "./register-search.ts";

/** Operations looked at and placed by all the searches that make an explanation shorter, together. */
const WORK_MAX = 1_000_000;
const ROUNDS_MAX = 4;

interface Explanation {
  readonly operations: readonly RegisterOperation[];
  readonly text: string;
}

/**
 * Leaves out what is not needed for the contradiction. Only such steps are taken after which a contradiction still says
 * that the whole history has one:
 *
 * - The history is cut after an answer; what had no answer by then is unknown.
 * - A read, or a cas that did not swap, is left out: it changes nothing.
 * - A write of a value that nobody looks at is left out: as one of unknown outcome it may never have happened.
 */
export function explain(
  operations: readonly RegisterOperation[],
  initial: RegisterValue,
  stepsMax: number,
): Explanation {
  const shrinker = new Shrinker(initial, stepsMax);
  let shown = shrinker.cut(operations);
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const { length } = shown;
    shown = shrinker.without(shown, onlyLooks);
    shown = shrinker.without(shown, isUnobserved(shown));
    if (shown.length === length) break;
  }
  const ordered = [...shown].sort((a, b) => a.invokedAtMs - b.invokedAtMs);
  return { operations: ordered, text: describe(ordered, initial) };
}

class Shrinker {
  readonly #initial: RegisterValue;
  readonly #stepsMax: number;
  #workLeft = WORK_MAX;

  constructor(initial: RegisterValue, stepsMax: number) {
    this.#initial = initial;
    this.#stepsMax = stepsMax;
  }

  /** False also when it could not be found out. */
  #isViolated(operations: readonly RegisterOperation[]): boolean {
    if (this.#workLeft <= 0) return false;
    const search = new RegisterSearch(operations, this.#initial);
    const result = search.run(this.#stepsMax);
    this.#workLeft -= operations.length + search.steps + 1;
    return result === "violated";
  }

  /** The history up to the first answer that contradicts what was before. */
  cut(operations: readonly RegisterOperation[]): readonly RegisterOperation[] {
    const answersMs = operations.filter(({ outcome }) => outcome === "ok").map(({ endedAtMs }) => endedAtMs);
    answersMs.sort((a, b) => a - b);
    let [low, high] = [0, answersMs.length - 1];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isViolated(upTo(operations, answersMs[middle] as number))) high = middle;
      else low = middle + 1;
    }
    const cut = upTo(operations, answersMs[high] as number);
    return this.#isViolated(cut) ? cut : operations;
  }

  /** Leaves out as many of the candidates as it can: large pieces first, then single ones. */
  without(
    operations: readonly RegisterOperation[],
    isCandidate: (operation: RegisterOperation) => boolean,
  ): readonly RegisterOperation[] {
    let kept = operations;
    let candidates = operations.filter(isCandidate);
    for (let size = candidates.length; size >= 1; size = Math.floor(size / 2)) {
      for (let from = 0; from < candidates.length; ) {
        const piece = new Set(candidates.slice(from, from + size));
        const rest = kept.filter((operation) => !piece.has(operation));
        if (this.#isViolated(rest)) {
          kept = rest;
          candidates = candidates.filter((operation) => !piece.has(operation));
        } else {
          from += size;
        }
      }
    }
    return kept;
  }
}

function upTo(operations: readonly RegisterOperation[], endMs: number): readonly RegisterOperation[] {
  const invoked = operations.filter(({ invokedAtMs }) => invokedAtMs <= endMs);
  return invoked.map((operation) => (operation.endedAtMs <= endMs ? operation : withoutAnswer(operation)));
}

function withoutAnswer(operation: RegisterOperation): RegisterOperation {
  return operation.outcome === "not_written" ? operation : { ...operation, outcome: "unknown" };
}

function describe(operations: readonly RegisterOperation[], initial: RegisterValue): string {
  const lines = operations.map((operation) => {
    const { client, invokedAtMs, endedAtMs, outcome } = operation;
    return `  ${invokedAtMs} to ${endedAtMs} ms, ${client}: ${describeCall(operation)} (${outcome})`;
  });
  const register = operations[0]?.register ?? "";
  return [`register ${register}, ${initial} at first: these have no order`, ...lines].join("\n");
}

function describeCall(operation: RegisterOperation): string {
  if (operation.type === "read") return `read ${operation.value}`;
  if (operation.type === "write") return `write ${operation.value}`;
  const effect = operation.swapped === undefined ? "" : operation.swapped ? ", swapped" : ", held something else";
  return `cas ${operation.expected} to ${operation.value}${effect}`;
}
