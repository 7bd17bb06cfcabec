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

/** Fails unless `action` rejects with a `ClusterError` of this kind and code; gives the error. */
export async function expectError(action: () => Promise<unknown>, kind: string, code: string): Promise<ClusterError> {
  const error = await action().then(
    () => expect.fail(`nothing was thrown, not even ${kind}/${code}`),
    (reason: unknown) => reason,
  );
  if (!isClusterError(error)) throw error;
  expect(`${error.kind}/${error.code}`).toBe(`${kind}/${code}`);
  return error;
}
