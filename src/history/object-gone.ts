import { ClusterError } from "../errors.ts";

/** An object that was listed is not there any more: retention moved on, and who reads starts over. */
export class ObjectGone extends Error {
  readonly key: string;

  constructor(key: string) {
    super(`${key} is gone`);
    this.key = key;
  }

  /** For who cannot start over. */
  toClusterError(): ClusterError {
    return new ClusterError(
      "corrupt",
      "history_incomplete",
      `the history in the store has no complete way to the epoch asked for: ${this.message}`,
      { object: this.key, where: "listing", expected: "present", found: "missing" },
    );
  }
}
