import type { Random } from "../../base/random.ts";

const WORD = 2 ** 32;

/**
 * The same numbers for the same seed, everywhere: sfc32, by Chris Doty-Humphrey (PractRand). For simulations, never for
 * secrets.
 */
export class SeededRandom implements Random {
  readonly #seed: string;
  #a = 0x9e3779b9;
  #b = 0x243f6a88;
  #c: number;
  #counter = 1;

  /** @param seed a number, or a text such as `"7/network"` */
  constructor(seed: number | string) {
    this.#seed = String(seed);
    this.#c = 0xb7e15162;
    for (const letter of this.#seed) {
      this.#c = Math.imul(this.#c ^ letter.charCodeAt(0), 0x01000193);
      this.#a ^= this.word();
    }
    for (let round = 0; round < 12; round++) this.word();
  }

  /** Another source, which no use of this one changes. */
  fork(name: string): SeededRandom {
    return new SeededRandom(`${this.#seed}/${name}`);
  }

  /** Uniform in [0, 2³²). */
  word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  fraction(): number {
    return this.word() / WORD;
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index++) bytes[index] = this.word() >>> 24;
    return bytes;
  }

  /** A whole number, `from` ≤ n ≤ `to`. */
  int(from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from + 1));
  }

  /** Uniform in [from, to). */
  between(from: number, to: number): number {
    return from + this.fraction() * (to - from);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new Error("nothing to pick from");
    return choices[this.int(0, choices.length - 1)] as T;
  }

  /** With this mean, and a long tail. */
  exponential(mean: number): number {
    return -Math.log(1 - this.fraction()) * mean;
  }

  shuffled<T>(items: readonly T[]): T[] {
    const result = [...items];
    for (let last = result.length - 1; last > 0; last--) {
      const other = this.int(0, last);
      [result[last], result[other]] = [result[other] as T, result[last] as T];
    }
    return result;
  }
}
