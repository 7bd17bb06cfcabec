/**
 * What differs between two states, row by row (docs/architecture.md §8).
 *
 * Tables are told apart by name. Rows are told apart by the table's primary key, else by the rowid; so a row that was
 * replaced under another rowid is one that was updated, if its primary key stayed the same.
 *
 * - First come the differences of the schema, as rows of the table `sqlite_schema` with the columns `type`, `name`,
 *   `tbl_name` and `sql`; then those of the tables, in the order of their names.
 * - A table that is there on one side only, or has another primary key there, is all its rows deleted, inserted, or both.
 * - A column that is there on one side only counts as NULL on the other. Generated columns are left out: they follow from
 *   the others, and their definition is in the schema.
 * - Left out is what the library and SQLite keep for themselves: `_lbc`, statistics, indexes. `sqlite_sequence`, with
 *   the counters of AUTOINCREMENT, is compared like any table.
 * - Full-text and spatial tables are compared by what they show, not by the tables in which they keep it; those that only
 *   show other tables' rows are left out.
 * - Values are the same if type and bytes are: 1, 1.0 and '1' are three values, and 0.0 is not -0.0.
 */
import type { Clock } from "../base/clock.ts";
import type { SqliteContext } from "../sqlite/connection.ts";
import type { DurableImage } from "../sqlite/image.ts";
import { StillDatabase } from "../sqlite/still-database.ts";
import type { SqlValue } from "../sqlite/values.ts";
import { mergeTables, wholeTable } from "./diff-merge.ts";
import { readSchema, readTables, type TableShape } from "./diff-tables.ts";
import type { RowChange } from "./row-change.ts";

export type { RowChange, RowKey } from "./row-change.ts";

/** A state to compare, in whatever SQLite instance. The version that it has when the comparison begins is what counts. */
export interface DiffSide {
  readonly context: SqliteContext;
  readonly image: DurableImage;
}

export interface DiffOptions {
  /** Tells when it is time to let others run. */
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** The event loop waits no longer than this, and a row, for a comparison. */
const TURN_MS = 4;

/** The rows that differ, one by one; in memory are no more than a few at a time. */
export async function* diffStates(
  before: DiffSide,
  after: DiffSide,
  { clock, signal }: DiffOptions,
): AsyncGenerator<RowChange, void, undefined> {
  const a = new StillDatabase(before.context, before.image);
  const b = new StillDatabase(after.context, after.image);
  const turns = new Turns(clock, signal);
  try {
    for (const step of differences(before.image, a, after.image, b)) {
      if (step !== "rest") yield step;
      if (turns.isOver) await turns.rest();
    }
  } finally {
    a.close();
    b.close();
  }
}

/** The synchronous whole: "rest" is where somebody else may run. */
function* differences(
  beforeImage: DurableImage,
  before: StillDatabase,
  afterImage: DurableImage,
  after: StillDatabase,
): Generator<RowChange | "rest"> {
  const isChanged = yield* changedTrees(beforeImage, before, afterImage);
  if (isChanged === undefined) return;
  yield* schemaChanges(readSchema(before), readSchema(after));
  const tables = { before: yield* readTables(before), after: yield* readTables(after) };
  for (const name of [...new Set([...tables.before.keys(), ...tables.after.keys()])].sort()) {
    const [a, b] = [tables.before.get(name), tables.after.get(name)];
    if (a === undefined && b !== undefined) yield* wholeTable(after, b, "inserted");
    else if (b === undefined && a !== undefined) yield* wholeTable(before, a, "deleted");
    else if (a !== undefined && b !== undefined && !isSameTable(a, b, isChanged))
      yield* mergeTables({ database: before, shape: a }, { database: after, shape: b });
    yield "rest";
  }
}

/** Says whether any page of the tree of this name differs. */
type IsChanged = (tree: string) => boolean;

/**
 * Looks for the trees that hold pages which differ, `undefined` if no page does: a table of a million rows is not read
 * to find that nothing in it changed.
 */
function* changedTrees(
  before: DurableImage,
  database: StillDatabase,
  after: DurableImage,
): Generator<"rest", IsChanged | undefined> {
  const versions = `${before.version} ${after.version}`;
  const differs = new Uint8Array(before.pageCount + 1);
  let count = 0;
  for (let page = 1; page <= before.pageCount; page++) {
    if (page % PAGES_PER_STEP === 0) yield "rest";
    // The images moved while others ran: their pages are not any more what is compared.
    if (versions !== `${before.version} ${after.version}`) return () => true;
    if (page <= after.pageCount && before.hasSamePage(after, page)) continue;
    differs[page] = 1;
    count++;
  }
  if (count === 0 && before.pageCount === after.pageCount) return undefined;
  const changed = new Set<string>();
  const trees = database.scan("SELECT name, pageno FROM dbstat");
  try {
    while (trees.next()) {
      const [name, page] = trees.values;
      if (differs[Number(page)] === 1) changed.add(String(name));
      yield "rest";
    }
  } finally {
    trees.end();
  }
  return (tree) => changed.has(tree);
}

/** Pages that are compared before the clock is looked at. */
const PAGES_PER_STEP = 256;

/** If no page of the tree on the one side differs, and it begins at the same page, then it is the same tree. */
function isSameTable(before: TableShape, after: TableShape, isChanged: IsChanged): boolean {
  const isSameDefinition =
    before.sql === after.sql && before.rootPage === after.rootPage && before.shadows.length === after.shadows.length;
  return isSameDefinition && ![before.name, ...before.shadows].some(isChanged);
}

const SCHEMA_TABLE = "sqlite_schema";

function* schemaChanges(before: readonly SqlValue[][], after: readonly SqlValue[][]): Generator<RowChange> {
  const rows = (schema: readonly SqlValue[][]) =>
    new Map(
      schema.map(([type = null, name = null, tbl_name = null, sql = null]) => [
        JSON.stringify([type, name]),
        { key: { type, name }, row: { type, name, tbl_name, sql } },
      ]),
    );
  const [a, b] = [rows(before), rows(after)];
  for (const [id, { key, row }] of a) {
    const now = b.get(id)?.row;
    const change = { table: SCHEMA_TABLE, key, before: row };
    if (now === undefined) yield { ...change, kind: "deleted", after: undefined };
    else if (now.sql !== row.sql || now.tbl_name !== row.tbl_name) {
      const columns = (["tbl_name", "sql"] as const).filter((column) => now[column] !== row[column]);
      yield { ...change, kind: "updated", after: now, columns };
    }
  }
  for (const [id, { key, row }] of b) {
    if (!a.has(id)) yield { table: SCHEMA_TABLE, key, kind: "inserted", before: undefined, after: row };
  }
}

/** Shares the thread with others. */
class Turns {
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  #endMs: number;

  constructor(clock: Clock, signal: AbortSignal | undefined) {
    signal?.throwIfAborted();
    this.#clock = clock;
    this.#signal = signal;
    this.#endMs = clock.monotonicMs() + TURN_MS;
  }

  get isOver(): boolean {
    return this.#clock.monotonicMs() >= this.#endMs;
  }

  async rest(): Promise<void> {
    await new Promise<void>((resolve) => this.#clock.soon(resolve));
    this.#signal?.throwIfAborted();
    this.#endMs = this.#clock.monotonicMs() + TURN_MS;
  }
}
