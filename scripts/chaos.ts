/**
 * Real processes on three runtimes over a real store, while everything goes wrong that can be made to: then what clients
 * were told is held against what the store says.
 *
 * ```
 * npm run chaos                                  a minute, half of it over each store
 * npm run chaos -- --minutes 60 --seed 7         an hour
 * npm run chaos -- --store s3 --keep             keeps the evidence also if nothing is wrong
 * ```
 *
 * The seed decides which faults come in which order and what clients do; when that happens is up to the machine.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Command, InvalidArgumentError, Option } from "commander";
import { durationText } from "../src/cli/text.ts";
import { reportText } from "./chaos/report.ts";
import { type RunPlan, runChaos } from "./chaos/run.ts";
import { diskBytesMax } from "./chaos/settings.ts";
import { type ChaosStore, openFileStore, openS3Store, type StoreName } from "./chaos/stores.ts";

const NODES_MIN = 2;
const NODES_MAX = 15;
const SEEDS = 1_000_000;
const MINUTE_MS = 60_000;
/** To read a long history takes a part of the time in which it was written. */
const JUDGING_FACTOR = 1.5;
const OVERHEAD_MAX_MS = 4 * MINUTE_MS;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly store: StoreName | "both";
  readonly nodes: number;
  readonly keep: boolean;
}

function numberIn(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`a number from ${min} to ${max}`);
    return value;
  };
}

const options = new Command("chaos")
  .description("runs a cluster of processes, lets everything go wrong, and checks every promise")
  .option("--minutes <number>", "for how long things go wrong, over all stores", numberIn(0.1, 24 * 60), 1)
  .option(
    "--seed <number>",
    "decides the faults and what clients do",
    numberIn(0, SEEDS),
    Math.floor(Math.random() * SEEDS),
  )
  .addOption(
    new Option("--store <name>", "the file system, Ceph RGW, or both").choices(["fs", "s3", "both"]).default("both"),
  )
  .option("--nodes <number>", "how many processes; Node, Deno and Bun in turn", numberIn(NODES_MIN, NODES_MAX), 5)
  .option("--keep", "keeps the evidence also if nothing is wrong", false)
  .parse()
  .opts<Options>();

const names: readonly StoreName[] = options.store === "both" ? ["fs", "s3"] : [options.store];
/** Begun at once: it takes a few seconds, in which the other store has its turn. */
const openingS3 = names.includes("s3") ? openS3Store() : undefined;
openingS3?.catch(() => {});
const say = (text: string) => process.stdout.write(`${text}\n`);

/** What it is doing, for the case that it does not end. */
let doing = "";

let saidAtMs = 0;

/** One line that is written over, at a terminal; elsewhere one a minute. */
function progress(text: string): void {
  doing = text;
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text.slice(0, process.stdout.columns - 1)}`);
  else if (performance.now() - saidAtMs > MINUTE_MS) {
    saidAtMs = performance.now();
    say(text);
  }
}

async function open(name: StoreName, directory: string, seconds: number): Promise<ChaosStore | undefined> {
  if (name === "fs") return await openFileStore(directory, diskBytesMax(seconds));
  const store = await openingS3;
  if (store === undefined) throw new Error("nobody has asked for S3");
  if (!("missing" in store)) return store;
  if (process.env["LBC_REQUIRE_RGW"] === "1") throw new Error(`Ceph RGW is required: ${store.missing}`);
  say(`skipped: S3, because there is no Ceph RGW: ${store.missing}`);
  return undefined;
}

/** @returns whether nothing was wrong */
async function runOver(name: StoreName, seconds: number): Promise<boolean> {
  const { seed, nodes: nodeCount, keep } = options;
  const directory = mkdtempSync(join(tmpdir(), `lbc-chaos-${name}-`));
  const store = await open(name, directory, seconds);
  let isKept = false;
  try {
    if (store === undefined) return true;
    const plan: RunPlan = { store, seconds, seed, nodeCount, directory, keep, onProgress: progress };
    const report = await runChaos(plan);
    progress("");
    say(reportText(report));
    isKept = report.directory !== undefined;
    return report.violations.length === 0;
  } catch (error) {
    isKept = true;
    say(`evidence in ${directory}`);
    throw error;
  } finally {
    await store?.close();
    if (!isKept) rmSync(directory, { recursive: true, force: true });
  }
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(1));
const beganMs = performance.now();
const timeMaxMs = options.minutes * MINUTE_MS * JUDGING_FACTOR + OVERHEAD_MAX_MS;
setTimeout(() => {
  say(`the run does not end: ${doing}`);
  process.exit(1);
}, timeMaxMs).unref();
let isSound = true;
for (const name of names) {
  say(`\nchaos over ${name}: seed ${options.seed}, ${options.nodes} processes`);
  isSound = (await runOver(name, (options.minutes * 60) / names.length)) && isSound;
}
say(`\n${isSound ? "sound" : "NOT SOUND"}, in ${durationText(performance.now() - beganMs)}`);
process.exit(isSound ? 0 : 1);
