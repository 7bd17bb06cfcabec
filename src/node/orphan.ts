/** An epoch of ours that history does not know; nobody reads it, but who starts from it would be misled. */
import { errorMessage } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { sleep } from "../platform/sleep.ts";
import { backoffMs } from "../protocol/moment.ts";
import type { NodeParts } from "./parts.ts";

/** How often the deletion is tried. */
const ATTEMPTS_MAX = 10;

/** Deletes the epoch's object; never fails. */
export async function deleteOrphan({ store, log, settings }: NodeParts, epoch: number): Promise<void> {
  const { clock, random, retryBaseMs, retryMaxMs } = settings;
  for (let attempt = 1; ; attempt++) {
    try {
      await store.delete(walKey(epoch));
      log({ level: "warn", event: "orphan_deleted", epoch });
      return;
    } catch (error) {
      log({ level: "error", event: "orphan_not_deleted", epoch, attempt, reason: errorMessage(error) });
      if (attempt === ATTEMPTS_MAX) return;
      await sleep(clock, backoffMs(attempt, retryBaseMs, retryMaxMs, random.fraction()));
    }
  }
}
