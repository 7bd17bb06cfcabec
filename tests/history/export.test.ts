/** A cluster's database as a plain SQLite file: all of it but the secret, whole or not at all. */
import { Buffer } from "node:buffer";
import { chmodSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join as joinPath } from "node:path";
import process from "node:process";
import { describe, expect, it } from "vitest";
import { exportDatabase } from "../../src/history/export.ts";
import { FileSystemStore, LittleBigCluster, MemoryStore, type ObjectStore } from "../../src/mod.ts";
import { parseDatabaseHeader } from "../../src/sqlite/database-header.ts";
import type { ReplicaState } from "../../src/sqlite/replica-state.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import { createTable, insert, join, lead, namesIn, newStore, QUIET } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { bytesOf, pagesWith, secretState, stateWithOldCopies } from "../support/secret-state.ts";
import { sqliteCliVersion } from "../support/sqlite-cli.ts";
import { askFile, historyParts, holds, newPath, stateAt } from "../support/sqlite-file.ts";

const parts = historyParts();

async function exported(state: ReplicaState): Promise<string> {
  const file = newPath();
  await exportDatabase(parts, state, file);
  return file;
}

/** A cluster with three rows in three epochs. */
async function clusterIn(store: ObjectStore): Promise<{ store: ObjectStore; epochs: number[] }> {
  await newStore(store);
  const { node } = await lead(store, { settings: QUIET });
  await createTable(node);
  const epochs: number[] = [];
  for (const name of ["one", "two", "three"]) epochs.push((await insert(node, name)).epoch);
  await node.shutdown();
  return { store, epochs };
}

const stores: [string, () => ObjectStore][] = [
  ["memory", () => new MemoryStore()],
  ["file system", () => new FileSystemStore(testDirectory())],
];

