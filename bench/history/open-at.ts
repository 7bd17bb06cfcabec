/**
 * `openAt` as the first thing that a process does. Prints JSON.
 *
 * `open-at.ts open DIRECTORY EPOCH` opens; `open-at.ts download DIRECTORY RANGES` gets and hashes the same bytes, in a
 * process that is as cold.
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { clusterIn, download, preparedStore } from "./large-database.ts";
import { type ReadCost, type ReadRange, ReadsOf } from "./reads.ts";

export interface OpenAtResult extends ReadCost {
  readonly databaseBytes: number;
  readonly elapsedMs: number;
  readonly firstQueryMs: number;
  readonly ranges: readonly ReadRange[];
}

export interface DownloadResult {
  readonly elapsedMs: number;
}

async function open(directory: string, epoch: number): Promise<OpenAtResult> {
  const reads = new ReadsOf(preparedStore(directory, 0));
  const beganMs = performance.now();
  const past = await clusterIn(reads.store).openAt(epoch);
  const openedMs = performance.now();
  const pages = past.get<{ page_count: number }>("PRAGMA page_count")?.page_count ?? 0;
  past.get("SELECT id FROM large WHERE id = ?", [1]);
  const queriedMs = performance.now();
  past.close();
  return {
    ...reads.cost,
    databaseBytes: pages * 4096,
    elapsedMs: openedMs - beganMs,
    firstQueryMs: queriedMs - openedMs,
    ranges: reads.ranges,
  };
}

const [, , command = "", directory = "", argument = ""] = process.argv;
const result =
  command === "open"
    ? await open(directory, Number(argument))
    : { elapsedMs: await download(preparedStore(directory, 0), JSON.parse(await readFile(argument, "utf8"))) };
process.stdout.write(`${JSON.stringify(result)}\n`);
