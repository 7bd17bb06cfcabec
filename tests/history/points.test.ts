import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isClusterError } from "../../src/errors.ts";
import { walKey } from "../../src/format/keys.ts";
import type { Point } from "../../src/history/point.ts";
import { parsePoint, resolvePoint } from "../../src/history/points.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { flip } from "../support/cluster.ts";
import { clusterErrorOf } from "../support/errors.ts";
import { minuteMs, minuteText, partsAt, WrittenHistory } from "../support/written-history.ts";

const NOW_MS = Date.parse("2026-11-20T12:00:00Z");
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe("a point is read", () => {
  test.each<[Point, number]>([
    [0, 0],
    [42, 42],
    ["42", 42],
    [" 42 ", 42],
    ["00000000000000000042", 42],
    [2 ** 53 - 1, 2 ** 53 - 1],
  ])("as an epoch: %j", (point, epoch) => {
    expect(parsePoint(point, NOW_MS)).toEqual({ kind: "epoch", epoch });
  });

  test.each<[Point, number]>([
    ["2026-11-20T12:00:00Z", 0],
    ["2026-11-20T13:00:00+01:00", 0],
    ["2026-11-20T06:30:00-05:30", 0],
    ["2026-11-20 12:00:00z", 0],
    ["2026-11-20t12:00:00-00:00", 0],
    ["2026-11-20T12:00:00.5Z", 500],
    ["2026-11-20T12:00:00.123999999+00:00", 123],
    ["2026-11-21T00:30:00+12:30", 0],
    [new Date(NOW_MS + 7), 7],
    ["30s ago", -30 * SECOND],
    ["5m ago", -5 * MINUTE],
    ["5 minutes ago", -5 * MINUTE],
    ["2h ago", -2 * HOUR],
    ["1 day ago", -DAY],
    ["2 Weeks Ago", -14 * DAY],
    ["1h30m ago", -1.5 * HOUR],
    ["1 hour 30 minutes ago", -1.5 * HOUR],
    ["1d 2h 3min 4sec ago", -(DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND)],
    ["0s ago", 0],
  ])("as a time: %j", (point, fromNowMs) => {
    expect(parsePoint(point, NOW_MS)).toEqual({ kind: "time", ms: NOW_MS + fromNowMs });
  });

  test("as the newest epoch: now", () => {
    expect(parsePoint("now", NOW_MS)).toEqual({ kind: "newest" });
  });

  test.each<[unknown, string]>([
    [Number.NaN, "whole numbers"],
    [Number.POSITIVE_INFINITY, "whole numbers"],
    [-1, "whole numbers"],
    [1.5, "whole numbers"],
    [2 ** 53, "whole numbers"],
    ["9007199254740992", "whole numbers"],
    ["-1", "not negative"],
    ["1e3", "neither an epoch nor a time"],
    ["0x10", "neither an epoch nor a time"],
    ["", "empty"],
    ["yesterday", "neither an epoch nor a time"],
    ["ago", "neither an epoch nor a time"],
    ["5 months ago", "neither an epoch nor a time"],
    ["1m1h ago", "neither an epoch nor a time"],
    ["1h1h ago", "neither an epoch nor a time"],
    ["-5m ago", "neither an epoch nor a time"],
    ["5m", 'write "5m ago"'],
    ["1h30m", 'write "1h30m ago"'],
    ["5x", "neither an epoch nor a time"],
    ["2026-02-30", "no such day, time or zone"],
    ["2026-11-20T25:00", "no such day, time or zone"],
    ["99999999999999999999 days ago", "too long ago"],
    ["2026-11-20", "write 2026-11-20T00:00:00Z"],
    ["2026-11-20T12:00:00", "write 2026-11-20T12:00:00Z"],
    ["2026-11-20 12:00", "write 2026-11-20 12:00:00Z"],
    ["2026-02-30T00:00:00Z", "no such day, time or zone"],
    ["2026-11-20T24:00:00Z", "no such day, time or zone"],
    ["2026-11-20T12:00:60Z", "no such day, time or zone"],
    ["2026-11-20T12:00:00+25:00", "no such day, time or zone"],
    ["20.11.2026", "neither an epoch nor a time"],
    ["Fri, 20 Nov 2026 12:00:00 GMT", "neither an epoch nor a time"],
    [new Date(Number.NaN), "it is no time"],
    [undefined, "undefined"],
    [null, "object"],
    [42n, "bigint"],
    [Symbol("x"), "symbol"],
  ])("and refused if it is none: %s", (point, reason) => {
    const error = clusterErrorOf(() => parsePoint(point as Point, NOW_MS));
    expect([error.kind, error.code]).toEqual(["invalid", "bad_point"]);
    expect(error.message).toContain(reason);
    expect(error.message).toContain('"5m ago"');
  });

  test("or refused, whatever the text is, and never slowly (property)", () => {
    const text = fc.oneof(
      fc.string(),
      fc.stringMatching(/^[0-9:TZ +.wdhms-]{0,40}( ago)?$/),
      fc.constant("1".repeat(1e6)),
    );
    fc.assert(
      fc.property(text, (point) => {
        try {
          const parsed = parsePoint(point, NOW_MS);
          if (parsed.kind === "time") expect(new Date(parsed.ms).getTime()).toBe(parsed.ms);
        } catch (error) {
          if (!isClusterError(error) || error.code !== "bad_point" || error.message.length > 600) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

async function errorOf(action: Promise<unknown>) {
  const error = await action.then(
    () => expect.fail("nothing was thrown"),
    (reason: unknown) => reason,
  );
  if (!isClusterError(error)) throw error;
  return error;
}

describe("the epoch of a point is found", () => {
  test("a time means the newest epoch whose last_update is not later", async () => {
    const { store } = await WrittenHistory.minutes(40);
    const parts = partsAt(store, minuteMs(60));
    const extent = { earliest: 3, newest: 39 };
    for (let minute = 3; minute < 40; minute++) {
      const expected = { epoch: minute, time: minuteText(minute) };
      for (const ms of [0, 1, MINUTE - 1]) {
        expect(await resolvePoint(parts, new Date(minuteMs(minute) + ms), extent, undefined)).toEqual(expected);
      }
    }
    expect(await resolvePoint(parts, "25m ago", extent, undefined)).toEqual({ epoch: 35, time: minuteText(35) });
    expect(await resolvePoint(parts, 17, extent, undefined)).toEqual({ epoch: 17, time: minuteText(17) });
    expect(await resolvePoint(parts, "now", extent, undefined)).toEqual({ epoch: 39, time: minuteText(39) });
  });

  test("of epochs within one moment it is the newest", async () => {
    const times = [0, 1, 1, 1, 2, 2].map((minute) => ({ time: minuteText(minute) }));
    const { store } = await WrittenHistory.create(times);
    const found = await resolvePoint(
      partsAt(store, minuteMs(9)),
      minuteText(1, 5),
      { earliest: 0, newest: 5 },
      undefined,
    );
    expect(found).toEqual({ epoch: 3, time: minuteText(1) });
  });

  test("with a read for each halving, and none of a whole large epoch", async () => {
    const history = await WrittenHistory.minutes(300);
    for (let minute = 300; minute < 310; minute++) {
      const write = (tx: { exec: (sql: string) => void }) =>
        tx.exec(`CREATE TABLE t${minute} AS SELECT randomblob(300000) AS body`);
      await history.append({ time: minuteText(minute), write });
    }
    let reads = 0;
    let bytes = 0;
    const store = new FaultyStore(history.store);
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      const object = await get(key, options);
      reads++;
      bytes += object?.bytes.length ?? 0;
      return object;
    };
    const extent = { earliest: 0, newest: 309 };
    const found = await resolvePoint(partsAt(store, minuteMs(400)), minuteText(305), extent, undefined);
    expect(found.epoch).toBe(305);
    expect(reads).toBeLessThanOrEqual(2 + Math.ceil(Math.log2(310)));
    expect(bytes).toBeLessThanOrEqual(reads * 32 * 1024);
  });

  test("a point in the future is refused, and the error names the newest epoch", async () => {
    const { store } = await WrittenHistory.minutes(5);
    const parts = partsAt(store, minuteMs(4));
    const extent = { earliest: 0, newest: 4 };
    const byEpoch = await errorOf(resolvePoint(parts, 5, extent, undefined));
    expect([byEpoch.kind, byEpoch.code, byEpoch.details["newest"]]).toEqual(["invalid", "point_in_future", 4]);
    expect(byEpoch.message).toContain("the newest is 4");
    const byTime = await errorOf(resolvePoint(parts, minuteText(6), extent, undefined));
    expect([byTime.code, byTime.details["newest"]]).toEqual(["point_in_future", 4]);
    expect(byTime.message).toContain(`is 4 of ${minuteText(4)}`);
    // Clocks differ a little.
    expect((await resolvePoint(parts, minuteText(5), extent, undefined)).epoch).toBe(4);
  });

  test("a time that an epoch has is no future, whatever the local clock says", async () => {
    const { store } = await WrittenHistory.minutes(5);
    const extent = { earliest: 0, newest: 4 };
    expect((await resolvePoint(partsAt(store, 0), minuteText(3), extent, undefined)).epoch).toBe(3);
  });

  test("a point before the retention is refused, and the error names the earliest point", async () => {
    const { store } = await WrittenHistory.minutes(9);
    const parts = partsAt(store, minuteMs(9));
    const extent = { earliest: 3, newest: 8 };
    for (const point of [2, "0", minuteText(3, -1), "1 day ago"]) {
      const error = await errorOf(resolvePoint(parts, point, extent, undefined));
      expect([error.kind, error.code]).toEqual(["invalid", "point_before_history"]);
      expect(error.details).toMatchObject({ earliest: 3, earliestTime: minuteText(3) });
      expect(error.message).toContain(`epoch 3 of ${minuteText(3)}`);
    }
  });
});

describe("where the history has holes", () => {
  test("an earliest epoch without its WAL has no time, and is found by its number", async () => {
    const { store } = await WrittenHistory.minutes(9);
    await store.delete(walKey(3));
    const parts = partsAt(store, minuteMs(9));
    const extent = { earliest: 3, newest: 8 };
    expect(await resolvePoint(parts, 3, extent, undefined)).toEqual({ epoch: 3, time: undefined });
    expect((await resolvePoint(parts, minuteText(4), extent, undefined)).epoch).toBe(4);
    const error = await errorOf(resolvePoint(parts, minuteText(3), extent, undefined));
    expect([error.code, error.details["earliest"]]).toEqual(["point_before_history", 3]);
  });

  test("missing and damaged epochs are passed over (property)", async () => {
    const count = 40;
    const { store } = await WrittenHistory.minutes(count);
    const whole = new Map<number, Uint8Array>();
    for (let epoch = 0; epoch < count; epoch++)
      whole.set(epoch, ((await store.get(walKey(epoch))) as { bytes: Uint8Array }).bytes);
    const kind = fc.constantFrom("there", "there", "missing", "damaged");
    await fc.assert(
      fc.asyncProperty(
        fc.array(kind, { minLength: count, maxLength: count }),
        fc.integer({ min: 0, max: count * MINUTE }),
        async (kinds, ms) => {
          for (const [epoch, bytes] of whole) await store.put(walKey(epoch), bytes);
          for (const [epoch, fate] of kinds.entries()) {
            if (fate === "missing") await store.delete(walKey(epoch));
            if (fate === "damaged") await flip(store, walKey(epoch), 60 + (ms % 4000));
          }
          const readable = [...kinds.keys()].filter((epoch) => kinds[epoch] === "there");
          const expected = readable.findLast((epoch) => minuteMs(epoch) <= minuteMs(0) + ms);
          const point = new Date(minuteMs(0) + ms);
          const found = await resolvePoint(
            partsAt(store, minuteMs(99)),
            point,
            { earliest: 0, newest: count - 1 },
            undefined,
          ).catch((error: unknown) => (isClusterError(error) ? error.code : Promise.reject(error)));
          if (expected === undefined)
            expect(found).toBe(readable.length === 0 ? expect.anything() : "point_before_history");
          else expect(found).toEqual({ epoch: expected, time: minuteText(expected) });
        },
      ),
      { numRuns: 100 },
    );
  });

  test("too many damaged ones in a row end the search with an error that says so", async () => {
    const { store } = await WrittenHistory.minutes(300);
    for (let epoch = 50; epoch < 250; epoch++) await flip(store, walKey(epoch), 3000);
    const error = await errorOf(
      resolvePoint(partsAt(store, minuteMs(999)), minuteText(100), { earliest: 0, newest: 299 }, undefined),
    );
    expect([error.kind, error.code, error.details["epoch"]]).toEqual(["corrupt", "history_unreadable", 150]);
  });

  test("a retention that moves during the search is told, never an older epoch than there is", async () => {
    const { store } = await WrittenHistory.minutes(40);
    const faulty = new FaultyStore(store);
    let reads = 0;
    faulty.onCall = () => {
      // After the newest and the earliest were read.
      if (++reads === 3) for (let epoch = 0; epoch < 20; epoch++) void store.delete(walKey(epoch));
      return undefined;
    };
    const extent = { earliest: 0, newest: 39 };
    const error = await errorOf(resolvePoint(partsAt(faulty, minuteMs(99)), minuteText(15), extent, undefined));
    expect([error.kind, error.code]).toEqual(["unavailable", "history_moved"]);
    expect(
      (await resolvePoint(partsAt(store, minuteMs(99)), minuteText(25), { earliest: 20, newest: 39 }, undefined)).epoch,
    ).toBe(25);
    const gone = await errorOf(
      resolvePoint(partsAt(store, minuteMs(99)), minuteText(15), { earliest: 20, newest: 39 }, undefined),
    );
    expect(gone.code).toBe("point_before_history");
  });

  test("a store that fails is no hole: its error is passed on", async () => {
    const { store } = await WrittenHistory.minutes(9);
    const faulty = new FaultyStore(store, {
      onCall: ({ number }) => (number > 2 ? { kind: "fail_before" } : undefined),
    });
    const error = await errorOf(
      resolvePoint(partsAt(faulty, minuteMs(99)), minuteText(4), { earliest: 0, newest: 8 }, undefined),
    );
    expect([error.kind, error.code]).toEqual(["unavailable", "store_timeout"]);
  });

  test("a signal ends the search", async () => {
    const { store } = await WrittenHistory.minutes(9);
    const search = resolvePoint(
      partsAt(store, minuteMs(99)),
      minuteText(4),
      { earliest: 0, newest: 8 },
      AbortSignal.abort(new Error("enough")),
    );
    await expect(search).rejects.toThrow("enough");
  });
});

test("where leaders' clocks differ, the result is not later than the time, and what follows it is (property)", async () => {
  const count = 24;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 12 }), { minLength: count, maxLength: count }),
      fc.integer({ min: 0, max: 12 }),
      async (minutes, asked) => {
        const { store } = await WrittenHistory.create(minutes.map((minute) => ({ time: minuteText(minute) })));
        const timeOf = (epoch: number) => minutes[epoch] ?? Number.POSITIVE_INFINITY;
        try {
          const { epoch } = await resolvePoint(
            partsAt(store, minuteMs(99)),
            minuteText(asked),
            { earliest: 0, newest: count - 1 },
            undefined,
          );
          expect(timeOf(epoch)).toBeLessThanOrEqual(asked);
          expect(timeOf(epoch + 1)).toBeGreaterThan(asked);
        } catch (error) {
          if (!isClusterError(error) || error.code !== "point_before_history") throw error;
          expect(timeOf(0)).toBeGreaterThan(asked);
        }
      },
    ),
    { numRuns: 40 },
  );
});
