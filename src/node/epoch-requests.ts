/** What a leadership asks of the store about an epoch of its own; each answer is an event of the commit protocol. */
import { equalBytes } from "../base/bytes.ts";
import { errorMessage, isClusterError } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import { parseWal, type Wal } from "../format/wal.ts";
import { listLaterEpochs } from "../history/listing.ts";
import type { AuditAnswer, CommitEvent } from "../protocol/commit.ts";
import type { Replica } from "../sqlite/replica.ts";
import type { StoredObject } from "../store/store.ts";
import type { NodeParts } from "./parts.ts";

/** An epoch that is sealed, and not yet known to be in the store. */
export interface OwnEpoch {
  readonly epoch: number;
  readonly wal: Wal;
  /** SHA-256 of the WAL, hexadecimal. */
  hash(): string;
}

export class EpochRequests {
  readonly #parts: NodeParts;
  readonly #replica: Replica;
  readonly #signal: AbortSignal;
  readonly #answer: (event: CommitEvent) => void;

  /**
   * @param signal ends what is under way; then nothing is answered to anybody who listens
   * @param answer takes each answer
   */
  constructor(parts: NodeParts, replica: Replica, signal: AbortSignal, answer: (event: CommitEvent) => void) {
    this.#parts = parts;
    this.#replica = replica;
    this.#signal = signal;
    this.#answer = answer;
  }

  /** Creates the epoch's object. */
  put({ epoch, wal }: OwnEpoch): void {
    const { store } = this.#parts;
    store.put(walKey(epoch), wal.bytes, { ifAbsent: true, signal: this.#signal }).then(
      (outcome) => this.#answer({ type: "putAnswered", outcome }),
      (error: unknown) => {
        this.#warn("put_failed", epoch, error);
        this.#answer({ type: "putAnswered", outcome: "failed" });
      },
    );
  }

  /** Whose object is it? */
  readBack({ epoch, wal }: OwnEpoch): void {
    const { store, log } = this.#parts;
    const reading = store.get(walKey(epoch), { signal: this.#signal });
    reading
      .then((object) => {
        if (object === undefined) return "missing";
        return this.#readable(epoch, () => whose(object, wal.bytes)) ?? "damaged";
      })
      .then(
        (found) => {
          log({ level: "info", event: "put_read_back", epoch, found });
          this.#answer({ type: "readBackAnswered", found });
        },
        (error: unknown) => {
          this.#warn("read_back_failed", epoch, error);
          this.#answer({ type: "readBackAnswered", found: "failed" });
        },
      );
  }

  /** Did history go on after the epoch, and if so, from it? */
  audit(own: OwnEpoch): void {
    const { log } = this.#parts;
    const { epoch } = own;
    this.#findLater(own).then(
      (found) => {
        if (found !== "none") log({ level: "warn", event: "audit_found_later_epochs", epoch, found });
        this.#answer({ type: "auditAnswered", found });
      },
      (error: unknown) => {
        this.#warn("audit_failed", epoch, error);
        this.#answer({ type: "auditAnswered", found: "failed" });
      },
    );
  }

  async #findLater(own: OwnEpoch): Promise<AuditAnswer> {
    const { epoch, wal } = own;
    const { store } = this.#parts;
    const newest = (await listLaterEpochs(store, epoch, this.#signal)).at(-1);
    if (newest === undefined) return "none";
    // A listing is not of one moment: of two epochs that were created while it was made it may show the later one alone. That
    // the next one is gone is known only by asking for it.
    const next = await store.get(walKey(epoch + 1), { signal: this.#signal });
    // If it was the last one itself, and is gone, the next listing tells.
    if (next === undefined) return newest > epoch + 1 ? "withoutUs" : "failed";
    const { state } = this.#replica;
    const answer = this.#readable(epoch + 1, () => state.isSuccessor(wal, own.hash(), next.bytes, next.key));
    if (answer === undefined) return "damaged";
    return answer === "yes" ? "successor" : answer === "no" ? "withoutUs" : "unknown";
  }

  /** `undefined` if the object is there, and is nothing that this version can read. */
  #readable<T>(epoch: number, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!isClusterError(error)) throw error;
      this.#warn("epoch_unreadable", epoch, error);
      return undefined;
    }
  }

  #warn(event: string, epoch: number, error: unknown): void {
    if (!this.#signal.aborted) this.#parts.log({ level: "warn", event, epoch, reason: errorMessage(error) });
  }
}

/**
 * Whether an object is the one with these bytes.
 *
 * @throws ClusterError `corrupt` for what nobody wrote: ours, damaged on its way, must not pass for another's
 */
function whose({ key, bytes }: StoredObject, ours: Uint8Array): "ours" | "other" {
  if (equalBytes(bytes, ours)) return "ours";
  parseWal(bytes, key);
  return "other";
}
