import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  COST_SAMPLE_INTERVAL_MS,
  COST_SPAN_MIN_MS,
  COST_WINDOW_MS,
  CostRate,
  usdPerMonth,
} from "../../src/node/cost-rate.ts";

const DAY_MS = 24 * 60 * 60_000;

function rateFrom(atMs: number, usd: number = 0): CostRate {
  const rate = new CostRate();
  rate.begin({ atMs, usd });
  return rate;
}

describe("the cost of a month", () => {
  it("is unknown until there is a rate to go by", () => {
    expect(new CostRate().usdPerMonth({ atMs: 1, usd: 1 })).toBeUndefined();
    const rate = rateFrom(500);
    expect(rate.usdPerMonth({ atMs: 500, usd: 1 })).toBeUndefined();
    expect(rate.usdPerMonth({ atMs: 500 + COST_SPAN_MIN_MS - 1, usd: 1 })).toBeUndefined();
    expect(rate.usdPerMonth({ atMs: 500 + COST_SPAN_MIN_MS, usd: 1 })).toBeGreaterThan(0);
  });

  it("is thirty days at a steady rate, whatever was spent before", () => {
    const spentAt = (atMs: number) => 99 + (atMs / DAY_MS) * 0.25;
    const rate = rateFrom(0, spentAt(0));
    for (let atMs = 0; atMs <= 2 * COST_WINDOW_MS; atMs += 5000) {
      const now = { atMs, usd: spentAt(atMs) };
      rate.sample(now);
      const perMonth = rate.usdPerMonth(now);
      if (perMonth !== undefined) expect(perMonth).toBeCloseTo(7.5, 6);
    }
    expect(rate.usdPerMonth({ atMs: 2 * COST_WINDOW_MS, usd: spentAt(2 * COST_WINDOW_MS) })).toBeCloseTo(7.5, 6);
  });

  it("is that of the window: what was before is forgotten", () => {
    const rate = rateFrom(0);
    rate.sample({ atMs: 10_000, usd: 1000 });
    expect(rate.usdPerMonth({ atMs: 10_000, usd: 1000 })).toBeGreaterThan(1e6);
    for (let atMs = 20_000; atMs <= COST_WINDOW_MS + 10_000; atMs += 10_000) rate.sample({ atMs, usd: 1000 });
    expect(rate.usdPerMonth({ atMs: COST_WINDOW_MS + 10_000, usd: 1000 })).toBe(0);
  });

  it("falls to nothing when nothing is spent, though nobody samples", () => {
    const rate = rateFrom(0);
    rate.sample({ atMs: 20_000, usd: 1 });
    expect(rate.usdPerMonth({ atMs: 20_000 + COST_WINDOW_MS, usd: 1 })).toBe(0);
  });

  it("takes a bounded memory and is never below zero, however it is sampled", () => {
    const step = fc.record({ waitMs: fc.nat(3 * COST_SAMPLE_INTERVAL_MS), usd: fc.nat(5) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400, size: "max" }), (steps) => {
        const rate = rateFrom(0);
        let now = { atMs: 0, usd: 0 };
        for (const { waitMs, usd } of steps) {
          now = { atMs: now.atMs + waitMs, usd: now.usd + usd };
          rate.sample(now);
          expect(rate.size).toBeLessThanOrEqual(COST_WINDOW_MS / COST_SAMPLE_INTERVAL_MS + 2);
          const perMonth = rate.usdPerMonth(now) ?? 0;
          expect(perMonth).toBeGreaterThanOrEqual(0);
          expect(perMonth).toBeLessThanOrEqual((now.usd / COST_SPAN_MIN_MS) * 30 * DAY_MS);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("reads between the samples where the window begins", () => {
    const samples = [
      { atMs: 0, usd: 0 },
      { atMs: 100_000, usd: 100 },
    ];
    const perMonth = usdPerMonth(samples, { atMs: COST_WINDOW_MS + 50_000, usd: 100 });
    expect(perMonth).toBeCloseTo((50 / COST_WINDOW_MS) * 30 * DAY_MS, 3);
  });
});
