import { ClusterError } from "../errors.ts";
import type { GetOptions, ListOptions } from "./store.ts";

/** Most objects on one page of a listing (S3's own limit). */
export const LIST_LIMIT_MAX = 1000;

/** The page size that a `list` asks for. @throws ClusterError `invalid`/`bad_limit` */
export function listLimit(options: ListOptions): number {
  const limit = options.limit ?? LIST_LIMIT_MAX;
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIST_LIMIT_MAX) return limit;
  throw new ClusterError("invalid", "bad_limit", `list takes a limit of 1 to ${LIST_LIMIT_MAX}, not ${limit}`, {
    limit,
  });
}

/** Checks the range of a `get`. @throws ClusterError `invalid`/`bad_range` */
export function assertRange(range: GetOptions["range"]): void {
  if (range === undefined) return;
  const { offset, length } = range;
  if (Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 1) return;
  const text = `get takes a range of offset >= 0 and length >= 1, not ${offset} and ${length}`;
  throw new ClusterError("invalid", "bad_range", text, { offset, length });
}

/** Where a range lies in an object of `size` bytes: cut short at its end. */
export function rangeWithin(range: GetOptions["range"], size: number): { start: number; end: number } {
  if (range === undefined) return { start: 0, end: size };
  const start = Math.min(range.offset, size);
  return { start, end: Math.min(start + range.length, size) };
}
