/** How loud an event is. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** One log event: a fixed name and fixed keys. Never row data, never a secret. */
export interface LogEvent {
  readonly level: LogLevel;
  /** snake_case name of what happened. */
  readonly event: string;
  readonly [key: string]: unknown;
}

/** Where events go. The library is silent unless one is given. */
export type Log = (event: LogEvent) => void;

/** Drops every event. */
export const silent: Log = () => {};
