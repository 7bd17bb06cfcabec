/**
 * A cluster of three processes in three runtimes on this machine: writes
 * through it, kills the leader, and counts what became of the writes.
 *
 *   npm run demo
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import pico from "picocolors";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DEADLINE_MS = 55_000;
const WRITE_INTERVAL_MS = 20;
const KEY = "demo";

type Runtime = "node" | "deno" | "bun";

interface DemoNode {
  readonly name: string;
  readonly process: ChildProcess;
  readonly url: string;
}

/** What became of the elements that were sent, one after the other. */
interface Tally {
  readonly acknowledged: string[];
  /** Neither acknowledged nor surely refused: may be there or not. */
  readonly unknown: string[];
  ackedAtMs: number;
  longestGapMs: number;
}

const directory = await mkdtemp(join(tmpdir(), "lbc-demo-"));
const nodes: DemoNode[] = [];
const deadline = setTimeout(() => fail(new Error(`not done within ${DEADLINE_MS} ms`)), DEADLINE_MS);
try {
  await demo();
} catch (error) {
  await fail(error);
}
clearTimeout(deadline);
await cleanUp();

async function demo(): Promise<void> {
  title(`A cluster of three nodes, with the directory ${directory} as its object store`);
  const leader = await start("leader", "leader", "node", pico.green);
  await until("the first leader", async () => (await status(leader)).is_leader);
  const standby = await start("standby", "leader", "deno", pico.yellow);
  const follower = await start("follower", "follower", "bun", pico.cyan);
  await until("all members", async () => (await status(follower)).members.length === 3);

  title("Writing through the follower, which passes the writes on to the leader");
  const tally: Tally = { acknowledged: [], unknown: [], ackedAtMs: performance.now(), longestGapMs: 0 };
  const writer = new AbortController();
  const writing = write(follower, tally, writer.signal);
  await until("100 writes", async () => tally.acknowledged.length >= 100);
  const epoch = await readBack(follower, tally);
  note(`${tally.acknowledged.length} writes acknowledged, read back from the follower at epoch ${epoch}`);

  title("kill -9 of the leader, while the writes go on");
  const killedAtMs = beginGap(tally);
  leader.process.kill("SIGKILL");
  await until("the takeover", async () => (await status(standby)).is_leader);
  const electedMs = performance.now() - killedAtMs;
  await moreWrites(tally, 100);
  const killGapMs = tally.longestGapMs;
  await until("the roster without it", async () => (await status(follower)).members.length === 2);

  title("A third runtime joins as standby, and the leader hands over to it (SIGTERM)");
  const third = await start("third", "leader", "node", pico.magenta);
  await until("its place in the roster", async () => (await status(follower)).members.length === 3);
  beginGap(tally);
  standby.process.removeAllListeners("exit");
  standby.process.kill("SIGTERM");
  await until("the hand-over", async () => (await status(third)).is_leader);
  await moreWrites(tally, 100);
  const handOverGapMs = tally.longestGapMs;
  writer.abort();
  await writing;

  await readBack(third, tally);
  const elements = await list(third);
  const lost = tally.acknowledged.filter((element) => !elements.includes(element));
  const repeated = elements.length - new Set(elements).size;
  const found = tally.unknown.filter((element) => elements.includes(element)).length;
  title("Summary");
  note(`takeover after kill -9: a new leader after ${Math.round(electedMs)} ms`);
  note(`longest time without an acknowledged write: ${Math.round(killGapMs)} ms at the kill`);
  note(`and ${Math.round(handOverGapMs)} ms at the hand-over (writes come every ${WRITE_INTERVAL_MS} ms)`);
  note(`writes acknowledged: ${tally.acknowledged.length}`);
  note(`writes of unknown outcome: ${tally.unknown.length}, of which ${found} are there`);
  note(`writes lost: ${lost.length}`);
  if (lost.length > 0 || repeated > 0) throw new Error(`lost ${lost.length}, repeated ${repeated}`);
}

/** Counts the longest time without an acknowledgement anew; gives the time. */
function beginGap(tally: Tally): number {
  tally.longestGapMs = 0;
  return performance.now();
}

