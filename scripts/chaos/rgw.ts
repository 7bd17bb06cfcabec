/** A Ceph RGW of this run's own, by `scripts/rgw.sh`. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { S3Server } from "../../tests/store/bucket.ts";
import { ROOT } from "../../tests/support/runtimes.ts";
import { freePort } from "./link.ts";

const SCRIPT = join(ROOT, "scripts", "rgw.sh");
const RUN_MAX_MS = 60_000;
const ATTEMPTS_MAX = 3;

export interface Rgw {
  readonly server: S3Server;
  stop(): Promise<void>;
}

/** Starts one, or says why not; it ends with this process at the latest. */
export async function startRgw(): Promise<Rgw | { readonly missing: string }> {
  for (let attempt = 1; ; attempt++) {
    const directory = join(tmpdir(), `lbc-chaos-rgw-${randomUUID()}`);
    // It takes this port and the two after it; somebody else may do so at the same time.
    const port = await freePort(3);
    const failure = await run("up", directory, String(port), String(process.pid));
    const stop = async () => {
      await run("down", directory);
    };
    if (failure === undefined) {
      const credentials = { accessKeyId: "lbc-test-key", secretAccessKey: "lbc-test-secret" };
      return { server: { endpoint: `http://127.0.0.1:${port}`, region: "us-east-1", credentials }, stop };
    }
    await stop();
    if (attempt === ATTEMPTS_MAX || failure.includes("is not installed")) return { missing: failure };
  }
}

/** Runs the script to its end, not to that of the daemons that it starts. @returns what it said if it failed */
async function run(...args: string[]): Promise<string | undefined> {
  const file = join(tmpdir(), `lbc-chaos-rgw-${randomUUID()}.log`);
  const output = openSync(file, "w");
  const child = spawn(SCRIPT, args, { stdio: ["ignore", output, output], detached: true });
  closeSync(output);
  // The whole group: what the script waits for has to end too.
  const timer = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, "SIGKILL"), RUN_MAX_MS);
  const code = await new Promise<number | null>((resolve) => {
    child.once("error", () => resolve(null));
    child.once("exit", resolve);
  });
  clearTimeout(timer);
  const said = readFileSync(file, "utf8").trim();
  rmSync(file);
  return code === 0 ? undefined : said || `${SCRIPT} ended with code ${code}`;
}
