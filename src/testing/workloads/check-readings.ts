/**
 * Holds readings against the history: the log of an epoch says which writes made the state, so the state can be computed
 * and must be what was read.
 */
import type { Timeline, Violation } from "../checkers/operation.ts";
import { ACCOUNT_COUNT, FIRST_BALANCE, firstBalances, transferInModel } from "./bank.ts";
import { LIST_COUNT } from "./list-append.ts";
import { swapInModel } from "./registers.ts";
import type { Reading, Work } from "./workload.ts";

/** A reading and where it came from. */
export interface ReadingAt {
  readonly epoch: number;
  readonly reading: Reading;
  /** Names the operation in violations. */
  readonly what: string;
}

/** More of one kind tell nothing new. */
const VIOLATIONS_MAX = 50;
const SUM = ACCOUNT_COUNT * FIRST_BALANCE;

/** The state that the writes of a log lead to. */
class Model {
  readonly lists: string[][] = Array.from({ length: LIST_COUNT }, () => []);
  readonly balances: number[] = firstBalances();
  readonly registers = new Map<number, string>();
  length = 0;
  last: string | undefined;

  apply(id: string, work: Work | undefined): void {
    this.length++;
    this.last = id;
    if (work?.kind === "append") this.lists[work.list]?.push(id);
    if (work?.kind === "transfer") transferInModel(this.balances, work);
    if (work?.kind === "swap") swapInModel(this.registers, work, id);
  }

  register(register: number): string | null {
    return this.registers.get(register) ?? null;
  }
}

/**
 * What is wrong with the readings.
 *
 * @param workOf the work of each id; of ids in the log that nobody wrote there is none
 */
export function checkReadings(
  readings: readonly ReadingAt[],
  timeline: Timeline,
  workOf: (id: string) => Work | undefined,
): Violation[] {
  const violations: Violation[] = [];
  let model = new Model();
  for (const at of [...readings].sort((a, b) => a.epoch - b.epoch)) {
    if (violations.length >= VIOLATIONS_MAX) break;
    if (at.epoch > timeline.newestEpoch) {
      violations.push(
        broken("read of an epoch that is not in the history", at, `the newest is ${timeline.newestEpoch}`),
      );
      continue;
    }
    const ids = timeline.idsAt(at.epoch);
    // After a rollback the log does not go on from where it was.
    if (model.length > ids.length || (model.length > 0 && ids[model.length - 1] !== model.last)) model = new Model();
    while (model.length < ids.length) {
      const id = ids[model.length] as string;
      model.apply(id, workOf(id));
    }
    violations.push(...compare(at, ids, model));
  }
  return violations;
}

function compare(at: ReadingAt, ids: readonly string[], model: Model): Violation[] {
  const { log, list, balances, register } = at.reading;
  const found: Violation[] = [];
  if (!isEnd(ids, log)) found.push(broken("read shows another log than its epoch", at, difference(ids, log)));
  if (!isEnd(model.lists[list.list] ?? [], list)) {
    const expected = model.lists[list.list] ?? [];
    found.push(broken("list is not what its writes make", at, `list ${list.list}: ${difference(expected, list)}`));
  }
  const held = model.register(register.register);
  if (held !== register.value)
    found.push(broken("register is not what its writes make", at, `${register.value}, expected ${held}`));
  const sum = balances.reduce((total, balance) => total + balance, 0);
  if (sum !== SUM || balances.some((balance) => balance < 0))
    found.push(broken("money appeared or went away", at, `balances ${balances.join()}, sum ${sum} of ${SUM}`));
  else if (balances.join() !== model.balances.join())
    found.push(
      broken("balances are not what their writes make", at, `${balances.join()}, expected ${model.balances.join()}`),
    );
  return found;
}

interface End {
  readonly length: number;
  readonly tail: readonly string[];
}

function isEnd(whole: readonly string[], { length, tail }: End): boolean {
  const start = length - tail.length;
  return whole.length === length && tail.every((id, index) => whole[start + index] === id);
}

function difference(expected: readonly string[], { length, tail }: End): string {
  const ends = (ids: readonly string[]) => ids.slice(-5).join(" ");
  return `${length} entries that end with [${ends(tail)}], expected ${expected.length} that end with [${ends(expected)}]`;
}

function broken(rule: string, { what, epoch }: ReadingAt, text: string): Violation {
  return { rule, promise: "P2, P4", text: `${what} at epoch ${epoch}: ${text}` };
}
