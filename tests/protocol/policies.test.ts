import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { budgetReadyAtMs, fullBudget, spendBudget } from "../../src/protocol/budget.ts";
import { backoffMs } from "../../src/protocol/moment.ts";
import {
  alive,
  expired,
  heard,
  left,
  MEMBERS_MAX,
  type Member,
  membersOf,
  type Roster,
  rosterDifference,
  successorOf,
  told,
} from "../../src/protocol/roster.ts";
import { isSnapshotDue } from "../../src/protocol/snapshots.ts";

describe("backoff", () => {
  test("doubles up to the limit, between half and all of it", () => {
    expect([1, 2, 3, 4, 5, 100, 10_000].map((n) => backoffMs(n, 100, 1_000, 0))).toEqual([
      50, 100, 200, 400, 500, 500, 500,
    ]);
    expect([1, 2, 3].map((n) => backoffMs(n, 100, 1_000, 0.5))).toEqual([75, 150, 300]);
    expect(backoffMs(1, 5_000, 1_000, 0)).toBe(500);
  });

  test("P10: never zero, never above the limit (property)", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempt, fraction) => {
          const delay = backoffMs(attempt, 10, 5_000, fraction);
          expect(delay).toBeGreaterThanOrEqual(5);
          expect(delay).toBeLessThanOrEqual(5_000);
        },
      ),
      { seed: 1 },
    );
  });
});

describe("the request budget", () => {
  const limit = { perSecond: 2, burst: 5 };

  test("P10: over any time, no more epochs than burst and rate allow", () => {
    let budget = fullBudget(limit, 0);
    let spent = 0;
    for (let nowMs = 0; nowMs <= 60_000; nowMs += 7) {
      if (budgetReadyAtMs(budget, limit, nowMs) > nowMs) continue;
      budget = spendBudget(budget, limit, nowMs);
      spent++;
      expect(spent).toBeLessThanOrEqual(limit.burst + (nowMs / 1000) * limit.perSecond + 1e-6);
    }
    expect(spent).toBeGreaterThanOrEqual(limit.burst + 60 * limit.perSecond - 2);
  });

  test("waiting until the time told is enough", () => {
    let budget = fullBudget(limit, 0);
    let nowMs = 0;
    for (let i = 0; i < 1_000; i++) {
      nowMs = budgetReadyAtMs(budget, limit, nowMs);
      expect(budgetReadyAtMs(budget, limit, nowMs) - nowMs).toBeLessThan(1e-6);
      budget = spendBudget(budget, limit, nowMs);
    }
    expect(nowMs).toBeCloseTo(((1_000 - limit.burst) / limit.perSecond) * 1_000, 0);
  });

  test("what cannot wait takes tokens in advance, one burst at the most; a long rest fills one burst", () => {
    let budget = fullBudget(limit, 0);
    for (let i = 0; i < 100; i++) budget = spendBudget(budget, limit, 0);
    expect(budget.tokens).toBe(-5);
    expect(budgetReadyAtMs(budget, limit, 0)).toBe(3_000);
    expect(spendBudget(budget, limit, 1e9).tokens).toBe(4);
  });

  test("without a limit nothing waits; a clock that stands or steps back gives nothing", () => {
    expect(budgetReadyAtMs(fullBudget(undefined, 0), undefined, 77)).toBe(77);
    const empty = { tokens: 0, atMs: 1_000 };
    expect(budgetReadyAtMs(empty, limit, 500)).toBe(1_000);
  });
});

describe("the snapshot policy", () => {
  const settings = { walBytesMin: 1_000, databaseFraction: 0.5, objectsMax: 50, epochsMax: 100, intervalMinMs: 60_000 };
  const situation = { bytes: 0, objects: 1, epochs: 1, databaseBytes: 10_000, sinceLastMs: Number.POSITIVE_INFINITY };

  test.each([
    ["no epochs since", { epochs: 0, bytes: 1e9 }, false],
    ["WALs as large as the share of the database", { bytes: 5_000 }, false],
    ["WALs above it", { bytes: 5_001 }, true],
    ["a small database: the minimum counts", { bytes: 1_000, databaseBytes: 10 }, false],
    ["above the minimum", { bytes: 1_001, databaseBytes: 10 }, true],
    ["many small epochs", { epochs: 100 }, true],
    ["not so many", { epochs: 99 }, false],
    ["many objects", { objects: 50 }, true],
    ["not so many objects", { objects: 49 }, false],
    ["too soon after the last", { bytes: 1e9, epochs: 1e6, sinceLastMs: 59_999 }, false],
    ["long enough after", { bytes: 1e9, sinceLastMs: 60_000 }, true],
  ])("%s", (_name, change, due) => {
    expect(isSnapshotDue({ ...situation, ...change }, settings)).toBe(due);
  });
});

