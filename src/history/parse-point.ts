/** What people write for a point in time (docs/architecture.md §8), as a value. */
import { ClusterError } from "../errors.ts";
import type { Point } from "./point.ts";

/** What a point says, before anything is known of the history. */
export type ParsedPoint =
  | { readonly kind: "epoch"; readonly epoch: number }
  | { readonly kind: "time"; readonly ms: number }
  | { readonly kind: "newest" };

const EXAMPLES =
  'an epoch (42), a time with its zone ("2026-11-20T12:00:00Z", "2026-11-20T13:00:00+01:00"), how long ago ("5m ago", "1h30m ago", "2 days ago"), or "now"';

/**
 * What a point means.
 *
 * | written | means |
 * |---|---|
 * | `42`, `"42"` | the epoch |
 * | `"2026-11-20T12:00:00Z"`, with any offset, with fractions of a second, a `Date` | the time; to the millisecond |
 * | `"5m ago"`, `"2 hours ago"`, `"1h30m ago"`: weeks, days, hours, minutes, seconds | that long before `nowMs` |
 * | `"now"` | the newest epoch, whatever the clocks say |
 *
 * @throws ClusterError `invalid`/`bad_point` for anything else, such as a time without its zone
 */
export function parsePoint(point: Point, nowMs: number): ParsedPoint {
  if (typeof point === "number") return parseEpoch(point);
  if (typeof point === "string") return parseText(point.trim(), nowMs);
  if (point instanceof Date) {
    const ms = point.getTime();
    if (Number.isNaN(ms)) refuse("an invalid Date", "it is no time");
    return { kind: "time", ms };
  }
  return refuse(String(point), `it is of type ${typeof point}`);
}

function parseEpoch(epoch: number, written: string = String(epoch)): ParsedPoint {
  if (!Number.isSafeInteger(epoch) || epoch < 0) refuse(written, "epochs are whole numbers from 0 to 2^53 - 1");
  return { kind: "epoch", epoch };
}

const QUOTED_LENGTH_MAX = 80;

function parseText(text: string, nowMs: number): ParsedPoint {
  const written = JSON.stringify(text.length > QUOTED_LENGTH_MAX ? `${text.slice(0, QUOTED_LENGTH_MAX)}…` : text);
  if (/^\d+$/.test(text)) return parseEpoch(Number(text), written);
  if (/^now$/i.test(text)) return { kind: "newest" };
  const agoMs = parseAgo(text);
  if (agoMs !== undefined) return pastTime(nowMs - agoMs, written);
  const ms = parseTime(text);
  if (ms !== undefined) return { kind: "time", ms };
  return refuse(written, reasonAgainst(text, nowMs));
}

/** The first moment that a `Date` can tell. */
const TIME_MS_MIN = -8_640_000_000_000_000;

function pastTime(ms: number, written: string): ParsedPoint {
  if (!(ms >= TIME_MS_MIN)) refuse(written, "that is too long ago");
  return { kind: "time", ms };
}

const UNITS_MS: readonly number[] = [7 * 86_400_000, 86_400_000, 3_600_000, 60_000, 1000];
/** Each unit at most once, the larger before the smaller: `1h30m ago`. */
const AGO = new RegExp(
  `^${["w|weeks?", "d|days?", "h|hours?", "m|min|minutes?", "s|sec|seconds?"]
    .map((unit) => `(?:(\\d+)\\s*(?:${unit})(?![a-z])\\s*)?`)
    .join("")}(?<=\\s)ago$`,
  "i",
);

function parseAgo(text: string): number | undefined {
  const match = AGO.exec(text);
  if (match === null) return undefined;
  const counts = match.slice(1);
  if (counts.every((count) => count === undefined)) return undefined;
  return counts.reduce((sum, count, unit) => sum + Number(count ?? 0) * (UNITS_MS[unit] as number), 0);
}

/** RFC 3339 §5.6: `2026-11-20T12:00:00.5+01:00`; the T may be a space, the second 60 is not known. */
const TIME =
  /^(\d{4}-\d{2}-\d{2})[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))$/;

/**
 * Milliseconds since 1970 of an RFC 3339 time, what is finer left out; `undefined` if the text is none. Stricter than
 * `Date.parse`, which knows a 30th of February.
 */
export function parseTime(text: string): number | undefined {
  const match = TIME.exec(text);
  if (match === null) return undefined;
  const [, day, time, fraction = "", sign, hours, minutes] = match;
  const ms = Date.parse(`${day}T${time}.${fraction.slice(0, 3).padEnd(3, "0")}Z`);
  if (Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 10) !== day) return undefined;
  if (sign === undefined) return ms;
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "+" ? ms - offsetMs : ms + offsetMs;
}

/** Looks like a time or a day, whether there is one or not. */
const TIME_LIKE = /^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}\S*)?$/;

/** What it advises to write is a point. */
function reasonAgainst(text: string, nowMs: number): string {
  for (const complete of [`${text}Z`, `${text}:00Z`]) {
    if (parseTime(complete) !== undefined)
      return `its zone is missing: write ${complete} for UTC, or add an offset such as +01:00`;
  }
  if (parseTime(`${text}T00:00:00Z`) !== undefined) return `a day is not a moment: write ${text}T00:00:00Z`;
  if (nowMs - (parseAgo(`${text} ago`) ?? Number.POSITIVE_INFINITY) >= TIME_MS_MIN)
    return `how long ago? write "${text} ago"`;
  if (TIME_LIKE.test(text)) return "there is no such day, time or zone";
  if (/^-\d+$/.test(text)) return "epochs are not negative";
  return text === "" ? "it is empty" : "it is neither an epoch nor a time";
}

function refuse(written: string, reason: string): never {
  throw new ClusterError(
    "invalid",
    "bad_point",
    `${written} is not a point in the history: ${reason}; give ${EXAMPLES}`,
    {
      point: written,
      reason,
    },
  );
}
