import { setImmediate } from "node:timers";

/**
 * Lets a number of requests begin in one turn of the event loop, and the others in the next ones, in order.
 *
 * What a turn writes to a connection goes out when the turn ends. Without the gate a hundred requests that arrived
 * together would be answered together, and their client would be idle meanwhile, as this side is while the client makes
 * the next hundred: half of each is lost. Timers and other connections get their turn as well.
 */
export class TurnGate {
  readonly #perTurn: number;
  /** Begun in this turn; a next turn is planned while it is above 0. */
  #begun = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  /** `undefined` if a request may begin now, else the wait for its turn. */
  enter(): Promise<void> | undefined {
    if (this.#begun < this.#perTurn) {
      this.#begin();
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #begin(): void {
    if (this.#begun === 0) setImmediate(() => this.#onTurn());
    this.#begun += 1;
  }

  #onTurn(): void {
    this.#begun = 0;
    for (const resolve of this.#waiting.splice(0, this.#perTurn)) {
      this.#begin();
      resolve();
    }
  }
}
