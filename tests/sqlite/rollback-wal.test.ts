/** A rollback's pages (docs/architecture.md §3), without a store and a node. */
import { describe, expect, test } from "vitest";
import { type Hash64, hashPage } from "../../src/base/page-hash.ts";
import { encodeRollback } from "../../src/format/system-rows.ts";
import { encodeWal, PAGE_BYTES, parseWal, type Wal } from "../../src/format/wal.ts";
import { CHUNK_BYTES, DurableImage } from "../../src/sqlite/image.ts";
import { expectLeadsTo, rollbackWal, SamePages } from "../../src/sqlite/rollback-wal.ts";
import { Writer } from "../../src/sqlite/writer.ts";
import { SeededRandom } from "../../src/testing/simulator/seeded-random.ts";
import { bytesOf, Led, newReplica } from "../support/cluster-database.ts";
import { askSqliteCli, sqliteCliVersion } from "../support/sqlite-cli.ts";

const SALTS = [7, 8] as const;
const FEATURES = `
  CREATE TABLE parents(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
  CREATE TABLE children(parent REFERENCES parents(id) ON DELETE CASCADE, body BLOB);
  CREATE TABLE log(what);
  CREATE TRIGGER on_child AFTER INSERT ON children BEGIN INSERT INTO log VALUES ('child of ' || NEW.parent); END;
  CREATE VIRTUAL TABLE words USING fts5(text);
  CREATE VIRTUAL TABLE places USING rtree(id, x0, x1);
`;

