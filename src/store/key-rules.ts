import { ClusterError } from "../errors.ts";

/** S3's limit for a whole key, in UTF-8 bytes. */
export const KEY_BYTES_MAX = 1024;
/** What file systems allow for a name, so that a key that one store takes suits every store. */
export const SEGMENT_BYTES_MAX = 255;

const UTF16_SURROGATE_FIRST = 0xd800;
const UTF16_SURROGATE_LAST = 0xdfff;

/** With the `u` flag the halves of a pair are one character and do not match. */
const LONE_SURROGATE = /\p{Surrogate}/u;

const encoder = new TextEncoder();

/**
 * The rules for keys, the same in every store: 1 to {@link KEY_BYTES_MAX} bytes
 * of UTF-8 without control characters, no segment between slashes that is
 * empty, `.`, `..` or longer than {@link SEGMENT_BYTES_MAX} bytes.
 *
 * @throws ClusterError `invalid`/`bad_key`
 */
export function assertKey(key: string): void {
  const fault = key === "" ? "it is empty" : (textFault(key) ?? segmentsFault(key.split("/")));
  if (fault !== undefined) throw badKey(key, fault);
}

/** The same rules for a prefix, which may be empty and may end inside a segment or after a slash. */
export function assertPrefix(prefix: string): void {
  const whole = prefix.split("/").slice(0, -1);
  const fault = textFault(prefix) ?? segmentsFault(whole);
  if (fault !== undefined) throw badKey(prefix, fault);
}

/** The error for a key that a store cannot take. */
export function badKey(key: string, fault: string): ClusterError {
  return new ClusterError("invalid", "bad_key", `not a usable object key: ${fault}: ${JSON.stringify(key)}`, { key });
}

/** Order of the keys' UTF-8 bytes, as a `sort` callback. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === length) return a.length - b.length;
  return utf8Rank(a.charCodeAt(i)) - utf8Rank(b.charCodeAt(i));
}

/** UTF-16 puts surrogate pairs below U+E000..U+FFFF, UTF-8 puts the characters that they stand for above. */
function utf8Rank(codeUnit: number): number {
  const isSurrogate = codeUnit >= UTF16_SURROGATE_FIRST && codeUnit <= UTF16_SURROGATE_LAST;
  return isSurrogate ? codeUnit + 0x10000 : codeUnit;
}

function textFault(text: string): string | undefined {
  if (LONE_SURROGATE.test(text)) return "it is not valid Unicode";
  for (let i = 0; i < text.length; i++) {
    const codeUnit = text.charCodeAt(i);
    if (codeUnit < 0x20 || codeUnit === 0x7f) return "it has a control character";
  }
  if (isLonger(text, KEY_BYTES_MAX)) return `it is longer than ${KEY_BYTES_MAX} bytes`;
  return undefined;
}

function segmentsFault(segments: readonly string[]): string | undefined {
  for (const segment of segments) {
    if (segment === "") return "a segment between slashes is empty";
    if (segment === "." || segment === "..") return `it has a segment "${segment}"`;
    if (isLonger(segment, SEGMENT_BYTES_MAX)) return `a segment is longer than ${SEGMENT_BYTES_MAX} bytes`;
  }
  return undefined;
}

function isLonger(text: string, bytesMax: number): boolean {
  // UTF-8 takes at most three bytes a code unit: short texts need no encoding.
  return text.length * 3 > bytesMax && encoder.encode(text).length > bytesMax;
}
