import { ClusterError, errorMessage } from "../errors.ts";

/** What the standard's `Headers` would keep as it is; everything else is left to it. */
const PLAIN_NAME = /^[a-z0-9_-]+$/;
const PLAIN_VALUE = /^(?:[!-~](?:[\t -~]*[!-~])?)?$/;

/**
 * Headers as a record of its own, by lower-case name. `Headers` costs several times as much as the rest of a small
 * request's preparation, so plain records are checked without it.
 *
 * @throws ClusterError `invalid` `bad_header`
 */
export function headerRecord(headers: HeadersInit | undefined): Record<string, string> {
  if (headers === undefined) return {};
  return plainRecord(headers) ?? standardRecord(headers);
}

function plainRecord(headers: HeadersInit): Record<string, string> | undefined {
  if (Symbol.iterator in headers) return undefined;
  const record: Record<string, string> = {};
  for (const name of Object.keys(headers)) {
    const lowerName = name.toLowerCase();
    const value = (headers as Record<string, unknown>)[name];
    const isPlain = typeof value === "string" && PLAIN_NAME.test(lowerName) && PLAIN_VALUE.test(value);
    if (!isPlain || lowerName in record) return undefined;
    record[lowerName] = value;
  }
  return record;
}

function standardRecord(headers: HeadersInit): Record<string, string> {
  try {
    return Object.fromEntries(new Headers(headers));
  } catch (error) {
    throw new ClusterError("invalid", "bad_header", `cannot send such headers: ${errorMessage(error)}`);
  }
}
