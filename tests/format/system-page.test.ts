import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { isClusterError } from "../../src/errors.ts";
import { readLeafRows, readRecord } from "../../src/format/record.ts";
import { findSystemPages, readSystemPage, type SystemPage } from "../../src/format/system-page.ts";
import { decodeSystemRows } from "../../src/format/system-rows.ts";
import { framePageOffset, PAGE_BYTES, parseWal, parseWalPrefix, walByteLength } from "../../src/format/wal.ts";
import type { SqlValue } from "../../src/sqlite/values.ts";
import { Led } from "../support/cluster-database.ts";
import { codeOf } from "../support/errors.ts";
import { importedEpoch } from "../support/imported-epoch.ts";

/** Epochs of a database whose user has copied the system table; the last changes much. */
let wals: readonly Uint8Array[];
/** The page of the system table, and one of a user's table. */
let systemPage: Uint8Array;
let userPage: Uint8Array;

beforeAll(async () => {
  const led = await Led.create("CREATE TABLE t(a, b); INSERT INTO t VALUES ('cluster_id', 'x'), (1.5, x'00')");
  led.commit({ leader: '{"uuid":"u","az":"Zürich","address":"[::1]:80"}', last_update: "2026-11-20T12:00:00.000Z" });
  led.write((tx) => tx.exec("CREATE TABLE copy AS SELECT * FROM _lbc"));
  led.write((tx) => tx.exec("UPDATE copy SET value = 'later' WHERE key = 'last_update'"));
  led.write((tx) =>
    tx.exec("INSERT INTO t SELECT randomblob(3000), value FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12]')"),
  );
  wals = led.wals;
  systemPage = led.image.page(2).slice();
  userPage = led.image.page(4).slice();
  led.close();
});

const pagesOf = (bytes: Uint8Array): SystemPage[] => findSystemPages(parseWal(bytes, "test"));

test("every epoch's WAL has the system table's rows, as SQLite wrote them", () => {
  for (const [epoch, bytes] of wals.entries()) {
    const [page] = pagesOf(bytes);
    expect(page?.pageNumber).toBe(2);
    const rows = decodeSystemRows(page?.rows ?? new Map(), "test");
    expect(rows.clusterId).toBe("test");
    expect(rows.chain?.epoch).toBe(epoch === 0 ? undefined : epoch - 1);
    if (epoch > 0) expect(rows.leader).toEqual({ uuid: "u", az: "Zürich", address: "[::1]:80" });
  }
  expect(pagesOf(wals[1] as Uint8Array)[0]?.rows.get("last_update")).toBe("2026-11-20T12:00:00.000Z");
});

test("a user's copy of the table comes after it", () => {
  expect(pagesOf(wals[2] as Uint8Array)).toHaveLength(2);
  const [own, copy] = pagesOf(wals[3] as Uint8Array);
  expect([own?.pageNumber, own?.rows.get("last_update")]).toEqual([2, "after 2"]);
  expect(copy?.rows.get("last_update")).toBe("later");
});

test("the beginning of a WAL is enough, and is verified", () => {
  const bytes = wals[4] as Uint8Array;
  const whole = parseWal(bytes, "test");
  for (const frames of [1, 2, 3, whole.frameCount]) {
    for (const more of frames === whole.frameCount ? [0] : [0, 1, 4119]) {
      const prefix = parseWalPrefix(bytes.slice(0, walByteLength(frames) + more), bytes.length, "test");
      expect(prefix.frameCount).toBe(frames);
      expect([...prefix.pageNumbers]).toEqual([...whole.pageNumbers.subarray(0, frames)]);
      expect(prefix.pageCount).toBe(frames === whole.frameCount ? whole.pageCount : 0);
    }
  }
  expect(findSystemPages(parseWalPrefix(bytes.slice(0, walByteLength(3)), bytes.length, "test"))[0]?.pageNumber).toBe(
    2,
  );
  const start = bytes.slice(0, walByteLength(3));
  for (const at of [0, 5, 20, 33, 50, framePageOffset(1), framePageOffset(2) + PAGE_BYTES - 1]) {
    const damaged = start.slice();
    damaged[at] = (damaged[at] as number) ^ 4;
    expect(codeOf(() => parseWalPrefix(damaged, bytes.length, "test"))).toBe("corrupt/wal_corrupt");
  }
  for (const fileBytes of [0, 31, bytes.length - 1, bytes.length + 7, walByteLength(2), walByteLength(3)])
    expect(codeOf(() => parseWalPrefix(start, fileBytes, "test"))).toBe("corrupt/wal_corrupt");
});

test("the table is found wherever it is, in a cluster that began with a file", async () => {
  const script = "CREATE TABLE other(a PRIMARY KEY, b); INSERT INTO other VALUES (1, 1), ('last_update', 5)";
  const change = "UPDATE other SET b = 2";
  const bytes = await importedEpoch(script, change, { last_update: "2026-11-20T12:00:00Z" });
  const pages = pagesOf(bytes);
  expect(pages).toHaveLength(1);
  expect(pages[0]?.pageNumber).toBeGreaterThan(2);
  expect(pages[0]?.rows.get("cluster_id")).toBe("imported");
});

