/** Databases of members compared with each other, at whatever epochs two of them happened to be looked at. */
import type { Violation } from "../../src/testing/checkers/operation.ts";
import type { StateAnswer } from "./member-protocol.ts";

/** Of the newest epochs; members are looked at at the same time, so they are not far apart. */
const EPOCHS_KEPT = 1000;

export class Digests {
  readonly violations: Violation[] = [];
  readonly #first = new Map<number, StateAnswer>();
  #compared = 0;

  /** How often two databases were at the same epoch. */
  get compared(): number {
    return this.#compared;
  }

  add(state: StateAnswer): void {
    const { epoch, digest, uuid } = state;
    if (digest === undefined) return;
    const first = this.#first.get(epoch);
    if (first === undefined) {
      this.#first.set(epoch, state);
      if (this.#first.size > EPOCHS_KEPT) this.#first.delete(this.#first.keys().next().value as number);
      return;
    }
    this.#compared++;
    if (first.digest === digest) return;
    const text = `epoch ${epoch}: ${digest} at ${uuid}, ${first.digest} at ${first.uuid}`;
    this.violations.push({ rule: "two databases at the same epoch differ", promise: "P2", text });
  }
}
