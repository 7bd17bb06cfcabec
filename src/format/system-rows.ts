/**
 * The rows of the system table `_lbc` (docs/architecture.md §2) as values.
 */
import { ClusterError } from "../errors.ts";

/** The system table, as the original made it. */
export const SYSTEM_TABLE = "_lbc";
/** Creates the system table; part of epoch 0. */
export const CREATE_SYSTEM_TABLE = "CREATE TABLE _lbc (key TEXT PRIMARY KEY, value ANY)";
/** The format that this version reads and writes. */
export const FORMAT = 1;

/** Who leads, as the `leader` row tells. */
export interface Leader {
  /** Identifies one run of one node. */
  readonly uuid: string;
  /** Availability zone. */
  readonly az: string;
  /** `host:port` where the node listens. */
  readonly address: string;
}

/** What an epoch says of the one before it. */
export interface Chain {
  /** The epoch before. */
  readonly epoch: number;
  /** SHA-256 of its WAL object, lower-case hexadecimal. */
  readonly wal: string;
  /** State checksum of the database after it, 16 hexadecimal digits. */
  readonly state: string;
}

/** Marks an epoch that restores the state of an earlier one. The row stays in the epochs after it. */
export interface RollbackMark {
  /** The epoch that it marks: the one after `from`. */
  readonly epoch: number;
  /** The newest epoch when it was written. */
  readonly from: number;
  /** The epoch whose state it restores. */
  readonly to: number;
}

/** The decoded system table. */
export interface SystemRows {
  readonly clusterId: string;
  /** RFC 3339 time; information only. */
  readonly lastUpdate: string | undefined;
  /** `undefined` after a graceful step-down. */
  readonly leader: Leader | undefined;
  /** `undefined` in epoch 0 and in clusters of the original, which does not write it. */
  readonly chain: Chain | undefined;
  /** Authenticates internal requests; `undefined` in clusters of the original. */
  readonly secret: string | undefined;
  readonly format: number | undefined;
  /** The newest rollback that this state has behind it; it says that the state itself is one only if it names its epoch. */
  readonly rollback: RollbackMark | undefined;
}

/**
 * Decodes the rows of the system table.
 *
 * @param rows key → value as SQLite gave them
 * @param what names the object or epoch in errors
 * @throws ClusterError `corrupt`/`system_rows_corrupt` for a row of the wrong shape,
 *   `invalid`/`unknown_format` for a format that this version does not know
 */
export function decodeSystemRows(rows: ReadonlyMap<string, unknown>, what: string): SystemRows {
  const format = rows.get("format");
  if (format !== undefined && format !== FORMAT) {
    throw new ClusterError(
      "invalid",
      "unknown_format",
      `${what} has format ${String(format)}, this version of littlebigcluster reads format ${FORMAT}: upgrade this node`,
      { object: what, expected: FORMAT, found: format },
    );
  }
  const text = (key: string): string | undefined => {
    const value = rows.get(key);
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "string") refuse(what, key, "text", typeof value);
    return value;
  };
  const clusterId = text("cluster_id");
  if (clusterId === undefined) refuse(what, "cluster_id", "text", "no row");
  return {
    clusterId,
    lastUpdate: text("last_update"),
    leader: decodeObject(text("leader"), what, "leader", isLeader),
    chain: decodeObject(text("chain"), what, "chain", isChain),
    secret: text("secret"),
    format,
    rollback: decodeObject(text("rollback"), what, "rollback", isRollback),
  };
}

/** Text of a `leader` row. */
export function encodeLeader(leader: Leader): string {
  return JSON.stringify({ uuid: leader.uuid, az: leader.az, address: leader.address });
}

/** Text of a `chain` row. */
export function encodeChain(chain: Chain): string {
  return JSON.stringify({ epoch: chain.epoch, wal: chain.wal, state: chain.state });
}

/** Text of a `rollback` row. */
export function encodeRollback(mark: RollbackMark): string {
  return JSON.stringify({ epoch: mark.epoch, from: mark.from, to: mark.to });
}

function decodeObject<T>(
  text: string | undefined,
  what: string,
  key: string,
  accepts: (value: Record<string, unknown>) => value is T & Record<string, unknown>,
): T | undefined {
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse(what, key, "JSON", "other text");
  }
  if (value === null) return undefined;
  if (typeof value !== "object" || !accepts(value as Record<string, unknown>))
    refuse(what, key, `a ${key} object`, "another shape");
  return value as T;
}

function isLeader(value: Record<string, unknown>): value is Leader & Record<string, unknown> {
  return typeof value["uuid"] === "string" && typeof value["az"] === "string" && typeof value["address"] === "string";
}

function isChain(value: Record<string, unknown>): value is Chain & Record<string, unknown> {
  return Number.isSafeInteger(value["epoch"]) && isHex(value["wal"], 64) && isHex(value["state"], 16);
}

function isRollback(value: Record<string, unknown>): value is RollbackMark & Record<string, unknown> {
  const { epoch, from, to } = value;
  const isEpoch = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  return isEpoch(epoch) && isEpoch(from) && isEpoch(to) && epoch === from + 1 && to <= from;
}

function isHex(value: unknown, digits: number): boolean {
  return typeof value === "string" && value.length === digits && /^[0-9a-f]*$/.test(value);
}

function refuse(what: string, key: string, expected: string, found: string): never {
  throw new ClusterError(
    "corrupt",
    "system_rows_corrupt",
    `${what}: row ${key} of the system table: expected ${expected}, found ${found}`,
    { object: what, where: `_lbc.${key}`, expected, found },
  );
}
