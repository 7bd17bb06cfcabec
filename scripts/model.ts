/**
 * Checks the model of the protocol (docs/model/fencing.pml, docs/protocol.md) with spin: the protocol as it is keeps
 * every promise in every state that it can reach, and each variant that lacks one measure breaks the promise that the
 * measure is for, by the counterexample that is pinned beside the model.
 *
 * ```
 * npm run model               everything that belongs to the sources
 * npm run model -- --deep     also the largest configurations: ten minutes, 4 GB
 * npm run model -- --pin      writes the counterexamples anew
 * ```
 */
import { execFile, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const MODEL_DIRECTORY = fileURLToPath(new URL("../docs/model", import.meta.url));
const MODEL = join(MODEL_DIRECTORY, "fencing.pml");
const PINNED_DIRECTORY = join(MODEL_DIRECTORY, "counterexamples");
/** Of one check, in MiB: two run at a time. */
const MEMORY_MIB = 1000;
const DEEP_MEMORY_MIB = 6000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
const JOBS_MAX = 2;

/** The names are those of the model. */
const PROMISES = {
  oneHistory: "P2: an epoch was appended that does not build on the one before it",
  durable: "P1: a write was acknowledged that is not in the history",
  oneLeader: "P2: two nodes acknowledged the same epoch",
  superseded: "P3: a node acknowledged an epoch though history had gone on without it",
  notWritten: "P6: a write was reported as not written that is in the history",
  onlyHistoryIsRead: "P2: a node shows its readers an epoch that is not in the history",
  liveHistoryIsDeleted: "P1: an epoch was deleted that is still needed",
};

type Promised = keyof typeof PROMISES;

/** The protocol as it is, within some bounds. */
interface Configuration {
  readonly name: string;
  readonly macros: readonly string[];
  readonly isLiveness?: boolean;
  readonly isDeep?: boolean;
}

/** The protocol without one of its measures. */
interface Variant {
  readonly name: string;
  readonly what: string;
  readonly breaks: Promised;
  readonly macros: readonly string[];
}

const CONFIGURATIONS: readonly Configuration[] = [
  { name: "crash and restart", macros: ["EPOCHS=3", "CRASHES=1", "LATE=0"] },
  { name: "hand-over", macros: ["EPOCHS=3", "CRASHES=0", "LATE=0", "HANDOVER"] },
  { name: "one epoch more", macros: ["EPOCHS=4", "CRASHES=0", "LATE=0"] },
  { name: "late PUT", macros: ["EPOCHS=3", "CRASHES=0", "LATE=1"] },
  { name: "PUT that lands at any time", macros: ["EPOCHS=3", "CRASHES=0", "LATE=1", "LATE_FOR_EVER"] },
  { name: "somebody leads", macros: ["EPOCHS=2", "CRASHES=1", "LATE=1", "LIVENESS"], isLiveness: true },
  { name: "late PUT and crash", macros: ["EPOCHS=3", "CRASHES=1", "LATE=1"], isDeep: true },
  { name: "hand-over and late PUT", macros: ["EPOCHS=3", "CRASHES=0", "LATE=1", "HANDOVER"], isDeep: true },
];

const SMALL = ["EPOCHS=3", "CRASHES=0", "LATE=0"];
const LONGER = ["EPOCHS=4", "CRASHES=0", "LATE=0"];

const VARIANTS: readonly Variant[] = [
  variant("ACKNOWLEDGE_BEFORE_PUT", "A write is acknowledged when its PUT begins.", "durable"),
  variant("EXISTS_IS_OURS", "412 counts as success, and nothing is read back.", "durable"),
  variant("EXISTS_IS_FENCED", "After a lost answer, 412 counts as fencing, and nothing is read back.", "notWritten"),
  variant("TIMEOUT_IS_NOT_WRITTEN", "A time-out counts as not written.", "notWritten"),
  variant("NO_AUDIT", "After a pause the store is not asked for later epochs.", "durable"),
  variant("NO_AUDIT", "The same: another node has acknowledged that epoch.", "oneLeader", ["ONLY=oneLeader"]),
  variant("NO_AUDIT", "The same: it goes on and on.", "superseded", ["ONLY=superseded"], LONGER),
  variant("TRIM_NEWEST", "The retention may delete the newest epoch.", "durable"),
  variant("TRIM_NEWEST", "The same: what is lost is written anew.", "oneHistory", ["ONLY=oneHistory"]),
  variant("TRIM_YOUNG", "The retention may delete what is younger than half an hour.", "onlyHistoryIsRead"),
  variant("TRIM_YOUNG", "The same: a claim is acknowledged.", "durable", ["ONLY=durable"]),
  variant("CLAIM_UNASKED", "A claim counts as proven without a question to the store.", "durable"),
  variant("NEXT_IS_PROOF", "A listing that names later epochs proves a claim of one of them.", "durable"),
  variant("NEXT_IS_TRUSTED", "After long silence, a listing without a gap is believed.", "onlyHistoryIsRead"),
  variant("LATE_ANSWER_IS_PROGRESS", "What a request brings after a pause is applied.", "onlyHistoryIsRead"),
  variant("LATE_RESTORE_IS_PROGRESS", "A node that was paused while it joined goes on as if not.", "onlyHistoryIsRead"),
  variant("FENCED_IS_PROGRESS", "Who was fenced after a pause follows as if it had been there.", "onlyHistoryIsRead"),
  variant(
    "LATE_IS_UNSEEN",
    "A node does not notice how long ago its first PUT was, because its clock stood still.",
    "notWritten",
    [],
    LONGER,
  ),
  variant("OTHER_IS_NOT_WRITTEN", "Other bytes at the number always mean that ours were not written.", "notWritten"),
  variant("HANDOVER_IS_PROOF", "That it is to lead next proves any claim of a node.", "durable", ["HANDOVER"]),
  variant(
    "LISTING_TELLS_A_GAP",
    "An epoch that a listing lacks counts as trimmed, though it may have been created while that was made.",
    "liveHistoryIsDeleted",
  ),
  variant("FENCED_DELETES", "Who was fenced deletes the epoch, whosever it is.", "liveHistoryIsDeleted"),
];

function variant(
  name: string,
  what: string,
  breaks: Promised,
  more: readonly string[] = [],
  bounds: readonly string[] = SMALL,
): Variant {
  return { name, what, breaks, macros: [...bounds, name, ...more] };
}

interface Outcome {
  readonly states: number;
  readonly seconds: number;
  readonly mebibytes: number;
  /** The steps that lead to what went wrong, if anything did. */
  readonly trail: string | undefined;
}

const run = promisify(execFile);

/** Makes spin's verifier for these macros in a directory of its own, runs it, and reads what it says. */
async function check(macros: readonly string[], compile: readonly string[], flags: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), "lbc-model-"));
  const options = { cwd: directory, maxBuffer: OUTPUT_BYTES_MAX };
  const defines = macros.map((macro) => `-D${macro}`);
  try {
    await run("spin", [...defines, "-a", MODEL], options);
    await run("cc", ["-O2", "-w", "-DCOLLAPSE", ...compile, "-o", "pan", "pan.c"], options);
    const { stdout } = await run("./pan", [...flags, "-n"], options).catch((error: { stdout?: string }) => {
      if (error.stdout === undefined) throw error;
      return { stdout: error.stdout };
    });
    const trailFile = readdirSync(directory).find((name) => name.endsWith(".trail"));
    const trail = trailFile === undefined ? undefined : await readTrail(defines, trailFile, directory);
    if (trail === undefined) expectComplete(stdout);
    return { ...figures(stdout), trail };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function readTrail(defines: readonly string[], file: string, cwd: string): Promise<string> {
  const { stdout } = await run("spin", [...defines, "-k", file, "-t", "-T", "-B", MODEL], { cwd }).catch(
    (error: { stdout?: string }) => ({ stdout: error.stdout ?? "" }),
  );
  const lines = stdout.split("\n").filter((line) => /^(node|store| {8}\S|BROKEN)/.test(line));
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

/** That nothing was found counts only if everything was looked at. */
function expectComplete(output: string): void {
  const isComplete = output.includes("errors: 0") && !output.includes("Search not completed");
  if (!isComplete || output.includes("max search depth too small"))
    throw new Error(`the search is incomplete:\n${output}`);
}

function figures(output: string): Omit<Outcome, "trail"> {
  const numberOf = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  return {
    states: numberOf(/^\s*(\S+) states, stored/m),
    seconds: numberOf(/pan: elapsed time (\S+) seconds/),
    mebibytes: numberOf(/(\S+)\s+total actual memory usage/),
  };
}

function describe({ states, seconds, mebibytes }: Outcome): string {
  return `${states.toLocaleString("en")} states, ${seconds.toFixed(1)} s, ${Math.round(mebibytes)} MiB`;
}

async function checkConfiguration({ name, macros, isLiveness, isDeep }: Configuration): Promise<boolean> {
  const memory = `-DMEMLIM=${isDeep ? DEEP_MEMORY_MIB : MEMORY_MIB}`;
  const outcome = isLiveness
    ? await check(macros, [memory, "-DNFAIR=3"], ["-a", "-f", "-m1000000"])
    : await check(macros, [memory, "-DSAFETY"], ["-m1000000"]);
  const isKept = outcome.trail === undefined;
  console.log(`${isKept ? "ok    " : "FAILED"} ${name} (${macros.join(" ")}): ${describe(outcome)}`);
  if (!isKept) console.log(outcome.trail);
  return isKept;
}

/** The shortest way to it, breadth first. */
async function checkVariant({ name, what, breaks, macros }: Variant, isPinning: boolean): Promise<boolean> {
  const outcome = await check(macros, [`-DMEMLIM=${MEMORY_MIB}`, "-DSAFETY", "-DBFS"], ["-m1000000"]);
  const isBroken = outcome.trail?.endsWith(`BROKEN: ${breaks}\n`) === true;
  const label = `${name}, ${breaks}`;
  console.log(`${isBroken ? "ok    " : "FAILED"} breaks as it should: ${label}: ${describe(outcome)}`);
  if (!isBroken) console.log(outcome.trail ?? "nothing was broken");
  if (!isBroken || outcome.trail === undefined) return false;
  const text = `${what}\n${PROMISES[breaks]}.\n\nspin ${macros.map((macro) => `-D${macro}`).join(" ")}\n\n${outcome.trail}`;
  const file = join(PINNED_DIRECTORY, `${name}.${breaks}.txt`);
  if (isPinning) {
    mkdirSync(PINNED_DIRECTORY, { recursive: true });
    writeFileSync(file, text);
    return true;
  }
  const isPinned = existsSync(file) && readFileSync(file, "utf8") === text;
  if (!isPinned) console.log(`FAILED ${file} shows another counterexample: look at it, then npm run model -- --pin`);
  return isPinned;
}

/** Those that take longest first. */
async function checkAll(isPinning: boolean, isDeep: boolean): Promise<boolean> {
  const configurations = CONFIGURATIONS.filter((configuration) => isDeep || !configuration.isDeep);
  const jobs = [
    ...configurations.map((configuration) => () => checkConfiguration(configuration)),
    ...VARIANTS.map((broken) => () => checkVariant(broken, isPinning)),
  ];
  let isAllRight = true;
  const work = async (): Promise<void> => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) isAllRight = (await job()) && isAllRight;
  };
  await Promise.all(Array.from({ length: Math.min(JOBS_MAX, availableParallelism()) }, work));
  return isAllRight;
}

function isInstalled(command: string, flag: string): boolean {
  return spawnSync(command, [flag]).error === undefined;
}

const missing = [
  ...(isInstalled("spin", "-V") ? [] : ["spin"]),
  ...(isInstalled("cc", "--version") ? [] : ["a C compiler"]),
];
if (missing.length > 0) {
  console.log(`the model was NOT checked: ${missing.join(" and ")} not installed (Debian: apt-get install spin gcc)`);
} else {
  const beganMs = performance.now();
  const isAllRight = await checkAll(process.argv.includes("--pin"), process.argv.includes("--deep"));
  console.log(`${isAllRight ? "the model holds" : "FAILED"}, ${Math.round((performance.now() - beganMs) / 1000)} s`);
  process.exitCode = isAllRight ? 0 : 1;
}
