/** `npm run bench -- core`: every figure that is promised for the core, as a ratio measured in this run. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { CommitResult } from "./core/commit.ts";
import type { ReplicateResult } from "./core/replicate.ts";
import type { SnapshotResult } from "./core/snapshot.ts";
import type { SqlResult, SqlSpeed } from "./core/sql.ts";
import { type Figure, figure } from "./report.ts";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const BIN = join(HERE, "..", "node_modules", ".bin");
const SQL_RUNS = 5;

const NODE: readonly string[] = [process.execPath, "--import", "tsx"];
const RUNTIMES: Readonly<Record<string, { readonly command: readonly string[]; readonly bundled: readonly string[] }>> =
  {
    Node: { command: NODE, bundled: ["better-sqlite3", "better-sqlite3 :memory:"] },
    Deno: { command: [join(BIN, "deno"), "run", "-A"], bundled: ["node:sqlite"] },
    Bun: { command: [join(BIN, "bun")], bundled: ["bun:sqlite"] },
  };

/** Runs a script in a process of its own and gives what it prints as JSON. */
function run<T>(command: readonly string[], script: string, ...args: string[]): T {
  const [file = "", ...rest] = command;
  const output = execFileSync(file, [...rest, join(HERE, "core", script), ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return (output.trim() === "" ? undefined : JSON.parse(output)) as T;
}

/** Installs what is compared with; without it the comparison is left out. */
function installRivals(): boolean {
  if (existsSync(join(HERE, "node_modules", "better-sqlite3"))) return true;
  try {
    execFileSync("npm", ["ci", "--no-audit", "--no-fund"], { cwd: HERE, stdio: "ignore" });
    return true;
  } catch {
    process.stderr.write("better-sqlite3 cannot be installed here: left out of the comparison\n");
    return false;
  }
}

/** Runs each engine several times, in turn, so that a busy moment of the machine hits all of them. */
function compareSql(runtime: string, rivals: readonly string[]): Figure[] {
  const { command } = RUNTIMES[runtime] ?? { command: NODE };
  const results = new Map<string, SqlResult[]>();
  for (let round = 0; round < SQL_RUNS; round++) {
    for (const engine of ["littlebigcluster", ...rivals]) {
      results.set(engine, [...(results.get(engine) ?? []), run<SqlResult>(command, "sql.ts", engine)]);
    }
  }
  const speed = (engine: string, phase: "cold" | "warm", name: keyof SqlSpeed) =>
    median((results.get(engine) ?? []).map((result) => result[phase][name]));
  const names = {
    get: "SELECT by text key",
    scan: "scan of 50 000 rows as objects",
    insert: "INSERT in one transaction",
  } as const;
  return rivals.flatMap((rival) =>
    (["warm", "cold"] as const).flatMap((phase) =>
      (["get", "scan", "insert"] as const).map((name) => {
        const [own, other] = [speed("littlebigcluster", phase, name), speed(rival, phase, name)];
        const goal = rival === "better-sqlite3" ? (phase === "warm" ? 1 : 0.4) : undefined;
        const detail = `${Math.round(own)} to ${Math.round(other)} k/s`;
        return figure(`${runtime}, ${phase}: ${names[name]} × ${rival}`, own / other, { atLeast: goal, detail });
      }),
    ),
  );
}

function commitFigures(): Figure[] {
  const { fileSystem, slow, writers, writesPerSecond } = run<CommitResult>(NODE, "commit.ts");
  const detail = ({ writeMs, putMs }: { writeMs: number; putMs: number }) =>
    `${writeMs.toFixed(2)} to ${putMs.toFixed(2)} ms`;
  return [
    figure("lone durable write × bare put, file system", fileSystem.ratio, { atMost: 1.3, detail: detail(fileSystem) }),
    figure("lone durable write × bare put, store with 20 ms", slow.ratio, { atMost: 1.1, detail: detail(slow) }),
    figure(`durable writes a second, ${writers} writers, store with 20 ms`, writesPerSecond, { atLeast: 5000 }),
  ];
}

function replicateFigures(): Figure[] {
  const result = run<ReplicateResult>(NODE, "replicate.ts");
  return [
    figure("applying WALs on a follower, MB/s", result.applyMBPerSecond, {
      atLeast: 300,
      detail: `small epochs: ${Math.round(result.smallEpochsPerSecond)} a second`,
    }),
    figure(`join of ${Math.round(result.databaseMB)} MB from memory × copying and hashing them`, result.joinRatio, {
      atMost: 3,
      detail: `${Math.round(result.joinMs)} to ${Math.round(result.copyAndHashMs)} ms`,
    }),
  ];
}

async function snapshotFigures(): Promise<Figure[]> {
  const directory = await mkdtemp(join(tmpdir(), "lbc-bench-"));
  try {
    run<undefined>(NODE, "snapshot.ts", "prepare", directory);
    const split = run<SnapshotResult>(NODE, "snapshot.ts", "measure-split", directory);
    const disk = run<SnapshotResult>(NODE, "snapshot.ts", "measure", directory);
    const memory = (result: SnapshotResult) =>
      `${Math.round(result.residentMaxMB)} MB of ${Math.round(result.databaseMB)} MB`;
    const waits = ({ during, quiet, snapshotMs }: SnapshotResult) =>
      `p50 ${during.p50Ms.toFixed(1)} (quiet ${quiet.p50Ms.toFixed(1)}), max ${during.maxMs.toFixed(1)} (quiet ${quiet.maxMs.toFixed(1)}), snapshot ${Math.round(snapshotMs)} ms`;
    return [
      figure("resident memory × (1.5 × database + 100 MB), opening and snapshot", disk.residentRatio, {
        atMost: 1,
        detail: memory(disk),
      }),
      figure("longest wait of a write during a snapshot above without, ms", split.extraMaxMs, {
        atMost: 20,
        detail: waits(split),
      }),
      figure("the same with snapshot and epochs on one disk, ms", disk.extraMaxMs, { detail: waits(disk) }),
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** Measures everything. */
export async function core(): Promise<Figure[]> {
  const hasRivals = installRivals();
  const sql = Object.entries(RUNTIMES).flatMap(([runtime, { bundled }]) =>
    compareSql(runtime, runtime === "Node" && !hasRivals ? [] : bundled),
  );
  return [...sql, ...commitFigures(), ...replicateFigures(), ...(await snapshotFigures())];
}
