/** Epochs that the leader's stream brought and that are not applied yet; it stands in front of the store. */
import { type Deferred, defer } from "../base/deferred.ts";

const EPOCHS_MAX = 1024;
const BYTES_MAX: number = 64 * 1024 * 1024;

export class PushBuffer {
  readonly #epochs = new Map<number, Uint8Array>();
  #bytes = 0;
  #awaited: { readonly epoch: number; readonly arrived: Deferred<void> } | undefined;

  has(epoch: number): boolean {
    return this.#epochs.has(epoch);
  }

  /** Keeps an epoch until it is taken, if there is room: else it is in the store. */
  put(epoch: number, wal: Uint8Array): void {
    if (this.#epochs.has(epoch) || this.#epochs.size >= EPOCHS_MAX || this.#bytes + wal.length > BYTES_MAX) return;
    this.#epochs.set(epoch, wal);
    this.#bytes += wal.length;
    if (this.#awaited?.epoch === epoch) this.#awaited.arrived.resolve();
  }

  /** Takes an epoch out; whatever is older goes too. */
  take(epoch: number): Uint8Array | undefined {
    const wal = this.#epochs.get(epoch);
    for (const [older, bytes] of this.#epochs) {
      if (older > epoch) continue;
      this.#epochs.delete(older);
      this.#bytes -= bytes.length;
    }
    return wal;
  }

  /** Resolves when that epoch was put; only the last call counts. */
  arrival(epoch: number): Promise<void> {
    this.#awaited = { epoch, arrived: defer() };
    return this.#awaited.arrived.promise;
  }
}
