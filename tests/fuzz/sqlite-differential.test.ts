/**
 * The same random SQL to a cluster and to a stock SQLite of the same version: the same answers with the same types, the
 * same errors, and in the end the same content, wherever the database is looked at.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { equalBytes } from "../../src/base/bytes.ts";
import { isClusterError } from "../../src/errors.ts";
import {
  type ClusterNode,
  type Db,
  LittleBigCluster,
  MemoryStore,
  type SqlValue,
  type Transaction,
} from "../../src/mod.ts";
import { imageAt, QUIET } from "../support/cluster.ts";
import { bytesOf as imageBytes } from "../support/cluster-database.ts";
import { runs } from "../support/fuzz-mutations.ts";
import { CONTENTS, program, query, SCHEMA, type SqlCall, type SqlTransaction } from "../support/fuzz-sql.ts";
import { sqliteCliVersion } from "../support/sqlite-cli.ts";
import { askFile, stateAt } from "../support/sqlite-file.ts";
import { type Answer, type Question, StockSqlite, type StoredValue, storedParam } from "../support/stock-sqlite.ts";

const CAMPAIGN = runs(12);
const RUN_MS_MAX = 5_000;

let stock: StockSqlite;
let directory: string;

beforeAll(() => {
  stock = new StockSqlite();
  directory = mkdtempSync(joinPath(tmpdir(), "lbc-fuzz-"));
});

afterAll(() => {
  stock.close();
  rmSync(directory, { recursive: true });
});

/** The values of a row with their types, which SQLite tells beside them. */
function toStored(value: SqlValue | undefined, type: unknown): StoredValue {
  if (value === undefined) throw new Error("a row is too short");
  if (type === "integer") return { integer: String(value) };
  if (type === "real") return { real: Object.is(value, -0) ? "-0" : String(value) };
  return value instanceof Uint8Array ? { blob: Buffer.from(value).toString("hex") } : (value as null | string);
}

/** A query that gives each of its columns, and then the type of each. */
function withTypes(sql: string, columns: readonly string[]): string {
  const names = columns.map((_, index) => `c${index}`);
  const types = names.map((name) => `typeof(${name})`);
  return `WITH q(${names.join(", ")}) AS (${sql}) SELECT ${[...names, ...types].join(", ")} FROM q`;
}

type Reads = Pick<Db, "values">;

/** What our side answers, in the shape of the other's. */
function ask(reads: Reads, { sql, params }: SqlCall): Answer {
  try {
    return { rows: reads.values(sql, params).map((row) => row.map(plain)) };
  } catch (error) {
    if (!isClusterError(error)) throw error;
    return { errno: Number(error.details["code"] ?? -1), message: error.message };
  }
}

/** Of numbers only what both sides see alike. */
function plain(value: SqlValue): StoredValue {
  if (typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value)))
    return { integer: String(value) };
  return toStored(value, typeof value === "number" ? "real" : undefined);
}

/** Of whole numbers their type is not told by JavaScript. */
function comparable(answer: Answer): unknown {
  if ("errno" in answer) return answer.errno;
  return answer.rows.map((row) =>
    row.map((value) => {
      if (value === null || typeof value === "string" || !("real" in value)) return value;
      const number = Number(value.real);
      return Number.isSafeInteger(number) ? { integer: String(number) } : value;
    }),
  );
}

const questionOf = ({ sql, params }: SqlCall): Question => ({ sql, params: params.map(storedParam) });
const ABORT = new Error("the author changed his mind");

/** The transaction on our side: what each call answered, and whether it was written. */
async function transact(node: ClusterNode, { calls, isAborted }: SqlTransaction): Promise<[Answer[], boolean]> {
  const answers: Answer[] = [];
  try {
    const ack = node.transaction((tx: Transaction) => {
      for (const call of calls) answers.push(ask(tx, call));
      if (isAborted) throw ABORT;
    });
    await ack.durable;
    return [answers, true];
  } catch (error) {
    if (error !== ABORT && !(isClusterError(error) && error.code === "SQLITE_CONSTRAINT_FOREIGNKEY")) throw error;
    return [answers, false];
  }
}

async function transactStock({ calls, isAborted }: SqlTransaction): Promise<[Answer[], boolean]> {
  const [, ...answers] = await stock.ask([{ script: "BEGIN" }, ...calls.map(questionOf)]);
  const [end] = await stock.ask([{ script: isAborted ? "ROLLBACK" : "COMMIT" }]);
  const isWritten = !isAborted && end !== undefined && "rows" in end;
  if (!isAborted && !isWritten) await stock.ask([{ script: "ROLLBACK" }]);
  return [answers, isWritten];
}

