/** Holds what clients were told against what the store says, when everything is over. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { type ClusterOptions, LittleBigCluster } from "../../src/mod.ts";
import { checkOperations } from "../../src/testing/checkers/check-operations.ts";
import { checkLinearizable } from "../../src/testing/checkers/linearizable.ts";
import type { Violation } from "../../src/testing/checkers/operation.ts";
import { readTimeline } from "../../src/testing/checkers/read-timeline.ts";
import type { StoredTimeline } from "../../src/testing/checkers/timeline-recorder.ts";
import { checkReadings } from "../../src/testing/workloads/check-readings.ts";
import { checkAnswers, operationsOf, readingsOf, registerOperationsOf, worksOf } from "./evidence.ts";
import { pagesDigest } from "./pages-digest.ts";
import type { RunRecord } from "./record.ts";
import type { ChaosStore } from "./stores.ts";

export interface Judgement {
  readonly violations: readonly Violation[];
  /** What could not be decided, or is no violation and worth knowing. */
  readonly notes: readonly string[];
  /** `undefined` if the history cannot be read. */
  readonly timeline: StoredTimeline | undefined;
}

export async function judge(
  store: ChaosStore,
  settings: Omit<ClusterOptions, "store">,
  record: RunRecord,
  directory: string,
): Promise<Judgement> {
  const violations: Violation[] = [];
  const notes: string[] = [];
  const attempt = async (rule: string, promise: string, action: () => Promise<void>) => {
    try {
      await action();
    } catch (error) {
      violations.push({ rule, promise, text: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  };
  const options = { ...settings, store: store.direct };
  let timeline: StoredTimeline | undefined;
  let digest = "";
  await attempt("the history cannot be read", "P1, P2", async () => {
    timeline = await readTimeline(options, (db) => {
      digest = db.snapshot(pagesDigest);
    });
  });
  if (timeline !== undefined) {
    const truth = timeline;
    await attempt("the checkers failed", "", async () => {
      violations.push(...checkEverything(record, truth, notes));
    });
  }
  await attempt("verify failed", "P7", async () => {
    violations.push(...(await verify(new LittleBigCluster(options), notes)));
  });
  await attempt("the exported database is not sound", "P8", async () => {
    violations.push(...(await checkExport(new LittleBigCluster(options), directory, notes)));
  });
  await attempt("the restored database cannot be opened", "P1", async () => {
    const cluster = new LittleBigCluster(options);
    const past = await cluster.openAt((await cluster.extent()).newest);
    const restored = past.snapshot(pagesDigest);
    past.close();
    if (restored === digest) return;
    const text = `restored ${restored}, by way of every epoch ${digest}`;
    violations.push({ rule: "the restored database is not the one that every epoch leads to", promise: "P2", text });
  });
  return { violations, notes, timeline };
}

function checkEverything({ operations }: RunRecord, timeline: StoredTimeline, notes: string[]): Violation[] {
  const works = worksOf(operations);
  const registers = checkLinearizable(registerOperationsOf(operations, timeline));
  const violations = [
    ...checkAnswers(operations),
    ...checkOperations(operationsOf(operations, timeline), timeline),
    ...checkReadings(readingsOf(operations), timeline, (id) => works.get(id)),
  ];
  if (registers.verdict === "violated")
    violations.push({ rule: "operations on a register have no order", promise: "§7", text: registers.text });
  if (registers.verdict === "undecided") notes.push(`register ${registers.register} is undecided: ${registers.reason}`);
  return violations;
}

/** Findings that cost only comfort are told: a leader that was killed may have left a pack to the next one. */
async function verify(cluster: LittleBigCluster, notes: string[]): Promise<Violation[]> {
  const report = await cluster.verify();
  const violations: Violation[] = [];
  for (const { object, problem, reason, isHarmless } of report.findings) {
    if (isHarmless) notes.push(`verify: ${object} ${problem}: ${reason}`);
    else violations.push({ rule: "verify found damage", promise: "P7", text: `${object} ${problem}: ${reason}` });
  }
  if (!report.isRestorable)
    violations.push({ rule: "not every epoch can be restored", promise: "P1", text: JSON.stringify(report.lost) });
  return violations;
}

async function checkExport(cluster: LittleBigCluster, directory: string, notes: string[]): Promise<Violation[]> {
  const file = join(directory, "exported.db");
  await cluster.export((await cluster.extent()).newest, file);
  let said: string;
  try {
    said = execFileSync("sqlite3", [file, "PRAGMA integrity_check"], { encoding: "utf8" }).trim();
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT" || process.env["LBC_REQUIRE_SQLITE3"] === "1") throw error;
    notes.push("skipped: there is no sqlite3 program on this machine to look at the exported database with");
    return [];
  }
  return said === "ok" ? [] : [{ rule: "integrity_check of stock sqlite3", promise: "P8", text: said }];
}
