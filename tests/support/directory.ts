import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished } from "vitest";

const REMOVALS_MAX = 50;

/**
 * A directory of the running test's own, removed when the test ends. A write that a node gave up when it was shut
 * down may still be landing: then the removal is repeated.
 */
export function testDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "lbc-test-"));
  onTestFinished(() => removeDirectory(directory));
  return directory;
}

export async function removeDirectory(directory: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rm(directory, { recursive: true, force: true });
      return;
    } catch (error) {
      if (attempt === REMOVALS_MAX) throw error;
      await sleep(20);
    }
  }
}
