import { ClusterError } from "../errors.ts";
import { compareKeys } from "./key-rules.ts";
import type { S3Client, S3Request } from "./s3-client.ts";
import { parseXml, type XmlNode, xmlChildren, xmlText } from "./s3-xml.ts";
import type { ListPage, ObjectInfo } from "./store.ts";

/** What to list. */
export interface S3Listing {
  readonly prefix: string;
  readonly startAfter: string | undefined;
  readonly limit: number;
  readonly signal: AbortSignal | undefined;
}

/** S3 may send pages without objects that are not the last; more of them in a row are a fault of the server. */
const EMPTY_PAGES_MAX = 100;

/** One page of a listing, by ListObjectsV2. */
export async function listPage(client: S3Client, listing: S3Listing): Promise<ListPage> {
  let token: string | undefined;
  for (let pages = 1; ; pages++) {
    const request = listRequest(listing, token);
    const answer = await client.send(request);
    if (answer.status !== 200) throw client.failure(request, answer);
    const result = parseXml(answer.bytes, "ListBucketResult");
    if (result === undefined) throw client.badAnswer(request, "the listing is not one whole XML document");
    const objects = xmlChildren(result, "Contents").map((row) => objectInfo(client, request, result, row));
    assertOrder(client, request, listing, objects);
    const truncated = xmlText(result, "IsTruncated");
    if (truncated !== "true" && truncated !== "false") {
      throw client.badAnswer(request, "the listing does not tell whether it is complete");
    }
    const more = truncated === "true";
    if (objects.length > 0 || !more) return { objects, more };
    token = xmlText(result, "NextContinuationToken");
    if (token === undefined || pages === EMPTY_PAGES_MAX) {
      throw client.badAnswer(request, "the listing has no objects and no end");
    }
  }
}

function listRequest(listing: S3Listing, token: string | undefined): S3Request {
  const { prefix, startAfter, limit, signal } = listing;
  const query: Record<string, string> = { "list-type": "2", "encoding-type": "url", "max-keys": String(limit), prefix };
  if (startAfter) query["start-after"] = startAfter;
  if (token !== undefined) query["continuation-token"] = token;
  return { action: "list", method: "GET", key: "", subject: prefix, query, signal };
}

function objectInfo(client: S3Client, request: S3Request, result: XmlNode, row: XmlNode): ObjectInfo {
  const text = xmlText(row, "Key");
  const size = wholeNumber(xmlText(row, "Size"));
  const key = xmlText(result, "EncodingType") === "url" ? urlDecoded(text) : text;
  if (key === undefined || !Number.isSafeInteger(size)) throw client.badAnswer(request, "a row has no key or no size");
  return { key, size };
}

/** Not what `Number` takes: it reads no text at all as 0. */
function wholeNumber(text = ""): number {
  return /^\d+$/.test(text) ? Number(text) : Number.NaN;
}

/** AWS encodes a space as `+`, others as `%20`; all encode a plus sign. */
function urlDecoded(text: string | undefined): string | undefined {
  try {
    return text === undefined ? undefined : decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return undefined;
  }
}

/** A store that ignores start-after or lists in no order (S3 Express does) would be read wrongly without a sign. */
function assertOrder(client: S3Client, request: S3Request, listing: S3Listing, objects: readonly ObjectInfo[]): void {
  let previous = listing.startAfter ?? "";
  for (const { key } of objects) {
    if (!key.startsWith(listing.prefix)) throw client.badAnswer(request, "the store lists keys without the prefix");
    if (compareKeys(key, previous) <= 0) {
      const text = `${client.badAnswer(request, "the store does not list in key order after start-after").message}`;
      throw new ClusterError("invalid", "store_unsupported", text, { prefix: listing.prefix, key, previous });
    }
    previous = key;
  }
}
