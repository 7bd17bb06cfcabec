/** A seed is the same life wherever it is run: a campaign on one runtime speaks for the others. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { commandOf, ROOT, RUNTIMES, type RuntimeName } from "../../support/runtimes.ts";

const run = promisify(execFile);

async function endOfLife(runtime: RuntimeName, seed: number, profile: string): Promise<string | undefined> {
  const [command, ...args] = commandOf(runtime, "scripts/sim.ts");
  const { stdout } = await run(command, [...args, "--seed", String(seed), "--profile", profile, "--trace"], {
    cwd: ROOT,
    maxBuffer: 2 ** 26,
  });
  return stdout.trimEnd().split("\n").at(-1);
}

test("a life has the same trace on all runtimes", async () => {
  const [node, deno, bun] = await Promise.all(RUNTIMES.map((runtime) => endOfLife(runtime, 7, "flash")));
  expect(node).toMatch(/^trace [0-9a-f]{8}, \d+ events, \d+ epochs$/);
  expect([deno, bun]).toEqual([node, node]);
}, 120_000);
