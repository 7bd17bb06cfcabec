/**
 * One engine, one process: SQL operations a second, cold (the first calls of
 * the process) and warm. Prints JSON.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { LittleBigCluster, MemoryStore } from "../../src/mod.ts";

export const ROWS = 50_000;
const WARM_ROUNDS = 6;

/** Thousands of operations a second. */
export interface SqlSpeed {
  readonly insert: number;
  readonly get: number;
  readonly scan: number;
}

export interface SqlResult {
  readonly engine: string;
  readonly cold: SqlSpeed;
  readonly warm: SqlSpeed;
}

interface Engine {
  insertAll(): Promise<void>;
  deleteAll(): Promise<void>;
  get(key: string): unknown;
  scan(): unknown[];
  close(): Promise<void>;
}

const SCHEMA = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v TEXT); CREATE INDEX t_k ON t(k)";
const INSERT = "INSERT INTO t(k, v) VALUES (?, ?)";
const GET = "SELECT id, k, v FROM t WHERE k = ?";
const SCAN = "SELECT id, k, v FROM t";
const keyOf = (row: number) => `key${row}`;
const textOf = (row: number) => `value-${row}-xxxxxxxxxxxxxxxxxxxxxxxxxxxxx`;

async function ours(): Promise<Engine> {
  const cluster = new LittleBigCluster({ id: "bench", store: new MemoryStore() });
  await cluster.init();
  const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
  await node.waitForLeadership();
  await node.transaction((tx) => tx.exec(SCHEMA)).durable;
  let lastAck: Promise<unknown> = Promise.resolve();
  return {
    insertAll: async () => {
      const ack = node.transaction((tx) => {
        for (let row = 0; row < ROWS; row++) tx.run(INSERT, [keyOf(row), textOf(row)]);
      });
      lastAck = ack.durable;
    },
    deleteAll: async () => {
      await node.transaction((tx) => tx.run("DELETE FROM t")).durable;
    },
    get: (key) => node.db.get(GET, [key]),
    scan: () => node.db.query(SCAN),
    close: async () => {
      await lastAck;
      await node.shutdown();
    },
  };
}

/** The members of the three bundled or native libraries that are used here; they agree on them. */
interface PlainDatabase {
  exec(sql: string): void;
  prepare(sql: string): {
    run(...params: unknown[]): unknown;
    get(...params: unknown[]): unknown;
    all(...params: unknown[]): unknown[];
  };
  close(): void;
}

async function plain(open: () => Promise<PlainDatabase>): Promise<Engine> {
  const db = await open();
  db.exec(SCHEMA);
  const insert = db.prepare(INSERT);
  const get = db.prepare(GET);
  const scan = db.prepare(SCAN);
  return {
    insertAll: async () => {
      db.exec("BEGIN");
      for (let row = 0; row < ROWS; row++) insert.run(keyOf(row), textOf(row));
      db.exec("COMMIT");
    },
    deleteAll: async () => db.exec("DELETE FROM t"),
    get: (key) => get.get(key),
    scan: () => scan.all(),
    close: async () => db.close(),
  };
}

async function betterSqlite(file: string): Promise<PlainDatabase> {
  const path: string = "../node_modules/better-sqlite3/lib/index.js";
  const { default: Database } = (await import(path)) as { default: new (path: string) => PlainDatabase };
  return new Database(file);
}

const OPENERS: Record<string, () => Promise<PlainDatabase>> = {
  /** As applications use it: a file in WAL mode. */
  "better-sqlite3": async () => {
    const directory = mkdtempSync(join(tmpdir(), "lbc-bench-"));
    process.on("exit", () => rmSync(directory, { recursive: true }));
    const db = await betterSqlite(join(directory, "bench.db"));
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
    return db;
  },
  "better-sqlite3 :memory:": () => betterSqlite(":memory:"),
  "node:sqlite": async () => {
    const module: string = "node:sqlite";
    const { DatabaseSync } = (await import(module)) as { DatabaseSync: new (path: string) => PlainDatabase };
    return new DatabaseSync(":memory:");
  },
  "bun:sqlite": async () => {
    const module: string = "bun:sqlite";
    const { Database } = (await import(module)) as { Database: new (path: string) => PlainDatabase };
    return new Database(":memory:");
  },
};

async function measure(engine: Engine): Promise<SqlSpeed> {
  const timed = async (action: () => unknown): Promise<number> => {
    const beganMs = performance.now();
    await action();
    return ROWS / (performance.now() - beganMs);
  };
  const insert = await timed(() => engine.insertAll());
  await settle();
  const get = await timed(() => {
    for (let row = 0; row < ROWS; row++) {
      if (engine.get(keyOf(row)) === undefined) throw new Error(`${keyOf(row)} is missing`);
    }
  });
  const scan = await timed(() => {
    if (engine.scan().length !== ROWS) throw new Error("rows are missing");
  });
  await engine.deleteAll();
  return { insert, get, scan };
}

/** Lets an epoch under way become durable, so that it is not measured with what follows. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 100));
}

const name = process.argv[2] ?? "littlebigcluster";
const opener = OPENERS[name];
const engine = await (opener === undefined ? ours() : plain(opener));
const cold = await measure(engine);
const rounds: SqlSpeed[] = [];
for (let round = 0; round < WARM_ROUNDS; round++) rounds.push(await measure(engine));
const median = (of: (speed: SqlSpeed) => number) =>
  rounds
    .slice(1)
    .map(of)
    .sort((a, b) => a - b)[Math.floor((WARM_ROUNDS - 1) / 2)] ?? 0;
const warm: SqlSpeed = {
  insert: median((speed) => speed.insert),
  get: median((speed) => speed.get),
  scan: median((speed) => speed.scan),
};
await engine.close();
process.stdout.write(`${JSON.stringify({ engine: name, cold, warm } satisfies SqlResult)}\n`);
