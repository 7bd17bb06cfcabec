/** `npm run bench -- history [PART…]`: every figure that is promised for the history, each in a process of its own. */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { JoinResult } from "./history/join.ts";
import { MB, median } from "./history/large-database.ts";
import type { DownloadResult, OpenAtResult } from "./history/open-at.ts";
import type { RollbackResult } from "./history/rollback.ts";
import type { StallResult } from "./history/stall.ts";
import type { VerifyResult } from "./history/verify.ts";
import type { Sample, WeekResult } from "./history/week.ts";
import { type Figure, figure } from "./report.ts";

const SCRIPTS = fileURLToPath(new URL("history", import.meta.url));
/** The days that `week` takes, of which seven eighths are the retention; fewer for a try. */
const DAYS = process.env["LBC_BENCH_DAYS"] ?? "8";
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
const COLD_RUNS = 3;
/** In the middle of the prepared history: a snapshot and packs before it, others after it. */
const OPEN_AT_EPOCH = 15_000;
const LATENCY_MS = 20;

/** Runs a script in a process of its own and gives what it prints as JSON. */
function run<T>(script: string, ...args: string[]): T {
  const output = execFileSync(process.execPath, ["--import", "tsx", join(SCRIPTS, script), ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  return (output.trim() === "" ? undefined : JSON.parse(output)) as T;
}

/** A directory with the history that `history/prepare.ts` makes, made when it is first asked for. */
class Prepared {
  #directory: string | undefined;

  async directory(): Promise<string> {
    if (this.#directory !== undefined) return this.#directory;
    process.stderr.write("preparing a history…\n");
    this.#directory = await mkdtemp(join(tmpdir(), "lbc-bench-"));
    run("prepare.ts", this.#directory);
    return this.#directory;
  }

  async remove(): Promise<void> {
    if (this.#directory !== undefined) await rm(this.#directory, { recursive: true, force: true });
  }
}

const most = (samples: readonly Sample[], of: (sample: Sample) => number) => Math.max(...samples.map(of));
const requestsOf = ({ gets, heads, lists }: Pick<Sample, "gets" | "heads" | "lists">) =>
  `${gets} GETs, ${heads} HEADs, ${lists} LISTs`;

function readFigures(what: string, samples: readonly Sample[]): Figure[] {
  const requests = requestsOf({
    gets: most(samples, ({ gets }) => gets),
    heads: most(samples, ({ heads }) => heads),
    lists: most(samples, ({ lists }) => lists),
  });
  return [
    figure(
      `${what}: objects, the most`,
      most(samples, ({ objects }) => objects),
      { atMost: 100, detail: `at ${samples.length} moments; requests at the most: ${requests}` },
    ),
    figure(
      `${what}: bytes × database, the most`,
      most(samples, ({ ratio }) => ratio),
      { atMost: 1.5, detail: `median ${median(samples.map(({ ratio }) => ratio)).toFixed(2)}` },
    ),
  ];
}

function weekFigures(): Figure[] {
  const week = run<WeekResult>("week.ts", DAYS);
  const { days, retentionDays, databaseBytes, retainedWalBytes, extent, end, dayRequests } = week;
  const bytes = end.reduce((sum, use) => sum + use.bytes, 0);
  const objects = end.reduce((sum, use) => sum + use.objects, 0);
  const kinds = end.map((use) => `${use.objects} ${use.kind}s of ${Math.round(use.bytes / MB)} MB`).join(", ");
  const what = `${days} days of an epoch a second, ${retentionDays} kept`;
  const requests = Object.entries(dayRequests).map(([kind, count]) => `${count} ${kind}`);
  return [
    figure(`${what}: bytes in the bucket at the end × WALs of the retention`, bytes / retainedWalBytes, {
      detail: `database ${Math.round(databaseBytes / MB)} MB; ${kinds}`,
    }),
    figure("the same at its fullest", week.bytesMax / retainedWalBytes, {
      detail: `${week.objectsMax} objects at the most, ${week.deletedObjects} deleted`,
    }),
    figure("objects in the bucket at the end × epochs of the retention", objects / (retentionDays * 86_400), {
      detail: `epochs ${extent.earliest} to ${extent.newest}`,
    }),
    ...readFigures("a join", week.joins),
    ...readFigures("openAt", week.restores),
    figure("the leader's requests a day, without deletions, × its epochs", week.dayRatio, {
      detail: `${requests.join(", ")}; ${week.dayUsd.toFixed(3)} USD`,
    }),
  ];
}

async function joinFigures(prepared: Prepared): Promise<Figure[]> {
  const directory = await prepared.directory();
  return [0, LATENCY_MS].flatMap((latencyMs) => {
    const result = run<JoinResult>("join.ts", directory, String(latencyMs));
    const { joinMs, downloadMs, ratio, objects, bytes, databaseBytes } = result;
    const store = latencyMs === 0 ? "file system" : `store with ${latencyMs} ms`;
    const what = `join of ${Math.round(databaseBytes / MB)} MB, ${store}`;
    const time = figure(`${what}: time × downloading and hashing the same bytes`, ratio, {
      detail: `${Math.round(joinMs)} to ${Math.round(downloadMs)} ms`,
    });
    if (latencyMs > 0) return [time];
    return [
      time,
      figure("its objects", objects, { atMost: 100, detail: requestsOf(result) }),
      figure("its bytes × database", bytes / databaseBytes, { atMost: 1.5 }),
    ];
  });
}

async function openAtFigures(prepared: Prepared): Promise<Figure[]> {
  const directory = await prepared.directory();
  const opened: OpenAtResult[] = [];
  const downloaded: DownloadResult[] = [];
  for (let round = 0; round < COLD_RUNS; round++) {
    const result = run<OpenAtResult>("open-at.ts", "open", directory, String(OPEN_AT_EPOCH));
    const ranges = join(directory, "ranges.json");
    await writeFile(ranges, JSON.stringify(result.ranges));
    downloaded.push(run<DownloadResult>("open-at.ts", "download", directory, ranges));
    await rm(ranges);
    opened.push(result);
  }
  const [first] = opened as [OpenAtResult];
  const openMs = median(opened.map(({ elapsedMs }) => elapsedMs));
  const downloadMs = median(downloaded.map(({ elapsedMs }) => elapsedMs));
  const megabytes = Math.round(first.databaseBytes / MB);
  return [
    figure(`openAt of ${megabytes} MB, cold, file system × a cold download of the same bytes`, openMs / downloadMs, {
      detail: `${Math.round(openMs)} to ${Math.round(downloadMs)} ms; ${first.objects} objects, ${requestsOf(first)}`,
    }),
  ];
}

async function rollbackFigures(prepared: Prepared): Promise<Figure[]> {
  const result = run<RollbackResult>("rollback.ts", await prepared.directory());
  const { pages, rollbackMs, firstMs, openAtMs, writeMs, ratio, blockedMs, writeBlockedMs } = result;
  return [
    figure(`rollback of ${pages} pages × openAt of that point and a write of as many pages`, ratio, {
      detail: `${Math.round(rollbackMs)} ms (first ${Math.round(firstMs)}) to ${Math.round(openAtMs)} + ${Math.round(writeMs)}`,
    }),
    figure("the longest that the event loop stands still meanwhile, × in that write", blockedMs / writeBlockedMs, {
      detail: `${Math.round(blockedMs)} to ${Math.round(writeBlockedMs)} ms`,
    }),
  ];
}

async function verifyFigures(prepared: Prepared): Promise<Figure[]> {
  const result = run<VerifyResult>("verify.ts", await prepared.directory());
  const { megabytes, verifyMs, downloadMs, objects, integrityMs } = result;
  return [
    figure("verify, MB/s", megabytes / (verifyMs / 1000), {
      detail: `${Math.round(megabytes)} MB in ${objects} objects; integrity_check ${Math.round(integrityMs)} ms more`,
    }),
    figure("verify: time × reading and hashing the same bytes", verifyMs / downloadMs, {
      detail: `${Math.round(verifyMs)} to ${Math.round(downloadMs)} ms`,
    }),
  ];
}

function stallFigures(): Figure[] {
  return ["memory", "s3"].flatMap((mode) => {
    const { rounds, databaseMB } = run<StallResult>("stall.ts", mode);
    const extra = rounds.map(({ quiet, busy }) => busy.longestWriteMs - quiet.longestWriteMs);
    const gaps = rounds.map(({ quiet, busy }) => busy.longestGapMs - quiet.longestGapMs);
    const each = (values: readonly number[]) => values.map((value) => value.toFixed(1)).join(", ");
    const shown = (of: (stretch: StallResult["rounds"][number]["busy"]) => number) =>
      `with ${each(rounds.map(({ busy }) => of(busy)))}, without ${each(rounds.map(({ quiet }) => of(quiet)))} ms`;
    const store = mode === "s3" ? "S3Store" : "1 MiB at a time";
    const what = `packs, a snapshot of ${Math.round(databaseMB)} MB and retention at once, ${store}`;
    return [
      figure(`${what}: longest write above without, ms`, Math.max(...extra), {
        atMost: 20,
        detail: shown(({ longestWriteMs }) => longestWriteMs),
      }),
      figure("the event loop stands still, above without, ms", Math.max(...gaps), {
        atMost: 20,
        detail: shown(({ longestGapMs }) => longestGapMs),
      }),
    ];
  });
}

/** `rollback` comes last of those that share a history: it writes to it. */
const PARTS: Readonly<Record<string, (prepared: Prepared) => Figure[] | Promise<Figure[]>>> = {
  week: weekFigures,
  join: joinFigures,
  openAt: openAtFigures,
  verify: verifyFigures,
  rollback: rollbackFigures,
  stall: stallFigures,
};

/** Measures every part, or those that are named. */
export async function history(names: readonly string[]): Promise<Figure[]> {
  const unknown = names.find((name) => PARTS[name] === undefined);
  if (unknown !== undefined) throw new Error(`no part ${unknown}: ${Object.keys(PARTS).join(", ")}`);
  const figures: Figure[] = [];
  const prepared = new Prepared();
  try {
    // One after the other: each has the machine for itself.
    for (const [name, measure] of Object.entries(PARTS)) {
      if (names.length > 0 && !names.includes(name)) continue;
      process.stderr.write(`${name}…\n`);
      figures.push(...(await measure(prepared)));
    }
  } finally {
    await prepared.remove();
  }
  return figures;
}