async function moreWrites(tally: Tally, count: number): Promise<void> {
  const target = tally.acknowledged.length + count;
  await until(`${count} more writes`, async () => tally.acknowledged.length >= target);
}

/** The runtime's command: of the development dependencies, else Node. */
function runnerOf(name: Runtime): readonly string[] {
  const binary = join(ROOT, "node_modules", ".bin", name);
  if (name === "node" || !existsSync(binary)) return [process.execPath, "--import", "tsx"];
  return name === "deno" ? [binary, "run", "-A"] : [binary];
}

async function start(
  name: string,
  command: string,
  runtime: Runtime,
  color: (text: string) => string,
): Promise<DemoNode> {
  const [file = "", ...rest] = runnerOf(runtime);
  const args = [...rest, "examples/lol_cluster.ts", "-p", directory, "-a", "127.0.0.1:0", "-r", runtime, command];
  const child = spawn(file, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const tag = color(`${name.padEnd(8)} │ `);
  const url = new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      process.stdout.write(`${tag}${line}\n`);
      const found = /Listening on (http:\S+)/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
    createInterface({ input: child.stderr }).on("line", (line) => process.stderr.write(`${tag}${line}\n`));
    child.once("error", reject);
    child.once("exit", (code, signal) => reject(new Error(`${name} ended with ${signal ?? code}`)));
  });
  const node = { name, process: child, url: "" };
  nodes.push(node);
  return Object.assign(node, { url: await url });
}

/** Appends one element after the other until aborted. */
async function write(node: DemoNode, tally: Tally, signal: AbortSignal): Promise<void> {
  for (let count = 1; !signal.aborted; count++) {
    const element = String(count);
    const response = await fetch(`${node.url}/append/${KEY}`, { method: "POST", body: element }).catch(() => undefined);
    if (response?.ok) {
      tally.acknowledged.push(element);
      const nowMs = performance.now();
      tally.longestGapMs = Math.max(tally.longestGapMs, nowMs - tally.ackedAtMs);
      tally.ackedAtMs = nowMs;
    } else {
      tally.unknown.push(element);
    }
    await response?.body?.cancel().catch(() => {});
    await sleep(WRITE_INTERVAL_MS);
  }
}

async function list(node: DemoNode): Promise<string[]> {
  const response = await fetch(`${node.url}/kv/${KEY}?level=linearizable`);
  const { value } = (await response.json()) as { value: string };
  return JSON.parse(value) as string[];
}

/** Fails unless everything acknowledged so far is there. */
async function readBack(node: DemoNode, tally: Tally): Promise<number> {
  const expected = [...tally.acknowledged];
  const response = await fetch(`${node.url}/kv/${KEY}?level=linearizable`);
  const { value, epoch } = (await response.json()) as { value: string; epoch: number };
  const elements = new Set(JSON.parse(value) as string[]);
  const missing = expected.filter((element) => !elements.has(element));
  if (missing.length > 0) throw new Error(`acknowledged and not there: ${missing.join(", ")}`);
  return epoch;
}

async function status(node: DemoNode): Promise<{ is_leader: boolean; members: unknown[] }> {
  const response = await fetch(`${node.url}/.lbc/status`);
  return (await response.json()) as { is_leader: boolean; members: unknown[] };
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 30_000; !(await condition()); await sleep(20)) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${what}`);
  }
}

async function cleanUp(): Promise<void> {
  const ended = nodes.map(async ({ process: child }) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.removeAllListeners("exit");
    child.kill("SIGTERM");
    const forced = setTimeout(() => child.kill("SIGKILL"), 5000);
    await new Promise((resolve) => child.once("exit", resolve));
    clearTimeout(forced);
  });
  await Promise.all(ended);
  await rm(directory, { recursive: true, force: true });
}

async function fail(error: unknown): Promise<never> {
  process.stderr.write(`${pico.red("The demo failed:")} ${error instanceof Error ? error.message : String(error)}\n`);
  for (const { process: child } of nodes) child.kill("SIGKILL");
  await rm(directory, { recursive: true, force: true }).catch(() => {});
  process.exit(1);
}

function title(text: string): void {
  process.stdout.write(`\n${pico.bold(text)}\n`);
}

function note(text: string): void {
  process.stdout.write(`  ${text}\n`);
}
