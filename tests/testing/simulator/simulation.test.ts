import { describe, expect, it } from "vitest";
import { describePlan, type PlannedFault, PROFILES, shrinkPlan, simulate } from "../../../src/testing/mod.ts";
import { filledPool } from "./pool.ts";

const pool = await filledPool(64);
const profileNamed = (name: string) => PROFILES.find((profile) => profile.name === name) ?? expect.fail(name);

describe("a simulated life", () => {
  it.each([
    ["flash", 4],
    ["absence", 2],
    ["short", 1],
    ["short", 17],
    ["brisk", 95],
    ["standard", 3],
  ])("of the kind %s keeps every promise, and is the same again for the same seed (%i)", async (name, seed) => {
    const profile = profileNamed(name);
    const life = await simulate({ seed, profile, pool });
    expect(life.violations).toEqual([]);
    expect(life.acknowledged).toBeGreaterThan(0);
    const again = await simulate({ seed, profile, pool });
    expect([again.traceHash, again.events, again.epochs]).toEqual([life.traceHash, life.events, life.epochs]);
    const other = await simulate({ seed: seed + 1, profile, pool });
    expect(other.traceHash).not.toBe(life.traceHash);
  });

  it("takes the plan that it is given, and tells what went wrong when", async () => {
    const lines: string[] = [];
    const plan: PlannedFault[] = [{ atMs: 2000, durationMs: 1000, fault: { kind: "crash", member: 0 } }];
    const life = await simulate({
      seed: 5,
      profile: profileNamed("short"),
      pool,
      plan,
      onTrace: (line) => lines.push(line),
    });
    expect(life.coverage.faults).toEqual({ crash: 1 });
    expect(lines.filter((line) => line.includes("FAULT"))).toEqual([
      expect.stringMatching(/^ +2\.0000 {2}FAULT .*"crash"/),
    ]);
    expect(describePlan(plan)).toBe("2.000 s: crash for 1.000 s, member 0");
  });
});

describe("shrinkPlan", () => {
  const plan = Array.from(
    { length: 17 },
    (_, member): PlannedFault => ({ atMs: member, durationMs: 1, fault: { kind: "pause", member } }),
  );
  const membersOf = (faults: readonly PlannedFault[]) =>
    faults.map(({ fault }) => ("member" in fault ? fault.member : -1));

  it("finds the faults that it takes", async () => {
    const fails = async (faults: readonly PlannedFault[]) => [3, 11].every((one) => membersOf(faults).includes(one));
    expect(membersOf(await shrinkPlan(plan, fails, 1000))).toEqual([3, 11]);
  });

  it("stops after so many tries, with a plan that fails", async () => {
    let tries = 0;
    const fails = async (faults: readonly PlannedFault[]) => {
      tries++;
      return membersOf(faults).includes(16);
    };
    const small = await shrinkPlan(plan, fails, 3);
    expect(tries).toBe(3);
    expect(membersOf(small)).toContain(16);
  });
});
