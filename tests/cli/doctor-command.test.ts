import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import process from "node:process";
import pico from "picocolors";
import { describe, expect, it, onTestFinished } from "vitest";
import type { DoctorReport } from "../../src/cli/doctor/finding.ts";
import { reportText } from "../../src/cli/doctor/report.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { temporaryDirectory } from "../store/temporary-directory.ts";
import { commandOf, RUNTIMES, type RuntimeName } from "../support/runtimes.ts";
import { startS3rver } from "../support/s3rver.ts";
import { examine } from "./doctor-support.ts";

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `lbc doctor` as a process of its own. */
function doctor(
  args: readonly string[],
  environment: Record<string, string> = {},
  runtime: RuntimeName = "node",
): { child: ChildProcess; ended: Promise<Ended> } {
  const [command, ...first] = commandOf(runtime, "src/cli/main.ts");
  const child = spawn(command, [...first, "doctor", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LBC_STORE: "", ...environment },
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (data) => {
    stdout += data;
  });
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  const ended = new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
  return { child, ended };
}

describe("lbc doctor", () => {
  it.each(RUNTIMES)("tells of a good store in one JSON document and ends with 0, on %s", async (runtime) => {
    const directory = temporaryDirectory();
    const { code, stdout, stderr } = await doctor(["--json", "--no-many", "--store", directory], {}, runtime).ended;
    expect(code, stderr).toBe(0);
    // Deno tells there what it installs.
    if (runtime !== "deno") expect(stderr).toBe("");
    const report = JSON.parse(stdout) as DoctorReport;
    expect(report).toMatchObject({ verdict: "ok", store: expect.stringContaining(directory) });
    expect(report.findings.map(({ check }) => check)).toContain("latency");
    expect(report.findings.find(({ check }) => check === "read_after_write")?.measured).toMatchObject({
      secondHandle: true,
    });
    expect(readdirSync(directory)).toEqual([]);
  });

  it("ends with 3 where create is not atomic, and counts with the prices that are given", async () => {
    const { endpoint, credentials } = await startS3rver();
    const environment = {
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      LBC_STORE: `s3://bucket/some/where?endpoint=${endpoint}`,
    };
    const args = ["--json", "--no-many", "--put-price", "1000000", "--list-price", "0", "--database-size", "1"];
    const { code, stdout } = await doctor(args, environment).ended;
    expect(code).toBe(3);
    const report = JSON.parse(stdout) as DoctorReport;
    expect(report.verdict).toBe("bad");
    const finding = (name: string) => report.findings.find(({ check }) => check === name);
    expect(finding("create_race")?.verdict).toBe("bad");
    expect(finding("parts")?.measured).toMatchObject({ works: true });
    const cost = finding("cost")?.measured as Partial<{ idle: Record<string, number>; databaseBytes: number }>;
    expect(cost.idle?.usd).toBeGreaterThan(525_600);
    expect(cost.idle?.usd).toBe(cost.idle?.putRequests);
    expect(cost.databaseBytes).toBe(1024 * 1024);
  });

  it("cleans up when it is interrupted, and ends with 130", async () => {
    const directory = temporaryDirectory();
    const { child, ended } = doctor(["--store", directory]);
    const hasRaced = () => readdirSync(directory, { recursive: true }).some((name) => String(name).endsWith("race/0"));
    await expect.poll(hasRaced, { timeout: 20_000 }).toBe(true);
    child.kill("SIGINT");
    expect(await ended).toMatchObject({ code: 130, stdout: "" });
    expect(readdirSync(directory)).toEqual([]);
  });

  it("refuses wrong prices and a missing store as a wrong command line", async () => {
    for (const args of [
      ["--store", "memory:", "--put-price", "-1"],
      ["--store", "memory:", "--put-price", "cheap"],
      ["--store", "memory:", "--database-size", "0"],
      [],
    ]) {
      expect((await doctor(args).ended).code, args.join(" ")).toBe(2);
    }
  });
});

describe("the report as text", () => {
  const output = (isTerminal: boolean, columns = 80) =>
    ({ isTerminal, columns, colors: pico.createColors(isTerminal) }) as Parameters<typeof reportText>[1];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of a terminal
  const plain = (text: string) => text.replace(/\u001b\[[0-9;]*m/g, "");
  const broken = async () => {
    const store = new MemoryStore();
    const { put } = store;
    store.put = (key, body) => put.call(store, key, body);
    return await examine(store, { withManyKeys: false });
  };

  it("is a table on a terminal, no wider than that", async () => {
    const lines = plain(reportText(await broken(), output(true, 80))).split("\n");
    expect(lines[0]).toMatch(/^┌─.*┐$/);
    const table = lines.slice(0, lines.findIndex((line) => line.startsWith("└")) + 1);
    expect(table.length).toBeGreaterThan(20);
    expect(Math.max(...table.map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(lines.join("\n")).toMatch(/bad +│ create race +│/);
  });

  it("is a line for each finding elsewhere, with what a bad one means, what to do, and an answer", async () => {
    const text = reportText(await broken(), output(false));
    expect(text).toMatch(/^bad {6}create race {7}race 1 of 20: 32 of 32 /m);
    expect(text).toMatch(/^ +It means: two nodes can both believe that they lead/m);
    expect(text).toMatch(/^ +What to do: use a store with an atomic create-if-absent/m);
    expect(text).toContain("Do not put a cluster in this store as it is.");
  });

  it("shows nothing that a terminal would obey of what a store said", () => {
    const finding = { check: "access", verdict: "bad", found: "\u001b[2Jgone", measured: {} } as const;
    const requests = { requests: 1, errors: 1, bytesIn: 0, bytesOut: 0 };
    const text = reportText({ store: "memory:", verdict: "bad", findings: [finding], requests }, output(true));
    expect(plain(text)).not.toContain("\u001b");
  });
});