describe.skipIf(sqliteCliVersion === undefined)("an exported file", () => {
  it.each(stores)("opens in stock SQLite with the rows of its epoch, from the %s store", async (_, make) => {
    const { store, epochs } = await clusterIn(make());
    const file = newPath();
    const epoch = epochs[1] as number;
    const result = await exportDatabase(historyParts(store), await stateAt(store, epoch), file);
    expect(result).toEqual({ epoch, bytes: readFileSync(file).length });
    expect(askFile(file, "PRAGMA integrity_check; SELECT name FROM items ORDER BY name")).toBe("ok\none\ntwo");
    expect(askFile(file, "PRAGMA journal_mode")).toBe("delete");
    expect(askFile(file, "SELECT key FROM _lbc ORDER BY key")).toBe("chain\ncluster_id\nformat\nlast_update\nleader");
    expect(readdirSync(dirname(file)), "nothing is needed beside it").toEqual(["x.db"]);
  });

  it("opens where nothing may be written", async () => {
    const file = await exported((await secretState()).led.replica.state);
    chmodSync(file, 0o444);
    chmodSync(dirname(file), 0o555);
    try {
      expect(askFile(`file:${file}?mode=ro`, "SELECT count(*) FROM items")).toBe("405");
    } finally {
      chmodSync(dirname(file), 0o755);
    }
    expect([...readFileSync(file).subarray(18, 20)]).toEqual([1, 1]);
  });

  it("is the database page by page, but for the header and the system table, whose secret is gone", async () => {
    const { led, secret } = await secretState();
    const before = bytesOf(led.image);
    expect(pagesWith(before, secret)).toEqual([2]);
    const path = newPath();
    const events: string[] = [];
    await exportDatabase({ ...parts, log: ({ event }) => events.push(event) }, led.replica.state, path);
    expect(events, "nothing had to be made anew").toEqual([]);
    const file = readFileSync(path);
    expect(Buffer.compare(bytesOf(led.image), before), "the state itself is as it was").toBe(0);
    expect(holds(file, secret)).toBe(false);
    for (let at = 0; at + 6 <= secret.length; at++)
      expect(holds(file, secret.slice(at, at + 6)), `at ${at}`).toBe(false);
    expect(file.length).toBe(before.length);
    const differing = [];
    for (let page = 1; page * 4096 <= file.length; page++) {
      const [start, end] = [(page - 1) * 4096, page * 4096];
      if (!file.subarray(start, end).equals(before.subarray(start, end))) differing.push(page);
    }
    // 3 is the index of the system table.
    expect(differing.filter((page) => page > 3)).toEqual([]);
    expect(parseDatabaseHeader(file)).toMatchObject({ pageBytes: 4096, pageCount: file.length / 4096 });
  });

  it("has no older copy of the secret either, in free space of whatever page", async () => {
    const { led, secret } = await stateWithOldCopies();
    const before = bytesOf(led.image);
    expect(pagesWith(before, secret).length, "the test would show it").toBeGreaterThan(1);
    const events: unknown[] = [];
    const file = newPath();
    const log = (event: { event: string }) => events.push(event.event);
    const seen: { bytes: number; bytesTotal: number }[] = [];
    await exportDatabase({ ...parts, log }, led.replica.state, file, { onProgress: (progress) => seen.push(progress) });
    expect(seen.at(-1)?.bytes).toBe(seen.at(-1)?.bytesTotal);
    expect(events).toContain("database_rebuilt");
    const bytes = readFileSync(file);
    for (let at = 0; at + 6 <= secret.length; at++)
      expect(holds(bytes, secret.slice(at, at + 6)), `at ${at}`).toBe(false);
    expect(askFile(file, "PRAGMA integrity_check; SELECT count(*) FROM items")).toBe("ok\n405");
  });

  it("has not even a part of the secret that a later row has left of an older copy", async () => {
    const { led, secret } = await stateWithOldCopies();
    const { image } = led;
    // As if other rows had been written over the rest of the copies.
    for (const page of pagesWith(bytesOf(image), secret).filter((number) => number > 3)) {
      const bytes = image.page(page);
      for (let at = Buffer.from(bytes).indexOf(secret); at >= 0; at = Buffer.from(bytes).indexOf(secret)) {
        bytes.fill(0, at, at + 12);
        bytes.fill(0, at + 30, at + 43);
      }
    }
    expect(pagesWith(bytesOf(image), secret).filter((number) => number > 3)).toEqual([]);
    expect(pagesWith(bytesOf(image), secret.slice(12, 30)).filter((number) => number > 3)).not.toEqual([]);
    const bytes = readFileSync(await exported(led.replica.state));
    expect(holds(bytes, secret.slice(15, 25))).toBe(false);
  });

  it("is refused where a row of the user's holds the secret", async () => {
    const { led, secret } = await secretState();
    led.write((tx) => tx.run("INSERT INTO items SELECT 'mine', value FROM _lbc WHERE key = 'secret'"));
    const file = newPath();
    const error = await failureOf(exportDatabase(parts, led.replica.state, file));
    expect(error).toMatchObject({ kind: "invalid", code: "secret_in_data" });
    expect(JSON.stringify(error) + error.stack).not.toContain(secret.slice(0, 8));
    expect(readdirSync(dirname(file))).toEqual([]);
  });

  it("is the state of when it began, whatever the node applies meanwhile", async () => {
    const { led } = await secretState(3000);
    const file = newPath();
    let epochs = 0;
    const { pinCount } = led.image;
    const onProgress = () => {
      if (epochs++ < 10)
        led.write((tx) => tx.run("UPDATE items SET body = randomblob(900) WHERE rowid % 10 = ?", [epochs % 10]));
    };
    const { epoch } = led.replica.state;
    expect((await exportDatabase(parts, led.replica.state, file, { onProgress })).epoch).toBe(epoch);
    expect(led.replica.epoch).toBeGreaterThan(epoch + 3);
    const answer = "ok\n0";
    expect(askFile(file, "PRAGMA integrity_check; SELECT count(*) FROM items WHERE body <> zeroblob(900)")).toBe(
      answer,
    );
    expect(led.image.pinCount, "nothing is held any longer").toBe(pinCount);
  });

  it("starts a new cluster", async () => {
    const { store, epochs } = await clusterIn(new MemoryStore());
    const file = newPath();
    await exportDatabase(historyParts(store), await stateAt(store, epochs[2]), file);
    const other = new MemoryStore();
    await new LittleBigCluster({ id: "test", store: other }).init({ from: file });
    const { node } = await lead(other, { settings: QUIET });
    const { epoch } = await insert(node, "four");
    const follower = await join("follower", other, { settings: QUIET });
    await follower.node.sync({ atLeast: epoch });
    expect(namesIn(follower.node)).toEqual(["four", "one", "three", "two"]);
    expect((await stateAt(other, 0)).rows.secret).not.toBe((await stateAt(store, 0)).rows.secret);
    expect((await stateAt(other, 0)).rows).toMatchObject({ leader: undefined, chain: undefined, rollback: undefined });
  });
});

