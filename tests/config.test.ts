import { describe, expect, it } from "vitest";
import { parseClusterOptions } from "../src/config.ts";
import { ClusterError, LittleBigCluster, MemoryStore } from "../src/mod.ts";

function problemsOf(options: object): readonly string[] {
  try {
    new LittleBigCluster(options as never);
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    expect([error.kind, error.code]).toEqual(["invalid", "bad_configuration"]);
    for (const problem of error.details["problems"] as string[]) expect(error.message).toContain(problem);
    return error.details["problems"] as string[];
  }
  throw new Error("the options were accepted");
}

const store = new MemoryStore();

describe("configuration", () => {
  it("names every problem at once, by the option's name", () => {
    const problems = problemsOf({
      id: "",
      store: {},
      heartbeatIntervalMs: "fast",
      pollIntervalMs: 0.5,
      requestBudget: { perSecond: 0, burst: 1 },
      snapshot: { epochsMax: 0, often: true },
      sesionTimeoutMs: 5,
    });
    const names = problems.map((problem) => problem.split(":")[0]);
    for (const name of [
      "id",
      "store",
      "heartbeatIntervalMs",
      "pollIntervalMs",
      "requestBudget.perSecond",
      "snapshot.epochsMax",
    ])
      expect(names, problems.join("\n")).toContain(name);
    expect(problems.join("\n")).toContain("sesionTimeoutMs");
    expect(problems.join("\n")).toContain("often");
  });

  it.each(["42", "0x", " 7 ", "1e5", "-3.5", ".5"])("an id that SQLite would keep as a number: %s", async (id) => {
    if (/x/.test(id)) {
      await new LittleBigCluster({ id, store: new MemoryStore() }).init();
    } else {
      expect(problemsOf({ id, store }).join("\n")).toContain("must not look like a number");
    }
  });

  it("a retention below an hour is refused: what a join reads must not go away under it", () => {
    expect(problemsOf({ id: "x", store, retentionMs: 3_599_999 }).join("\n")).toContain("retentionMs");
  });

  it("names relations that do not hold together with what is wrong by itself", () => {
    const problems = problemsOf({
      id: "",
      store,
      heartbeatIntervalMs: 4000,
      sessionTimeoutMs: 5000,
      retryBaseMs: 100,
      retryMaxMs: 50,
    });
    expect(problems.map((problem) => problem.split(":")[0]).sort()).toEqual([
      "heartbeatIntervalMs",
      "id",
      "retryBaseMs",
    ]);
    expect(problems.join("\n")).toContain("at most half of sessionTimeoutMs (5000), is 4000");
  });

  it("compares an option that was given with the default of the other", () => {
    expect(problemsOf({ id: "x", store, heartbeatIntervalMs: 15_000 })).toEqual([
      "heartbeatIntervalMs: must be at most half of sessionTimeoutMs (20000), is 15000",
    ]);
    expect(problemsOf({ id: 7, store, sessionTimeoutMs: 5000 }).length).toBe(2);
    expect(problemsOf({ id: "x", store, retryBaseMs: 6000 })).toEqual([
      "retryBaseMs: must be at most retryMaxMs (5000)",
    ]);
  });

  it("says of a relation nothing where one of its sides is wrong itself", () => {
    const problems = problemsOf({ id: "x", store, heartbeatIntervalMs: 15_000, sessionTimeoutMs: "long" });
    expect(problems.map((problem) => problem.split(":")[0])).toEqual(["sessionTimeoutMs"]);
  });

  it("refuses what is no object of options", () => {
    expect(problemsOf(undefined as never).length).toBeGreaterThan(0);
    expect(problemsOf("lol" as never).length).toBeGreaterThan(0);
  });

  it("is filled in and frozen, and does not follow later changes of the options", () => {
    const options = { id: "x", store, snapshot: { epochsMax: 7 } };
    const settings = parseClusterOptions(options);
    options.snapshot.epochsMax = 8;
    expect(settings.snapshot).toMatchObject({ epochsMax: 7, databaseFraction: 0.5 });
    expect(settings).toMatchObject({ heartbeatIntervalMs: 5000, sessionTimeoutMs: 20_000, budget: undefined });
    expect(Object.isFrozen(settings)).toBe(true);
    expect(Object.isFrozen(settings.snapshot)).toBe(true);
    const remote = Object.assign(new MemoryStore(), { locality: "remote" });
    expect(parseClusterOptions({ id: "x", store: remote }).budget).toEqual({ perSecond: 2, burst: 120 });
    expect(parseClusterOptions({ id: "x", store: remote, requestBudget: "unlimited" }).budget).toBeUndefined();
  });
});
