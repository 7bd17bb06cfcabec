/**
 * Compares a table's rows in two databases by walking both in the order of their key, so that no more than a row of each
 * is in memory.
 *
 * ```
 *  before   1  2     4  5          1 = 1: compared
 *  after    1  2  3     5  6       2 = 2, 3 < 4: inserted, 4 < 5: deleted, …
 * ```
 */
import type { Row } from "../sqlite/statement.ts";
import type { Comparison, Scan, StillDatabase } from "../sqlite/still-database.ts";
import type { SqlValue } from "../sqlite/values.ts";
import { foldName, type KeyColumn, quoteName, type TableShape } from "./diff-tables.ts";
import type { RowChange, RowKey } from "./row-change.ts";

/** Rows that one side has; the rest of both after the other has ended. */
type Step = RowChange | "rest";

/** Changes of a table that is only there on one side. Gives "rest" after each row that is no change. */
export function* wholeTable(database: StillDatabase, shape: TableShape, kind: "inserted" | "deleted"): Generator<Step> {
  const side = new Side(database, shape);
  try {
    while (side.next()) yield oneSided(side, kind);
  } finally {
    side.end();
  }
}

/** Changes of a table that is there on both sides. Gives "rest" after each row that is no change. */
export function* mergeTables(
  before: { readonly database: StillDatabase; readonly shape: TableShape },
  after: { readonly database: StillDatabase; readonly shape: TableShape },
): Generator<Step> {
  if (!haveSameKey(before.shape, after.shape)) {
    yield* wholeTable(before.database, before.shape, "deleted");
    yield* wholeTable(after.database, after.shape, "inserted");
    return;
  }
  const [a, b] = [new Side(before.database, before.shape), new Side(after.database, after.shape)];
  const order = keyOrder(before.database, a, b);
  const pairs = columnPairs(before.shape.columns, after.shape.columns);
  try {
    let [hasA, hasB] = [a.next(), b.next()];
    while (hasA || hasB) {
      const sign = !hasA ? 1 : !hasB ? -1 : order();
      if (sign < 0) yield oneSided(a, "deleted");
      else if (sign > 0) yield oneSided(b, "inserted");
      else yield compareRows(a, b, pairs);
      if (sign <= 0) hasA = a.next();
      if (sign >= 0) hasB = b.next();
    }
  } finally {
    a.end();
    b.end();
  }
}

/** One database's rows of the table, in the order of the key. */
class Side {
  readonly shape: TableShape;
  readonly scan: Scan;
  /** Where the columns begin: after the rowid, if that is read. */
  readonly firstColumn: number;
  /** Where the key's values are. */
  readonly keyIndexes: readonly number[];

  constructor(database: StillDatabase, shape: TableShape) {
    const { columns, key, rowidName, name } = shape;
    this.shape = shape;
    this.firstColumn = rowidName === undefined ? 0 : 1;
    const keyColumns = key.kind === "primary" ? key.columns : [];
    this.keyIndexes = keyColumns.map((column) => this.firstColumn + columns.indexOf(column.name));
    const rowid = rowidName === undefined ? [] : [rowidName];
    const selected = [...rowid, ...columns.map(quoteName)].join(", ");
    const ordered = key.kind === "none" ? [] : [...keyColumns.map(orderTerm), ...rowid];
    const orderBy = ordered.length === 0 ? "" : ` ORDER BY ${ordered.join(", ")}`;
    this.scan = database.scan(`SELECT ${selected} FROM main.${quoteName(name)}${orderBy}`);
  }

  next(): boolean {
    return this.scan.next();
  }

  end(): void {
    this.scan.end();
  }

  get rowid(): number | bigint {
    return this.scan.values[0] as number | bigint;
  }

  row(): Row {
    return rowOf(this.shape.columns, this.scan.values, this.firstColumn);
  }

  key(): RowKey {
    const { key } = this.shape;
    if (key.kind === "rowid") return this.rowid;
    if (key.kind === "none") return this.row();
    return Object.fromEntries(
      key.columns.map(({ name }, index) => [name, this.scan.values[this.keyIndexes[index] as number] as SqlValue]),
    );
  }
}

function orderTerm({ name, collation, descending }: KeyColumn): string {
  return `${quoteName(name)} COLLATE ${quoteName(collation)}${descending ? " DESC" : ""}`;
}

/** By `fromEntries`, because a column may be called `__proto__`. */
function rowOf(columns: readonly string[], values: readonly SqlValue[], first: number): Row {
  return Object.fromEntries(columns.map((name, index) => [name, values[first + index] as SqlValue]));
}

