import { ClusterError } from "../../src/errors.ts";

/** The `ClusterError` that a call fails with. */
export async function failureOf(call: Promise<unknown> | (() => unknown)): Promise<ClusterError> {
  try {
    await (typeof call === "function" ? call() : call);
  } catch (error) {
    if (error instanceof ClusterError) return error;
    throw error;
  }
  throw new Error("the call did not fail");
}

/** `kind/code` of that error. */
export async function codeOf(call: Promise<unknown> | (() => unknown)): Promise<string> {
  const { kind, code } = await failureOf(call);
  return `${kind}/${code}`;
}
