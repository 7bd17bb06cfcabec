/**
 * A moment in the history of a cluster: an epoch (`42`, `"42"`), a time (`"2026-11-20T12:00:00Z"`, a `Date`), or how
 * long ago (`"5m ago"`, `"2 hours ago"`). A time means the newest epoch whose `last_update` is not later.
 */
export type Point = number | string | Date;

/** What the store still holds. */
export interface HistoryExtent {
  /** The earliest epoch that can be restored. */
  readonly earliest: number;
  /** The newest epoch. */
  readonly newest: number;
}
