/** What the process ends with; docs/cli.md explains them to users. */

export const EXIT = {
  ok: 0,
  /** The command failed for a reason that none of the others names. */
  failed: 1,
  /** The command line is wrong, or a setting in the environment. */
  usage: 2,
  /** `verify` or `doctor` ran and found problems. */
  problems: 3,
  /** There is no cluster at the store, or the point in time is not in its history. */
  notFound: 4,
  /** The store, the leader or the node cannot serve now: the same command may succeed later. */
  unavailable: 5,
  /** What was asked for may or may not have happened. */
  outcomeUnknown: 6,
  /** Ctrl-C: 128 + SIGINT. */
  interrupted: 130,
  /** 128 + SIGTERM. */
  terminated: 143,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
