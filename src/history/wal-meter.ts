/** Epochs whose sizes are remembered one by one; older ones only as a sum. */
const EPOCHS_MAX = 4096;

/** How many bytes of WAL there are after an epoch, of those that this node has seen. */
export class WalMeter {
  readonly #epochs: { readonly epoch: number; readonly bytes: number }[] = [];
  #olderBytes = 0;

  add(epoch: number, bytes: number): void {
    this.#epochs.push({ epoch, bytes });
    if (this.#epochs.length > EPOCHS_MAX) this.#olderBytes += this.#epochs.shift()?.bytes ?? 0;
  }

  /** Bytes of the WALs after `epoch`; too much rather than too little if some are not remembered one by one. */
  bytesAfter(epoch: number): number {
    const oldest = this.#epochs[0];
    let bytes = oldest !== undefined && oldest.epoch > epoch + 1 ? this.#olderBytes : 0;
    for (let index = this.#epochs.length - 1; index >= 0; index--) {
      const entry = this.#epochs[index];
      if (entry === undefined || entry.epoch <= epoch) break;
      bytes += entry.bytes;
    }
    return bytes;
  }

  /** Forgets the epochs up to this one. */
  dropUpTo(epoch: number): void {
    this.#olderBytes = 0;
    while (this.#epochs[0] !== undefined && this.#epochs[0].epoch <= epoch) this.#epochs.shift();
  }

  clear(): void {
    this.#epochs.length = 0;
    this.#olderBytes = 0;
  }
}
