import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { S3Server } from "./bucket.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/rgw.sh", import.meta.url));
const START_TIMEOUT_MS = 60_000;
const PORT_SEARCHES_MAX = 50;

const run = promisify(execFile);

/** A Ceph RGW that was started, or why there is none. */
export type RgwState = { readonly server: S3Server } | { readonly missing: string };

declare module "vitest" {
  interface ProvidedContext {
    rgw: RgwState;
  }
}

/** Starts one; it ends with this process at the latest. */
export async function startRgw(): Promise<{ state: RgwState; stop: () => Promise<void> }> {
  const directory = join(tmpdir(), `lbc-rgw-${randomUUID()}`);
  const stop = async () => {
    await run(SCRIPT, ["down", directory]);
  };
  try {
    const port = await freePorts(3);
    await run(SCRIPT, ["up", directory, String(port), String(process.pid)], { timeout: START_TIMEOUT_MS });
    const credentials = { accessKeyId: "lbc-test-key", secretAccessKey: "lbc-test-secret" };
    return { state: { server: { endpoint: `http://127.0.0.1:${port}`, region: "us-east-1", credentials } }, stop };
  } catch (error) {
    await stop();
    const said = (error as { stderr?: string }).stderr?.trim();
    return { state: { missing: said || String(error) }, stop: async () => {} };
  }
}

/** The first of that many free ports in a row. */
async function freePorts(count: number): Promise<number> {
  for (let search = 0; search < PORT_SEARCHES_MAX; search++) {
    const first = (await freePort(0)) as number;
    const others = Array.from({ length: count - 1 }, (_, index) => freePort(first + 1 + index));
    if ((await Promise.all(others)).every((port) => port !== undefined)) return first;
  }
  throw new Error(`no ${count} free ports in a row`);
}

function freePort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" ? address?.port : undefined));
    });
  });
}
