/** What members tell of themselves and each other, damaged in whatever way. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { z } from "zod";
import {
  acceptanceShape,
  announcementShape,
  membersShape,
  reportShape,
  rollbackShape,
  subscribeShape,
} from "../../src/node/member-shape.ts";
import { mutatedText, mutations, runs } from "../support/fuzz-mutations.ts";

describe("what members tell", () => {
  const word = (maxLength: number) => fc.string({ minLength: 1, maxLength });
  const epoch = fc.oneof(fc.maxSafeNat(), fc.constant(-1));
  const member = fc.record({
    uuid: word(100),
    az: word(100),
    address: word(300),
    role: fc.constantFrom("leader", "standby", "follower"),
    roles: fc.array(word(64), { maxLength: 3 }),
    runtime: word(100),
    version: word(100),
    epoch,
    lagMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
    startedAt: word(100),
  });
  const messages: [string, z.ZodType, fc.Arbitrary<unknown>][] = [
    ["a roster", membersShape, fc.array(member, { maxLength: 3 })],
    ["a report", reportShape, fc.record({ member, isLeaving: fc.boolean(), wantsRoster: fc.boolean() })],
    ["a wish for the stream", subscribeShape, fc.record({ member, epoch })],
    ["an acceptance", acceptanceShape, fc.record({ uuid: word(100) })],
    [
      "an announcement",
      announcementShape,
      fc.record({ leader: fc.record({ uuid: word(100), az: word(100), address: word(300) }), epoch }),
    ],
    [
      "a wish for a rollback",
      rollbackShape,
      fc.record({ point: fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), word(100)) }),
    ],
  ];

  /** No text, list or number is larger than a member may tell. */
  function expectBounded(value: unknown): void {
    if (typeof value === "string") expect(value.length).toBeLessThanOrEqual(300);
    else if (typeof value === "number") expect(Number.isFinite(value)).toBe(true);
    else if (typeof value === "object" && value !== null) {
      expect([Object.prototype, Array.prototype]).toContain(Object.getPrototypeOf(value));
      for (const inner of Object.values(value)) expectBounded(inner);
    }
  }

  test.each(messages)("%s is read as it was written", (_name, shape, message) => {
    fc.assert(
      fc.property(message, (sent) => {
        const text = JSON.stringify(sent);
        expect(shape.parse(JSON.parse(text))).toEqual(JSON.parse(text));
      }),
      runs(60),
    );
  });

  test.each(messages)(
    "%s with any fault is refused, or has nothing in it that may not be told",
    (_name, shape, message) => {
      fc.assert(
        fc.property(message, message, mutations, (sent, other, faults) => {
          let told: unknown;
          try {
            told = JSON.parse(mutatedText(JSON.stringify(sent), faults, JSON.stringify(other)));
          } catch {
            return;
          }
          const { success, data } = shape.safeParse(told);
          if (!success) return;
          expect(told).toMatchObject(data as object);
          expectBounded(data);
        }),
        runs(300),
      );
    },
  );

  test.each(messages)(
    "%s with parts of whatever kind is refused, and never brings the reader down",
    (_name, shape, message) => {
      const anything = fc.oneof(fc.jsonValue(), fc.constantFrom(-1, -0.5, 2 ** 53, Number.MAX_VALUE, "x".repeat(400)));
      fc.assert(
        fc.property(message, fc.nat(), anything, (sent, which, value) => {
          const told = replacedAt(structuredClone(sent), which, value);
          const { success, data } = shape.safeParse(
            JSON.parse(`{"told":${JSON.stringify(told)},"__proto__":{"x":1}}`).told,
          );
          if (success) expectBounded(data);
        }),
        runs(200),
      );
    },
  );

  /** One value somewhere in it is another. */
  function replacedAt(message: unknown, which: number, value: unknown): unknown {
    const holders: [Record<string, unknown>, string][] = [];
    const visit = (inner: unknown) => {
      if (typeof inner !== "object" || inner === null) return;
      for (const key of Object.keys(inner)) {
        holders.push([inner as Record<string, unknown>, key]);
        visit((inner as Record<string, unknown>)[key]);
      }
    };
    visit(message);
    const [holder, key] = holders[which % Math.max(1, holders.length)] ?? [];
    if (holder === undefined || key === undefined) return value;
    holder[key] = value;
    return message;
  }
});