function imageOf(file: Uint8Array): DurableImage {
  const chunks = Array.from({ length: Math.ceil(file.length / CHUNK_BYTES) }, (_, i) =>
    file.slice(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
  );
  return DurableImage.adopt(chunks, file.length / PAGE_BYTES);
}

const copyOf = (led: Led) => imageOf(bytesOf(led.image));
const rowsOf = (led: Led) => new Map(led.replica.db.values<[string, string]>("SELECT key, value FROM _lbc"));

function numbersOf(image: DurableImage): { counter: number; cookie: number; validFor: number; pageCount: number } {
  const page = image.page(1);
  const view = new DataView(page.buffer, page.byteOffset);
  const [counter, pageCount, cookie, validFor] = [24, 28, 40, 92].map((offset) => view.getUint32(offset));
  return { counter: counter ?? 0, cookie: cookie ?? 0, validFor: validFor ?? 0, pageCount: pageCount ?? 0 };
}

const markAfter = ({ replica: { epoch } }: Led) => encodeRollback({ epoch: epoch + 1, from: epoch, to: 0 });

const contentOf = ({ replica }: Led) => replica.db.values("SELECT a, hex(b) FROM t ORDER BY a").join();

/** Seals an epoch that leads back to `target`. */
function sealRollback(led: Led, target: DurableImage, same?: SamePages): Wal {
  led.writer.close();
  const table = rowsOf(led).set("rollback", markAfter(led));
  const parts = { context: led.replica.context, current: led.image, target, table, salts: SALTS, same };
  const wal = parseWal(rollbackWal(parts), "the rollback");
  expectLeadsTo(target, led.image, wal);
  led.writer = Writer.openAbove(led.replica.context, led.image, wal);
  return wal;
}

/** The same, and makes it durable. */
function rollBack(led: Led, target: DurableImage): Wal {
  const wal = sealRollback(led, target);
  led.settle(wal.bytes);
  led.wals.push(wal.bytes);
  return wal;
}

async function expectFollowersAgree(led: Led): Promise<void> {
  const follower = await newReplica(5);
  for (const [epoch, bytes] of led.wals.entries()) follower.apply(follower.verify(bytes, `epoch ${epoch}`));
  expect(Buffer.compare(bytesOf(follower.state.image), bytesOf(led.image))).toBe(0);
  expect(follower.state.image.stateChecksum).toBe(led.image.stateChecksum);
  expect(imageOf(bytesOf(led.image)).stateChecksum).toBe(led.image.stateChecksum);
  follower.close();
}

async function filled(rows: number): Promise<Led> {
  const led = await Led.create("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  led.write((tx) => addRows(tx, rows));
  return led;
}

function addRows(tx: { run(sql: string, params: number[]): unknown }, rows: number): void {
  for (let i = 0; i < rows; i++) tx.run("INSERT INTO t(b) VALUES (randomblob(?))", [1500]);
}

describe("the WAL of a rollback", () => {
  test("makes the content of then under the system table of now, for whoever applies it", async () => {
    const led = await filled(300);
    const before = contentOf(led);
    const then = copyOf(led);
    led.commit({ here_then: "and gone now" });
    const removed = copyOf(led);
    led.commit({ here_then: null, only_now: "is kept" });
    led.write((tx) =>
      tx.exec("DELETE FROM t WHERE a % 2; UPDATE t SET b = a; CREATE TABLE u(x); INSERT INTO u VALUES (1)"),
    );
    for (const target of [then, removed]) {
      const expected = rowsOf(led).set("rollback", markAfter(led));
      rollBack(led, target);
      const { db } = led.replica;
      expect(contentOf(led)).toBe(before);
      expect(db.values("SELECT name FROM sqlite_schema WHERE name = 'u'")).toEqual([]);
      expect(rowsOf(led)).toEqual(expected);
      expect(Buffer.compare(bytesOf(led.image), bytesOf(target))).toBe(0);
      expect(db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
    }
    await expectFollowersAgree(led);
    led.close();
  });

  test("holds only the pages that differ, ascending, each once, however large the database is", async () => {
    const led = await filled(4000);
    const then = copyOf(led);
    led.write((tx) => tx.run("UPDATE t SET b = zeroblob(1500) WHERE a IN (10, 2000, 3990)"));
    const { pageNumbers, frameCount } = rollBack(led, then);
    expect(led.image.pageCount).toBeGreaterThan(1500);
    expect(frameCount).toBeLessThan(8);
    expect([...pageNumbers]).toEqual([...new Set(pageNumbers)].sort((a, b) => a - b));
    led.close();
  });

  test("shrinks and grows the database, and what grows later finds zeros, not what was cut off", async () => {
    const led = await filled(20);
    const small = copyOf(led);
    led.write((tx) => addRows(tx, 3000));
    const large = copyOf(led);
    const largeContent = contentOf(led);
    rollBack(led, imageOf(bytesOf(small)));
    expect(led.image.pageCount).toBe(small.pageCount);
    expect(led.replica.db.get("SELECT count(*) AS n FROM t")).toEqual({ n: 20 });
    // Grows into what was cut off, through SQLite and through a WAL that leaves pages out.
    led.write((tx) => addRows(tx, 1000));
    expect(led.replica.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
    rollBack(led, imageOf(bytesOf(large)));
    expect(contentOf(led)).toBe(largeContent);
    expect(led.image.pageCount).toBe(large.pageCount);
    rollBack(led, imageOf(bytesOf(small)));
    const { pageCount } = led.image;
    const page = led.image.page(1).slice();
    led.image.apply(parseWal(encodeWal([{ pageNumber: 1, bytes: page }], pageCount + 500, [1, 2]), "growth"));
    for (let at = pageCount + 1; at <= pageCount + 500; at++)
      expect(led.image.page(at).every((byte) => byte === 0)).toBe(true);
    led.close();
  });

  test("with triggers, foreign keys, full text and R-tree gives back each of them", async () => {
    const led = await Led.create(FEATURES);
    led.write((tx) => {
      tx.run("INSERT INTO parents(name) VALUES ('a'), ('b')");
      tx.run("INSERT INTO children VALUES (1, zeroblob(50000)), (2, NULL)");
      tx.run("INSERT INTO words VALUES ('quick brown fox'), ('lazy dog')");
      tx.run("INSERT INTO places VALUES (1, 0, 1)");
    });
    const then = copyOf(led);
    led.write((tx) => {
      tx.run("DELETE FROM parents WHERE name = 'a'");
      tx.run("INSERT INTO parents(name) VALUES ('c')");
      tx.run("DELETE FROM words");
      tx.exec("DROP TRIGGER on_child; DROP TABLE places; INSERT INTO children VALUES (2, NULL)");
    });
    rollBack(led, then);
    const { db } = led.replica;
    expect(db.values("SELECT what FROM log")).toEqual([["child of 1"], ["child of 2"]]);
    expect(db.values("SELECT text FROM words('fox')")).toEqual([["quick brown fox"]]);
    expect(db.values("SELECT id FROM places WHERE x1 > 0.5")).toEqual([[1]]);
    const rowid = led.write((tx) => {
      tx.run("DELETE FROM parents WHERE name = 'a'");
      tx.run("INSERT INTO words VALUES ('red fox')");
      const inserted = tx.run("INSERT INTO parents(name) VALUES ('d')");
      tx.run("INSERT INTO children VALUES (?, NULL)", [inserted.lastInsertRowid]);
      return inserted.lastInsertRowid;
    });
    expect(rowid).toBe(3);
    expect(db.values("SELECT what FROM log")).toEqual([["child of 1"], ["child of 2"], ["child of 3"]]);
    expect(db.values("SELECT parent FROM children")).toEqual([[2], [3]]);
    expect(db.values("SELECT count(*) FROM words('fox')")).toEqual([[2]]);
    expect(() => led.writer.transact((tx) => tx.run("INSERT INTO children VALUES (99, NULL)"))).toThrow("FOREIGN KEY");
    expect(db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
    await expectFollowersAgree(led);
    led.close();
  });

  test("gives back any of many states, whatever came between, and followers agree at each epoch", async () => {
    const led = await Led.create("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    const follower = await newReplica(6);
    const catchUp = () => {
      for (const bytes of led.wals.slice(follower.epoch + 1)) follower.apply(follower.verify(bytes, "the next"));
      expect(follower.state.image.stateChecksum).toBe(led.image.stateChecksum);
    };
    const random = new SeededRandom(42);
    const below = (limit: number) => Math.floor(random.fraction() * limit);
    const look = () => ({
      file: bytesOf(led.image),
      schema: led.replica.db.values("SELECT name, sql FROM sqlite_schema ORDER BY name").join(),
      content: contentOf(led),
    });
    const states = [look()];
    for (let step = 0; step < 60; step++) {
      const back = states[below(states.length)];
      if (below(3) === 0 && back !== undefined) {
        rollBack(led, imageOf(back.file));
        const { schema, content } = look();
        expect([schema, content]).toEqual([back.schema, back.content]);
      } else {
        led.write((tx) => {
          if (below(4) === 0) tx.exec(`CREATE TABLE IF NOT EXISTS extra${below(4)} (x, y${step})`);
          if (below(6) === 0) tx.exec(`DROP TABLE IF EXISTS extra${below(4)}`);
          if (below(3) === 0) tx.run("DELETE FROM t WHERE a % ? = 0", [2 + below(3)]);
          addRows(tx, below(120));
          tx.run("UPDATE t SET b = ? WHERE a % 7 = 0", [`step ${step}`]);
        });
      }
      states.push(look());
      catchUp();
      expect(led.replica.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
    }
    expect(Buffer.compare(bytesOf(follower.state.image), bytesOf(led.image))).toBe(0);
    follower.close();
    led.close();
  });

  test("raises the counters by which SQLite knows that pages and schema are others, in both directions", async () => {
    const led = await filled(5);
    const then = copyOf(led);
    led.write((tx) => tx.exec("CREATE TABLE u(x); CREATE TABLE v(x)"));
    const now = copyOf(led);
    for (const target of [then, now, imageOf(bytesOf(then))]) {
      const [before, old] = [numbersOf(led.image), numbersOf(target)];
      rollBack(led, target);
      const after = numbersOf(led.image);
      expect(after.cookie).toBeGreaterThan(Math.max(before.cookie, old.cookie));
      expect(after.counter).toBeGreaterThan(Math.max(before.counter, old.counter));
      expect(after.validFor).toBe(after.counter);
      expect(after.pageCount).toBe(led.image.pageCount);
    }
    led.close();
  });

  test("does not let a prepared statement read by a schema that had the same number", async () => {
    const led = await Led.create("CREATE TABLE filler(a); CREATE TABLE t(a, b); INSERT INTO t VALUES ('a', 'b')");
    const then = copyOf(led);
    const { db } = led.replica;
    const read = "SELECT * FROM t";
    led.write((tx) =>
      tx.exec("DROP TABLE t; CREATE TABLE u(x); CREATE TABLE t(other); INSERT INTO t VALUES ('first')"),
    );
    expect(db.query(read)).toEqual([{ other: "first" }]);
    const held = db.iterate(read);
    expect(held.next().value).toEqual({ other: "first" });
    rollBack(led, then);
    // Nobody looks at the database in between, and as many changes of the schema follow as were rolled back.
    const script = "DROP TABLE t; CREATE TABLE t(c, d); CREATE TABLE u(y); INSERT INTO t VALUES ('c', 'd')";
    led.write((tx) => tx.exec(script));
    expect(db.query(read)).toEqual([{ c: "c", d: "d" }]);
    expect([...db.iterate(read)]).toEqual([{ c: "c", d: "d" }]);
    expect(held.next().done).toBe(true);
    led.close();
  });

  test.skipIf(sqliteCliVersion === undefined)("P8: opens in stock SQLite beside the database before it", async () => {
    const led = await Led.create(FEATURES);
    led.write((tx) => tx.run("INSERT INTO parents(name) VALUES ('then')"));
    const small = copyOf(led);
    led.write((tx) => {
      tx.run("INSERT INTO children VALUES (1, zeroblob(900000))");
      tx.exec("UPDATE parents SET name = 'now'; CREATE TABLE u(x)");
    });
    const large = copyOf(led);
    const question = "PRAGMA integrity_check; SELECT group_concat(name) FROM parents; SELECT count(*) FROM children";
    for (const [target, answer] of [
      [small, "ok\nthen\n0"],
      [large, "ok\nnow\n1"],
    ] as const) {
      const before = bytesOf(led.image);
      const wal = rollBack(led, target);
      expect(askSqliteCli(before, wal.bytes, question)).toBe(answer);
      expect(askSqliteCli(bytesOf(led.image), undefined, question)).toBe(answer);
    }
    led.close();
  });
});

describe("the writer above a rollback that is not durable yet", () => {
  test("writes on it, reads from it, and settles it; readers see nothing before", async () => {
    const led = await filled(50);
    const then = copyOf(led);
    led.write((tx) => tx.exec("DELETE FROM t; CREATE TABLE u(x)"));
    const wal = sealRollback(led, then);
    led.writer.transact((tx) => {
      expect(tx.get("SELECT count(*) AS n FROM t")).toEqual({ n: 50 });
      expect(tx.run("INSERT INTO t(b) VALUES (1)").lastInsertRowid).toBe(51);
    });
    expect(led.replica.db.get("SELECT count(*) AS n FROM t")).toEqual({ n: 0 });
    led.settle(wal.bytes);
    expect(led.replica.db.get("SELECT count(*) AS n FROM t")).toEqual({ n: 50 });
    led.commit();
    expect(led.replica.db.get("SELECT count(*) AS n FROM t")).toEqual({ n: 51 });
    expect(led.replica.db.get("PRAGMA integrity_check")).toEqual({ integrity_check: "ok" });
    led.close();
  });

  test("P3: drops it when it is closed", async () => {
    const led = await filled(50);
    const then = copyOf(led);
    led.write((tx) => tx.exec("DELETE FROM t"));
    const before = bytesOf(led.image);
    sealRollback(led, then);
    led.writer.transact((tx) => tx.run("INSERT INTO t(b) VALUES (1)"));
    led.dropPending();
    expect(Buffer.compare(bytesOf(led.image), before)).toBe(0);
    led.write((tx) => expect(tx.get("SELECT count(*) AS n FROM t")).toEqual({ n: 0 }));
    led.close();
  });
});

/** Another page with the same hash: what a word changes in its accumulator, the next word of that takes back. */
function collide(page: Uint8Array, pageNumber: number): Uint8Array {
  const PRIME_1 = 0x9e3779b1 | 0;
  const PRIME_2 = 0x85ebca77 | 0;
  let inverse = PRIME_2;
  for (let round = 0; round < 5; round++) inverse = Math.imul(inverse, 2 - Math.imul(PRIME_2, inverse));
  const other = page.slice();
  const words = new Uint32Array(other.buffer);
  const after = (word: number) => {
    const sum = (pageNumber + PRIME_1 + PRIME_2 + Math.imul(word, PRIME_2)) | 0;
    return Math.imul((sum << 13) | (sum >>> 19), PRIME_1);
  };
  const [first = 0, fifth = 0] = [words[0], words[4]];
  words[0] = first + 1;
  words[4] = fifth + Math.imul((after(first) - after(first + 1)) | 0, inverse);
  return other;
}

function hashOf(page: Uint8Array, pageNumber: number): Hash64 {
  const hash = { low: 0, high: 0 };
  hashPage(new Uint32Array(page.slice().buffer), 0, PAGE_BYTES / 4, pageNumber, hash);
  return hash;
}

function variedPages(count: number): Uint8Array {
  const words = new Uint32Array((count * PAGE_BYTES) / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e3779b1);
  return new Uint8Array(words.buffer);
}

const pageWal = (pageNumber: number, bytes: Uint8Array, pageCount: number) =>
  parseWal(encodeWal([{ pageNumber, bytes }], pageCount, SALTS), "one page");

describe("pages that differ", () => {
  test("are found though somebody made their hashes equal", () => {
    const file = variedPages(5);
    const current = imageOf(file);
    const forged = file.slice();
    const start = 2 * PAGE_BYTES;
    forged.set(collide(file.slice(start, start + PAGE_BYTES), 3), start);
    const target = imageOf(forged);
    expect(hashOf(target.page(3), 3)).toEqual(hashOf(current.page(3), 3));
    expect(target.stateChecksum).toBe(current.stateChecksum);
    expect([...current.differingPages(target)]).toEqual([3]);
  });

  test("are those with other bytes, and those that only the target has", () => {
    const file = variedPages(130);
    const changed = file.slice(0, 129 * PAGE_BYTES);
    for (const page of [1, 64, 65, 129]) changed[(page - 1) * PAGE_BYTES + 4095] = 99;
    const [current, target] = [imageOf(file), imageOf(changed)];
    expect([...current.differingPages(target)]).toEqual([1, 64, 65, 129]);
    expect([...target.differingPages(current)]).toEqual([1, 64, 65, 129, 130]);
    expect([...current.differingPages(imageOf(file))]).toEqual([]);
  });

  test("are not those found the same before, unless one of the images has changed since", async () => {
    const file = variedPages(10_000);
    const [current, target] = [imageOf(file), imageOf(file)];
    let turns = 0;
    const same = await SamePages.find(current, target, async () => {
      turns++;
      // Before it is looked at, and after.
      if (turns === 2) for (const page of [2, 9000]) current.apply(pageWal(page, new Uint8Array(PAGE_BYTES), 10_000));
    });
    expect(turns).toBeGreaterThan(3);
    target.apply(pageWal(7, new Uint8Array(PAGE_BYTES).fill(7), 10_000));
    for (const page of [2, 7, 9000]) expect(same.has(page), `page ${page}`).toBe(false);
    for (const page of [1, 3, 8999, 10_000]) expect(same.has(page), `page ${page}`).toBe(true);
    expect([...current.differingPages(target, (page) => same.has(page))]).toEqual([2, 7, 9000]);
    current.apply(pageWal(1, current.page(1).slice(), 9998));
    expect([same.has(9998), same.has(9999), same.has(10_000), same.has(10_001)]).toEqual([true, false, false, false]);
    same.release();
    same.release();
    expect([current.pinCount, target.pinCount, same.has(3)]).toEqual([0, 0, false]);
  });

  test("a comparison that is given up holds nothing", async () => {
    const file = variedPages(3000);
    const [current, target] = [imageOf(file), imageOf(file)];
    const given = SamePages.find(current, target, () => Promise.reject(new Error("given up")));
    await expect(given).rejects.toThrow("given up");
    expect([current.pinCount, target.pinCount]).toEqual([0, 0]);
  });
});

describe("the checksum that a WAL leads to", () => {
  test("is the one that the image has when it is applied", async () => {
    const led = await filled(200);
    const page = (fill: number) => new Uint8Array(PAGE_BYTES).fill(fill);
    const { pageCount } = led.image;
    const wals = [
      encodeWal([{ pageNumber: 2, bytes: page(1) }], pageCount, SALTS),
      encodeWal(
        [2, 3, 2].map((pageNumber, i) => ({ pageNumber, bytes: page(i) })),
        pageCount,
        SALTS,
      ),
      encodeWal([{ pageNumber: 1, bytes: page(9) }], pageCount + 70, SALTS),
      encodeWal(
        [5, pageCount + 3].map((pageNumber) => ({ pageNumber, bytes: page(4) })),
        10,
        SALTS,
      ),
      encodeWal([{ pageNumber: 4, bytes: page(0) }], 200, SALTS),
    ];
    for (const bytes of wals) {
      const wal = parseWal(bytes, "a WAL");
      const expected = led.image.checksumAfter(wal);
      led.image.apply(wal);
      expect(led.image.stateChecksum).toBe(expected);
    }
    led.close();
  });

  test("shows a rollback that leads elsewhere", () => {
    const file = variedPages(5);
    const changed = file.slice();
    changed[0] = 99;
    const [current, target] = [imageOf(file), imageOf(changed)];
    const right = pageWal(1, target.page(1).slice(), 5);
    expectLeadsTo(target, current, right);
    expect(() => expectLeadsTo(target, current, pageWal(1, current.page(1).slice(), 5))).toThrow("leads to the state");
    expect(() => expectLeadsTo(target, current, pageWal(1, target.page(1).slice(), 6))).toThrow("of 6 pages");
  });
});
