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
import { decoded, mutatedText, mutations, runs } from "../support/fuzz-mutations.ts";

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

  /** Refused, or told as `told` says and within bounds; gives which. In bounded time, and without an exception. */
  function isAccepted(shape: z.ZodType, told: unknown): boolean {
    const outcome = decoded(() => shape.safeParse(told));
    const { success, data } = "value" in outcome ? outcome.value : expect.fail("it was refused with an error");
    if (!success) return false;
    expect(told).toMatchObject(data as object);
    expectBounded(data);
    return true;
  }

  // What is here accepted may be another word than was sent: the shapes are no seal. Nobody without the secret can change a
  // message (`tests/net/auth.test.ts`); what is checked is that nobody who has it can bring a reader down.
  test.each(messages)(
    "%s with any fault is refused, or has nothing in it that may not be told",
    (_name, shape, message) => {
      const counts = { accepted: 0, refused: 0 };
      const campaign = runs(300);
      fc.assert(
        fc.property(message, message, fc.option(fc.nat(), { freq: 2 }), mutations, (sent, other, which, faults) => {
          const damaged = (text: string) => mutatedText(text, faults, JSON.stringify(other));
          const inside = (value: unknown) =>
            typeof value === "string" ? damaged(value) : parsed(damaged(JSON.stringify(value)));
          // Nine of ten faults in the whole leave no JSON, which no shape gets to see; what has them inside of it does.
          const told =
            which === null ? parsed(damaged(JSON.stringify(sent))) : replacedAt(structuredClone(sent), which, inside);
          if (told !== undefined) counts[isAccepted(shape, told) ? "accepted" : "refused"]++;
        }),
        campaign,
      );
      expectBoth(counts, campaign.numRuns);
    },
  );

  test.each(messages)(
    "%s with parts of whatever kind is refused, and never brings the reader down",
    (_name, shape, message) => {
      const numbers = fc.constantFrom<unknown[]>(-1, -0.5, 0, 7, 2 ** 53, Number.MAX_VALUE);
      const anything = fc.oneof(
        fc.jsonValue(),
        numbers,
        word(64),
        word(100),
        fc.constantFrom("leader", "x".repeat(400)),
      );
      const counts = { accepted: 0, refused: 0 };
      const campaign = runs(200);
      fc.assert(
        fc.property(message, fc.nat(), anything, (sent, which, value) => {
          const told = replacedAt(structuredClone(sent), which, () => value);
          // As text, `__proto__` is a member as any other.
          const text = JSON.stringify(told).replace(/^(\[?)\{(?!\})/, '$1{"__proto__":{"uuid":"x"},');
          counts[isAccepted(shape, JSON.parse(text)) ? "accepted" : "refused"]++;
        }),
        campaign,
      );
      expectBoth(counts, campaign.numRuns);
    },
  );

  /** Or the shape was hardly asked, or always said the same. */
  function expectBoth({ accepted, refused }: { accepted: number; refused: number }, count: number): void {
    expect((accepted + refused) / count).toBeGreaterThan(0.25);
    expect(Math.min(accepted, refused) / count).toBeGreaterThan(0.04);
  }

  function parsed(text: string): unknown {
    try {
      return JSON.parse(text);
    } catch {
      return undefined;
    }
  }

  /** One value somewhere in it is what `change` makes of it. */
  function replacedAt(message: unknown, which: number, change: (value: unknown) => unknown): unknown {
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
    if (holder === undefined || key === undefined) return change(message);
    holder[key] = change(holder[key]);
    return message;
  }
});