function oneSided(side: Side, kind: "inserted" | "deleted"): RowChange {
  const change = { table: side.shape.name, key: side.key() };
  return kind === "inserted"
    ? { ...change, kind, before: undefined, after: side.row() }
    : { ...change, kind, before: side.row(), after: undefined };
}

/** A column by its name, and where it is in each side's rows; -1 where it is not. */
interface ColumnPair {
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

function columnPairs(before: readonly string[], after: readonly string[]): ColumnPair[] {
  const beforeIndexes = new Map(before.map((name, index) => [foldName(name), index]));
  const afterNames = new Set(after.map(foldName));
  const dropped = before.filter((name) => !afterNames.has(foldName(name)));
  return [
    ...after.map((name, index) => ({ name, before: beforeIndexes.get(foldName(name)) ?? -1, after: index })),
    ...dropped.map((name) => ({ name, before: beforeIndexes.get(foldName(name)) as number, after: -1 })),
  ];
}

/** A column that one side has not counts as NULL there: adding an empty one changes no row. */
function compareRows(a: Side, b: Side, pairs: readonly ColumnPair[]): Step {
  let columns: string[] | undefined;
  for (const { name, before, after } of pairs) {
    const isSame =
      before < 0
        ? b.scan.values[b.firstColumn + after] === null
        : after < 0
          ? a.scan.values[a.firstColumn + before] === null
          : a.scan.hasSame(a.firstColumn + before, b.scan, b.firstColumn + after);
    if (isSame) continue;
    columns ??= [];
    columns.push(name);
  }
  if (columns === undefined) return "rest";
  return { table: b.shape.name, kind: "updated", key: a.key(), before: a.row(), after: b.row(), columns };
}

function haveSameKey(before: TableShape, after: TableShape): boolean {
  const [a, b] = [before.key, after.key];
  if (a.kind === "none" || a.kind !== b.kind) return false;
  if ((before.rowidName === undefined) !== (after.rowidName === undefined)) return false;
  if (a.kind !== "primary" || b.kind !== "primary") return true;
  return (
    a.columns.length === b.columns.length && a.columns.every((column, index) => isSameColumn(column, b.columns[index]))
  );
}

function isSameColumn(a: KeyColumn, b: KeyColumn | undefined): boolean {
  return (
    b !== undefined &&
    foldName(a.name) === foldName(b.name) &&
    foldName(a.collation) === foldName(b.collation) &&
    a.descending === b.descending
  );
}

/** Tells which of the two present rows comes first: negative for the one before, 0 if they have one key. */
function keyOrder(database: StillDatabase, a: Side, b: Side): () => number {
  const { key, rowidName } = a.shape;
  if (key.kind !== "primary") return () => (a.rowid < b.rowid ? -1 : a.rowid > b.rowid ? 1 : 0);
  const comparison = new KeyComparison(database, key.columns, a, b);
  if (rowidName === undefined) return () => comparison.order();
  // NULL in a primary key is not unique: the rowid decides, by which such rows are ordered.
  return () => comparison.order() || (comparison.hasNull() ? (a.rowid < b.rowid ? -1 : a.rowid > b.rowid ? 1 : 0) : 0);
}

/** Compares primary keys: collations and types are SQLite's business, so SQLite itself is asked unless they are the same. */
class KeyComparison {
  readonly #comparison: Comparison;
  readonly #a: Side;
  readonly #b: Side;

  constructor(database: StillDatabase, columns: readonly KeyColumn[], a: Side, b: Side) {
    this.#a = a;
    this.#b = b;
    this.#comparison = database.comparison(`SELECT CASE ${columns.map(compareTerm).join(" ")} ELSE 0 END`);
    function compareTerm({ collation, descending }: KeyColumn, index: number): string {
      const [left, right] = [`?${index + 1}`, `?${columns.length + index + 1}`];
      const [less, greater] = descending ? [1, -1] : [-1, 1];
      const collated = `${left} COLLATE ${quoteName(collation)}`;
      return `WHEN ${collated} IS NOT ${right} THEN CASE WHEN ${left} IS NULL THEN ${less} WHEN ${right} IS NULL THEN ${greater} WHEN ${collated} < ${right} THEN ${less} ELSE ${greater} END`;
    }
  }

  order(): number {
    const [a, b] = [this.#a, this.#b];
    const isSame = a.keyIndexes.every((index, part) => a.scan.hasSame(index, b.scan, b.keyIndexes[part] as number));
    return isSame ? 0 : this.#comparison.of(a.scan, a.keyIndexes, b.scan, b.keyIndexes);
  }

  hasNull(): boolean {
    return this.#a.keyIndexes.some((index) => this.#a.scan.values[index] === null);
  }
}