describe("an export", () => {
  it("never replaces a file, unless told to", async () => {
    const { led } = await secretState();
    const file = newPath();
    writeFileSync(file, "precious");
    const onProgress = () => expect.fail("there is nothing to do");
    const error = await failureOf(exportDatabase(parts, led.replica.state, file, { onProgress }));
    expect(error).toMatchObject({ kind: "invalid", code: "file_exists", details: { file } });
    expect(readFileSync(file, "utf8")).toBe("precious");
    await exportDatabase(parts, led.replica.state, file, { overwrite: true });
    expect(readFileSync(file).length).toBe(led.image.byteLength);
    expect(readdirSync(dirname(file))).toEqual(["x.db"]);
  });

  it("never replaces a file that comes while it is written", async () => {
    const { led } = await secretState();
    const file = newPath();
    const onProgress = () => writeFileSync(file, "precious");
    const call = exportDatabase(parts, led.replica.state, file, { onProgress });
    expect(await codeOf(call)).toBe("invalid/file_exists");
    expect(readFileSync(file, "utf8")).toBe("precious");
    expect(readdirSync(dirname(file))).toEqual(["x.db"]);
  });

  it("of two to one name at once is made by exactly one", async () => {
    const { led } = await secretState();
    const file = newPath();
    const calls = [1, 2].map(() => exportDatabase(parts, led.replica.state, file));
    const answers = await Promise.allSettled(calls);
    expect(answers.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(answers.find(({ status }) => status === "rejected")).toMatchObject({ reason: { code: "file_exists" } });
    expect(readFileSync(file).length).toBe(led.image.byteLength);
  });

  it.each<[string, (file: string) => string, RegExp]>([
    ["to a directory", (file) => dirname(file), /it is a directory/],
    ["below no directory", (file) => joinPath(dirname(file), "none", "x.db"), /there is no directory/],
    [
      "below a file",
      (file) => {
        writeFileSync(file, "");
        return joinPath(file, "x.db");
      },
      /there is no directory/,
    ],
    [
      "beside another database's -wal",
      (file) => {
        writeFileSync(`${file}-wal`, "of another");
        return file;
      },
      /x\.db-wal is there.*mix the two/,
    ],
    [
      "beside another database's -journal",
      (file) => {
        writeFileSync(`${file}-journal`, "of another");
        return file;
      },
      /x\.db-journal is there/,
    ],
    [
      "to a link round in a circle",
      (file) => {
        symlinkSync(file, file);
        return file;
      },
      /ELOOP|too many/,
    ],
  ])("%s is refused, and leaves nothing behind", async (_, prepare, text) => {
    const { led } = await secretState();
    const path = newPath();
    const file = prepare(path);
    const before = readdirSync(dirname(path));
    for (const overwrite of [false, true]) {
      const error = await failureOf(exportDatabase(parts, led.replica.state, file, { overwrite }));
      expect(`${error.kind}/${error.code}`).toBe("invalid/file_unwritable");
      expect(error.message).toMatch(text);
      expect(readdirSync(dirname(path))).toEqual(before);
    }
  });

  it.skipIf(process.getuid?.() === 0)("into a directory that is not writable is refused", async () => {
    const { led } = await secretState();
    const file = newPath();
    chmodSync(dirname(file), 0o555);
    expect(await codeOf(exportDatabase(parts, led.replica.state, file))).toBe("invalid/file_unwritable");
  });

  it("shows no half of a file, tells how far it is, and can be given up", async () => {
    const { led } = await secretState(5000);
    const { pinCount } = led.image;
    const file = newPath();
    const seen: number[] = [];
    let total = 0;
    const onProgress = (progress: { bytes: number; bytesTotal: number }) => {
      expect(existsSync(file)).toBe(progress.bytes === progress.bytesTotal);
      seen.push(progress.bytes);
      total = progress.bytesTotal;
    };
    await exportDatabase(parts, led.replica.state, file, { onProgress });
    expect(seen.length).toBeGreaterThan(4);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBe(total);
    for (const fraction of [0.2, 0.7]) {
      const other = newPath();
      const giveUp = new AbortController();
      const abort = ({ bytes }: { bytes: number }) => {
        if (bytes > fraction * total) giveUp.abort(new Error("given up"));
      };
      const call = exportDatabase(parts, led.replica.state, other, { onProgress: abort, signal: giveUp.signal });
      await expect(call).rejects.toThrow("given up");
      expect(readdirSync(dirname(other))).toEqual([]);
    }
    expect(led.image.pinCount, "nothing is held any longer").toBe(pinCount);
  });
});
