import type { Row } from "../sqlite/statement.ts";

/** A row's rowid, or the values of its primary key by column. */
export type RowKey = number | bigint | Row;

interface ChangedRow {
  readonly table: string;
  /** As it was before; where a collation takes two spellings for one key, `after` has the new one. */
  readonly key: RowKey;
}

/** A row that is in one of two states only, or differs between them. */
export type RowChange =
  | (ChangedRow & { readonly kind: "inserted"; readonly before: undefined; readonly after: Row })
  | (ChangedRow & { readonly kind: "deleted"; readonly before: Row; readonly after: undefined })
  | (ChangedRow & {
      readonly kind: "updated";
      readonly before: Row;
      readonly after: Row;
      /** Columns that differ: two values may look the same in JavaScript, as the integer 1 and the REAL 1.0 do. */
      readonly columns: readonly string[];
    });
