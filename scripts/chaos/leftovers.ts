/** What must not be left behind in a store of files. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { TEMPORARY_MARK } from "../../src/store/file-system-write.ts";
import type { Violation } from "../../src/testing/checkers/operation.ts";
import type { FaultRecord } from "./record.ts";

/** A file may have been begun shortly before its disk became read-only. */
const TOLERANCE_MS = 3000;

/**
 * Temporary files of processes that are alive or left in order. Those of killed ones are swept by a listing after an hour,
 * as are those that could not be removed because the disk was read-only.
 */
export function checkTemporaryFiles(
  directory: string,
  killed: ReadonlySet<number>,
  readOnly: readonly FaultRecord[],
  wallAtZeroMs: number,
): { readonly violations: Violation[]; readonly allowed: number } {
  const violations: Violation[] = [];
  let allowed = 0;
  for (const path of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const name = path.split("/").at(-1) ?? "";
    if (!name.startsWith(TEMPORARY_MARK)) continue;
    const pid = Number(name.slice(TEMPORARY_MARK.length).split("-")[0]);
    const atMs = statSync(join(directory, path)).mtimeMs - wallAtZeroMs;
    const isReadOnly = readOnly.some(
      ({ beganAtMs, endedAtMs }) => atMs > beganAtMs - TOLERANCE_MS && atMs < endedAtMs + TOLERANCE_MS,
    );
    if (killed.has(pid) || isReadOnly) allowed++;
    else violations.push({ rule: "a temporary file is left", promise: "P10", text: `${path}, of process ${pid}` });
  }
  return { violations, allowed };
}
