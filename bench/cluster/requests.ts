/**
 * What a request to the leader costs, as a ratio to the runtime's own `fetch` over HTTP/1.1: client and server are two
 * processes of the runtime that runs this. Prints JSON.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { FileSystemStore, LittleBigCluster } from "../../src/mod.ts";

export interface RequestsResult {
  /** Median over the rounds of `leaderClient.fetch` ÷ `fetch`, requests a second. */
  readonly ratio: number;
  /** Medians. */
  readonly requestsPerSecond: number;
  readonly http1RequestsPerSecond: number;
  readonly inFlight: number;
  /** Of {@link AT_ONCE} requests sent at once, how many were answered. */
  readonly atOnce: number;
  readonly answered: number;
}

type Fetch = (name: string) => Promise<Response>;

const IN_FLIGHT = 64;
const ROUNDS = 7;
const ROUND_MS = 1000;
const WARM_UP_MS = 2000;
const AT_ONCE = 1000;

/** About 100 bytes. */
function jobOf(name: string): RequestInit {
  const body = JSON.stringify({
    name,
    kind: "thumbnail",
    source: "s3://pictures/2024/08/picture-000123.jpg",
    width: 320,
  });
  return { method: "POST", headers: { "content-type": "application/json" }, body };
}

async function answer(fetch: Fetch, name: string): Promise<void> {
  const response = await fetch(name);
  const { name: answered } = (await response.json()) as { name?: string };
  if (answered !== name) throw new Error(`asked for ${name}, got ${response.status} ${answered}`);
}

/** Requests a second, {@link IN_FLIGHT} at a time. */
async function speedOf(fetch: Fetch, durationMs: number): Promise<number> {
  const beganMs = performance.now();
  let done = 0;
  const worker = async (id: number) => {
    for (; performance.now() - beganMs < durationMs; done++) await answer(fetch, `job ${id}.${done}`);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, id) => worker(id)));
  return (done / (performance.now() - beganMs)) * 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Starts the server in a process of the runtime that runs us. */
async function startServer(directory: string): Promise<{ child: ChildProcess; http1Port: number }> {
  const script = fileURLToPath(new URL("request-server.ts", import.meta.url));
  const options =
    "Deno" in globalThis ? ["run", "-A"] : process.execArgv.filter((option) => !option.startsWith("--cpu-prof"));
  const child = spawn(process.execPath, [...options, script, directory], { stdio: ["pipe", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    return { child, ...(JSON.parse(line) as { http1Port: number }) };
  }
  throw new Error("the server ended");
}

const directory = await mkdtemp(join(tmpdir(), "lbc-bench-"));
const { child, http1Port } = await startServer(directory);
try {
  const cluster = new LittleBigCluster({ id: "bench", store: new FileSystemStore(directory) });
  const node = await cluster.joinAsFollower({ address: "127.0.0.1:0" });
  const leader: Fetch = (name) => node.leaderClient.fetch("/jobs", jobOf(name));
  const http1: Fetch = (name) => fetch(`http://127.0.0.1:${http1Port}/jobs`, jobOf(name));
  for (const each of [leader, http1]) await speedOf(each, WARM_UP_MS);
  const speeds = { leader: [] as number[], http1: [] as number[], ratio: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const [ours, theirs] = [await speedOf(leader, ROUND_MS), await speedOf(http1, ROUND_MS)];
    speeds.leader.push(ours);
    speeds.http1.push(theirs);
    speeds.ratio.push(ours / theirs);
  }
  const outcomes = await Promise.allSettled(
    Array.from({ length: AT_ONCE }, (_, id) => answer(leader, `at once ${id}`)),
  );
  const result: RequestsResult = {
    ratio: median(speeds.ratio),
    requestsPerSecond: median(speeds.leader),
    http1RequestsPerSecond: median(speeds.http1),
    inFlight: IN_FLIGHT,
    atOnce: AT_ONCE,
    answered: outcomes.filter(({ status }) => status === "fulfilled").length,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
  await node.shutdown();
} finally {
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.stdin?.end();
  await ended;
  await rm(directory, { recursive: true });
}