describe("the roster", () => {
  const member = (uuid: string, more: Partial<Member> = {}): Member => ({
    uuid,
    az: "A",
    address: `${uuid}:1`,
    role: "follower",
    roles: [],
    runtime: "node 20",
    version: "0.1.0",
    epoch: 1,
    lagMs: 0,
    startedAt: "2026-01-01T00:00:00Z",
    ...more,
  });
  const uuids = (roster: Roster) => membersOf(roster).map(({ uuid }) => uuid);

  test("who is heard of is a member until it says goodbye or is silent for too long", () => {
    let roster: Roster = heard(heard(new Map(), member("a"), 0), member("b"), 50);
    expect(uuids(expired(roster, 100, 100))).toEqual(["a", "b"]);
    expect(uuids(expired(roster, 101, 100))).toEqual(["b"]);
    roster = heard(roster, member("a", { epoch: 9 }), 100);
    expect(membersOf(roster)[0]?.epoch).toBe(9);
    expect(uuids(expired(roster, 160, 100))).toEqual(["a"]);
    expect(uuids(left(roster, "a"))).toEqual(["b"]);
    expect(left(roster, "nobody")).toBe(roster);
    expect(expired(roster, 100, 100)).toBe(roster);
  });

  test("what is derived does not change what it came from", () => {
    const before: Roster = heard(new Map(), member("a"), 0);
    heard(before, member("b"), 0);
    left(before, "a");
    expect(uuids(before)).toEqual(["a"]);
  });

  test("the order is by zone, start and uuid, however they came", () => {
    const members = [member("c", { az: "B" }), member("b"), member("a", { startedAt: "2026-02-01T00:00:00Z" })];
    expect(uuids(told(members, 0))).toEqual(["b", "a", "c"]);
    expect(uuids(told([...members].reverse(), 0))).toEqual(["b", "a", "c"]);
  });

  test("P10: a flood of members is bounded, those known stay", () => {
    const flood = Array.from({ length: MEMBERS_MAX + 10 }, (_, index) => member(`m${index}`));
    const roster = told(flood, 0);
    expect(roster.size).toBe(MEMBERS_MAX);
    expect(heard(roster, member("new"), 1).size).toBe(MEMBERS_MAX);
    expect(heard(roster, member("m0", { epoch: 2 }), 1).get("m0")?.member.epoch).toBe(2);
  });

  test("a new epoch is progress; a place, a role, a member is a change of membership", () => {
    const before = [member("a"), member("b")];
    const differs = (change: Partial<Member>) => rosterDifference(before, [member("a", change), member("b")]);
    expect(differs({})).toBe("none");
    expect(differs({ epoch: 99 })).toBe("progress");
    expect(differs({ lagMs: 5 })).toBe("progress");
    expect(differs({ address: "x:1" })).toBe("membership");
    expect(differs({ roles: ["w"] })).toBe("membership");
    expect(differs({ role: "leader", epoch: 99 })).toBe("membership");
    expect(rosterDifference(before, [member("a")])).toBe("membership");
    expect(rosterDifference([member("a")], before)).toBe("membership");
  });

  test("who has an open stream is heard of, who is not a member does not become one by it", () => {
    const roster = alive(heard(heard(new Map(), member("a"), 0), member("b"), 0), ["a", "stranger"], 100);
    expect(uuids(expired(roster, 150, 100))).toEqual(["a"]);
  });

  test("next leads the standby that is furthest and can be told, of the same zone if there is a choice", () => {
    const members = [
      member("leader", { role: "leader", epoch: 9 }),
      member("follower", { epoch: 9 }),
      member("behind", { role: "standby", epoch: 7 }),
      member("far", { role: "standby", epoch: 8, az: "B" }),
      member("near", { role: "standby", epoch: 8 }),
    ];
    const all = new Set(members.map(({ uuid }) => uuid));
    expect(successorOf(members, all, "A")).toBe("near");
    expect(successorOf(members, all, "B")).toBe("far");
    expect(successorOf(members, new Set(["behind", "follower"]), "A")).toBe("behind");
    expect(successorOf(members, new Set(["follower"]), "A")).toBeUndefined();
  });
});
