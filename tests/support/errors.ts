import { expect } from "vitest";
import { type ClusterError, isClusterError } from "../../src/errors.ts";

/** The `ClusterError` that `action` throws; fails if it throws none. */
export function clusterErrorOf(action: () => unknown): ClusterError {
  try {
    action();
  } catch (error) {
    if (isClusterError(error)) return error;
    throw error;
  }
  return expect.fail("nothing was thrown");
}

/** `kind/code` of what `action` throws. */
export function codeOf(action: () => unknown): string {
  const { kind, code } = clusterErrorOf(action);
  return `${kind}/${code}`;
}
