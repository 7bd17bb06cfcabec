/** Epochs of ours that history does not know; nobody reads them, but who starts from one would be misled. */
import { errorMessage } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { sleep } from "../platform/sleep.ts";
import { backoffMs } from "../protocol/moment.ts";
import type { NodeParts } from "./parts.ts";

/** How often the deletion is tried. */
const ATTEMPTS_MAX = 10;

/** Deletes orphans, beside whatever else the node does. */
export class Orphans {
  readonly #parts: NodeParts;
  readonly #running = new Set<Promise<void>>();
  readonly #abort = new AbortController();

  constructor(parts: NodeParts) {
    this.#parts = parts;
  }

  /** Begins to delete the epoch's object. */
  delete(epoch: number): void {
    const running = this.#delete(epoch).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when no deletion is under way; never fails. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Gives up what is under way: the next leader's retention deletes it. */
  close(): void {
    this.#abort.abort();
  }

  async #delete(epoch: number): Promise<void> {
    const { store, log, settings } = this.#parts;
    const { clock, random, retryBaseMs, retryMaxMs } = settings;
    const { signal } = this.#abort;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await store.delete(walKey(epoch), { signal });
        log({ level: "warn", event: "orphan_deleted", epoch });
        return;
      } catch (error) {
        log({ level: "error", event: "orphan_not_deleted", epoch, attempt, reason: errorMessage(error) });
        if (attempt === ATTEMPTS_MAX) return;
        const pauseMs = backoffMs(attempt, retryBaseMs, retryMaxMs, random.fraction());
        await sleep(clock, pauseMs, signal).catch(() => {});
      }
    }
  }
}
