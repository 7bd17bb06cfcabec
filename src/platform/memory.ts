import process from "node:process";

/** Memory of this process that is in RAM, in bytes. */
export function residentBytes(): number {
  return process.memoryUsage().rss;
}