describe("rows are read as SQLite reads them", () => {
  const value = fc.oneof(
    fc.constantFrom<SqlValue>(
      null,
      0,
      1,
      -1,
      127,
      128,
      -129,
      32768,
      2 ** 31,
      -(2 ** 47),
      2 ** 52,
      2n ** 62n,
      -(2n ** 63n),
      1.5,
      -0.5,
      1e300,
    ),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.uint8Array({ maxLength: 40 }),
  );

  test("whatever is in them (property)", async () => {
    const led = await Led.create("CREATE TABLE p(a, b, c)");
    const page = led.replica.db.values<[number]>("SELECT rootpage FROM sqlite_schema WHERE name = 'p'")[0]?.[0] ?? 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(value, value, value), { maxLength: 12 }), async (rows) => {
        led.write((tx) => {
          tx.run("DELETE FROM p");
          for (const [index, row] of rows.entries())
            tx.run("INSERT INTO p(rowid, a, b, c) VALUES (?, ?, ?, ?)", [(index - 3) * 70_000_000_000, ...row]);
        });
        expect(readLeafRows(led.image.page(page), () => true)).toEqual(led.replica.db.values("SELECT a, b, c FROM p"));
      }),
      { numRuns: 300 },
    );
    led.close();
  });

  test("also texts that are not UTF-8, and without rows that go on in other pages", async () => {
    const led = await Led.create(`CREATE TABLE p(a, b); INSERT INTO p VALUES ('long', zeroblob(5000)), ('short', 1),
      ('bad', CAST(x'61ff62c0afeda080f4908080e28261' AS TEXT))`);
    const page = led.replica.db.values<[number]>("SELECT rootpage FROM sqlite_schema WHERE name = 'p'")[0]?.[0] ?? 0;
    expect(readLeafRows(led.image.page(page), () => true)?.map(([key]) => key)).toEqual(["short", "bad"]);
    const bad = readLeafRows(led.image.page(page), () => true)?.[1]?.[1] as string;
    expect(bad.replaceAll("\ufffd", "")).toBe("aba");
    led.close();
  });

  test("a record that is longer than its place, or whose parts are, is none", () => {
    // A header of 4 bytes: an integer of 1 byte, a REAL, a text of 2 bytes.
    const record = Uint8Array.of(4, 1, 7, 17, 5, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0x68, 0x69);
    const { length } = record;
    expect(readRecord(record, 0, length)).toEqual([5, 1.5, "hi"]);
    for (let end = 0; end < length; end++) {
      expect(readRecord(record, 0, end)).toBeUndefined();
      expect(readRecord(record.slice(0, end), 0, end)).toBeUndefined();
      expect(readRecord(record.slice(0, end), 0, length)).toBeUndefined();
    }
    for (const headerBytes of [0, 16, 0x7f]) {
      const other = record.slice();
      other[0] = headerBytes;
      expect(readRecord(other, 0, length)).toBeUndefined();
    }
    for (const reserved of [10, 11]) expect(readRecord(Uint8Array.of(2, reserved), 0, 2)).toBeUndefined();
  });

  test("the first row that is refused ends it", () => {
    expect(readLeafRows(userPage, (row) => row[0] !== 1.5)).toBeUndefined();
  });
});

describe("P7: whatever the bytes are, reading them ends and does not throw", () => {
  test("a page (property)", () => {
    const edits = fc.array(fc.tuple(fc.integer({ min: 0, max: PAGE_BYTES - 1 }), fc.integer({ min: 0, max: 255 })), {
      maxLength: 30,
    });
    const header = fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 255 })), {
      maxLength: 30,
    });
    const base = fc.constantFrom("system", "user", "noise");
    let read = 0;
    fc.assert(
      fc.property(
        base,
        fc.uint8Array({ maxLength: PAGE_BYTES }),
        edits,
        header,
        fc.nat(PAGE_BYTES),
        (kind, noise, some, front, cut) => {
          const page = new Uint8Array(kind === "noise" ? noise : kind === "system" ? systemPage : userPage);
          if (kind === "noise" && page.length > 0) page[0] = 0x0d;
          for (const [at, byte] of [...some, ...front]) if (at < page.length) page[at] = byte;
          for (const bytes of [page, page.subarray(0, cut)]) {
            if (readSystemPage(bytes) !== undefined) read++;
            readLeafRows(bytes, () => true);
          }
        },
      ),
      { numRuns: 5000 },
    );
    expect(read).toBeGreaterThan(0);
  });

  test("a WAL that is cut, changed or mixed with another (property)", () => {
    const any = fc.nat(wals.length - 1);
    let refused = 0;
    fc.assert(
      fc.property(
        any,
        any,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.boolean(),
        fc.nat(),
        (one, other, share, spliced, flipped) => {
          const [a, b] = [wals[one] as Uint8Array, wals[other] as Uint8Array];
          const cut = Math.floor(a.length * share);
          const bytes = new Uint8Array(
            spliced ? [...a.subarray(0, cut), ...b.subarray(Math.min(cut, b.length))] : a.subarray(0, cut),
          );
          const at = flipped % Math.max(1, bytes.length);
          if (flipped % 3 === 0 && bytes.length > 0) bytes[at] = (bytes[at] as number) ^ 1;
          for (const fileBytes of [bytes.length, a.length]) {
            try {
              findSystemPages(parseWalPrefix(bytes, fileBytes, "test"));
            } catch (error) {
              if (!isClusterError(error) || error.code !== "wal_corrupt") throw error;
              refused++;
            }
          }
        },
      ),
      { numRuns: 1000 },
    );
    expect(refused).toBeGreaterThan(100);
  });
});
