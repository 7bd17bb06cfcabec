/** How far a long piece of work has come. */
export interface ByteProgress {
  /** Bytes read or written, of about how many. */
  readonly bytes: number;
  readonly bytesTotal: number;
}

/** Options of everything that reads or writes much. */
export interface LongCallOptions<Progress extends ByteProgress = ByteProgress> {
  /** Gives up; what was written so far is left unused or removed. */
  readonly signal?: AbortSignal | undefined;
  /** Told now and then how far it has come. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}
