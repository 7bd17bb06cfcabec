/** Randomness as an input, so that a simulator can replay it. */
export interface Random {
  /** `length` random bytes, unpredictable in production. */
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1): for delays and jitter. */
  fraction(): number;
}
