/** Uploads in parts: large snapshots go so; and whether If-None-Match holds there, which nothing depends on. */
import { isClusterError } from "../../errors.ts";
import type { CreateInParts } from "../../store/s3-create-in-parts.ts";
import { type Check, type CheckParts, SMALL_BYTES } from "./check.ts";
import { failedFinding } from "./failure.ts";
import type { DoctorFinding } from "./finding.ts";

const NO_MATTER = "Epochs are always written by one single request, so a cluster does not depend on it";

/** @param createInParts `undefined` where the store is not S3 */
export function partsCheck(createInParts: CreateInParts | undefined): Check {
  return {
    name: "parts",
    verdictIfFailed: "warning",
    run: async (parts) => [createInParts === undefined ? notS3() : await tryParts(parts, createInParts)],
  };
}

async function tryParts(parts: CheckParts, createInParts: CreateInParts): Promise<DoctorFinding> {
  const { scratch, signal } = parts;
  const body = new Uint8Array(SMALL_BYTES);
  try {
    await createInParts(scratch.key("parts/plain"), body, { signal });
  } catch (error) {
    signal.throwIfAborted();
    return failedFinding("parts", "bad", error, "snapshots above 16 MiB are uploaded in parts: they cannot be written");
  }
  const key = scratch.key("parts/conditional");
  try {
    await createInParts(key, body, { ifAbsent: true, signal });
    const second = await createInParts(key, body, { ifAbsent: true, signal });
    return second === "exists" ? known("holds") : known("is ignored");
  } catch (error) {
    if (!isClusterError(error) || signal.aborted) throw error;
    return known("is refused", error.code);
  }
}

function known(ifNoneMatch: "holds" | "is ignored" | "is refused", code?: string): DoctorFinding {
  const reason = code === undefined ? "" : ` (${code})`;
  return {
    check: "parts",
    verdict: "info",
    found: `uploads in parts work; If-None-Match on their completion ${ifNoneMatch}${reason}. ${NO_MATTER}`,
    measured: { works: true, ifNoneMatch, code },
  };
}

function notS3(): DoctorFinding {
  const found = `not tried: only S3 has uploads in parts. ${NO_MATTER}`;
  return { check: "parts", verdict: "info", found, measured: { works: undefined } };
}