/** Everything in a database, with types. */
function contentOf(db: Db): unknown[] {
  return CONTENTS.map((sql) => {
    const columns = db.columns(sql);
    return db.values(withTypes(sql, columns)).map((row) => {
      const types = row.slice(columns.length);
      return row.slice(0, columns.length).map((value, index) => toStored(value, types[index]));
    });
  });
}

async function stockContent(): Promise<unknown[]> {
  const answers = await stock.ask(CONTENTS.map((sql) => ({ sql })));
  return answers.map((answer) => ("rows" in answer ? answer.rows : answer.message));
}

// Else a difference would be one between versions. Bun brings its SQLite with it, except on macOS, where it is the system's.
test("the stock SQLite is of the very sources that ours is of", async () => {
  const cluster = new LittleBigCluster({ id: "test", store: new MemoryStore(), ...QUIET });
  await cluster.init();
  const node = await cluster.joinAsFollower({ address: "127.0.0.1:0" });
  onTestFinished(() => node.shutdown());
  const sql = "SELECT sqlite_version(), sqlite_source_id()";
  const [ours] = node.db.values(sql);
  expect(ours).toEqual([expect.stringMatching(/^3\.\d+\.\d+$/), expect.stringMatching(/ [0-9a-f]{64}$/)]);
  expect(await stock.ask([{ sql }])).toEqual([{ rows: [ours] }]);
});

test("P8: a cluster answers random SQL as a stock SQLite does, and every copy of it has the same content", async () => {
  await fc.assert(
    fc.asyncProperty(program, fc.array(query, { maxLength: 4 }), async (transactions, queries) => {
      const store = new MemoryStore();
      const cluster = new LittleBigCluster({ id: "test", store, ...QUIET });
      await cluster.init();
      const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
      try {
        await node.waitForLeadership({ timeoutMs: 10_000 });
        await node.transaction((tx) => tx.exec(SCHEMA)).durable;
        await stock.ask([{ open: ":memory:" }, { script: SCHEMA }]);
        for (const one of transactions) {
          const [[ours, isOursWritten], [theirs, isTheirsWritten]] = [
            await transact(node, one),
            await transactStock(one),
          ];
          for (const [index, call] of one.calls.entries())
            expect(comparable(ours[index] as Answer), call.sql).toEqual(comparable(theirs[index] as Answer));
          expect(isOursWritten).toBe(isTheirsWritten);
          const answers = await stock.ask(queries.map(questionOf));
          for (const [index, call] of queries.entries())
            expect(comparable(ask(node.db, call)), call.sql).toEqual(comparable(answers[index] as Answer));
        }
        await expectSameEverywhere(cluster, node, store);
      } finally {
        await node.shutdown();
      }
    }),
    // Shrinking ends too, long before the test would be given up.
    { ...CAMPAIGN, interruptAfterTimeLimit: RUN_MS_MAX * CAMPAIGN.numRuns, markInterruptAsFailure: true },
  );
}, 600_000);

/** The leader, a follower that joins, a restore and an exported file have what the stock SQLite has. */
async function expectSameEverywhere(cluster: LittleBigCluster, node: ClusterNode, store: MemoryStore): Promise<void> {
  const epoch = node.epoch.current;
  const content = await stockContent();
  expect(contentOf(node.db)).toEqual(content);
  const follower = await cluster.joinAsFollower({ address: "127.0.0.1:0" });
  try {
    await follower.sync({ atLeast: epoch });
    expect(contentOf(follower.db)).toEqual(content);
    expect(follower.status().replica.state_checksum).toBe(node.status().replica.state_checksum);
  } finally {
    await follower.shutdown();
  }
  const past = await cluster.openAt(epoch);
  try {
    expect(contentOf(past)).toEqual(content);
  } finally {
    past.close();
  }
  const { image } = await stateAt(store, epoch);
  expect(image.stateChecksum).toBe(node.status().replica.state_checksum);
  expect(equalBytes(imageBytes(image), await imageAt(store, epoch))).toBe(true);
  const file = joinPath(directory, "x.db");
  await cluster.export(epoch, file, { overwrite: true });
  await stock.ask([{ open: file }]);
  expect(await stockContent()).toEqual(content);
  await stock.ask([{ open: ":memory:" }]);
  if (sqliteCliVersion !== undefined)
    expect(askFile(file, "PRAGMA integrity_check; PRAGMA foreign_key_check")).toBe("ok");
}
