/**
 * Names of the objects in the bucket (docs/architecture.md §2). Epochs are zero-padded, so
 * that the order of the names is the order of the epochs.
 */

/** Everything of ours is below this prefix. */
export const PREFIX = ".lbc/";
/** The epoch of the newest complete snapshot; a hint. */
export const LAST_SNAPSHOT_KEY = ".lbc/.last_snapshot";
/** Every epoch below the one it names may be gone; a hint. */
export const LAST_VACUUM_KEY = ".lbc/.last_vacuum";
/** Digits of an epoch in a name. */
export const EPOCH_DIGITS = 20;

/** The kinds of objects that are named after epochs. */
export type EpochObjectKind = "wal" | "snapshot" | "pack";

/** What a key says. For a pack `epoch` is the newest epoch in it and `fromEpoch` the one before its first. */
export interface ParsedKey {
  readonly kind: EpochObjectKind;
  readonly epoch: number;
  readonly fromEpoch?: number;
}

/** 20 digits. Throws a `RangeError` unless the epoch is an integer from 0 to 2^53 - 1. */
export function epochText(epoch: number): string {
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new RangeError(`not an epoch: ${epoch}`);
  return String(epoch).padStart(EPOCH_DIGITS, "0");
}

/** The epoch that the text of a marker object holds, or `undefined` if it holds anything else. */
export function parseEpochText(text: string): number | undefined {
  if (!/^\d{20}$/.test(text)) return undefined;
  const epoch = Number(text);
  return Number.isSafeInteger(epoch) ? epoch : undefined;
}

/** Key of an epoch's WAL. */
export function walKey(epoch: number): string {
  return `${PREFIX}${epochText(epoch)}.wal`;
}

/** Key of the full database image at an epoch. */
export function snapshotKey(epoch: number): string {
  return `${PREFIX}${epochText(epoch)}.db`;
}

/** Key of the pack with the pages that changed in (`from`, `to`]. */
export function packKey(from: number, to: number): string {
  return `${PREFIX}${epochText(from)}-${epochText(to)}.pack`;
}

/** A LIST that starts after this key sees every object of `epoch` and later, and the packs that begin there. */
export function beforeEpochKey(epoch: number): string {
  return `${PREFIX}${epochText(epoch)}`;
}

const EPOCH_KEY = /^\.lbc\/(\d{20})(?:\.(wal|db)|-(\d{20})\.pack)$/;

/** What a key names, or `undefined` for markers and for anything that is not ours: that is ignored, never an error. */
export function parseKey(key: string): ParsedKey | undefined {
  const match = EPOCH_KEY.exec(key);
  if (match === null) return undefined;
  const first = parseEpochText(match[1] ?? "");
  if (first === undefined) return undefined;
  if (match[2] === "wal") return { kind: "wal", epoch: first };
  if (match[2] === "db") return { kind: "snapshot", epoch: first };
  const last = parseEpochText(match[3] ?? "");
  if (last === undefined || last <= first) return undefined;
  return { kind: "pack", epoch: last, fromEpoch: first };
}
