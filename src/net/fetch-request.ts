import { ClusterError, errorMessage } from "../errors.ts";
import { headerRecord } from "./header-record.ts";
import { canonicalPath } from "./path.ts";
import { BodyTooLarge, mayHaveBody, readBody } from "./request-body.ts";

/** What the standard's `fetch` takes. */
export type FetchInput = string | URL | Request;

/** A request that `fetch` was asked for, with its body in memory, so that it can be sent more than once. */
export interface FetchRequest {
  readonly method: string;
  /** Canonical, with the query. */
  readonly path: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
  readonly signal: AbortSignal | undefined;
}

const ORIGIN = "http://localhost";
const URL_WITH_PATH = /^https?:\/\/[\w.:[\]-]+(\/[^#]*)$/;
const encoder = new TextEncoder();

/**
 * Reads the arguments of `fetch`. Of a URL only path and query count: who is asked is the caller's business.
 *
 * @throws ClusterError `invalid` `bad_path`, `bad_header`, `bad_body`, `body_too_large`; the body's own error, if it has one
 */
export async function readFetch(input: FetchInput, init: RequestInit, bodyBytesMax: number): Promise<FetchRequest> {
  const request = typeof input === "object" && "url" in input ? input : undefined;
  const method = (init.method ?? request?.method ?? "GET").toUpperCase();
  const path = pathOf(typeof input === "string" ? input : "url" in input ? input.url : input.href);
  const signal = init.signal ?? request?.signal;
  signal?.throwIfAborted();
  const headers = headerRecord(init.headers ?? request?.headers);
  const body = init.body ?? (request !== undefined && mayHaveBody(method) ? request.body : undefined) ?? undefined;
  if (body === undefined) return { method, path, headers, body, signal };
  if (!mayHaveBody(method)) throw new ClusterError("invalid", "bad_body", `a ${method} request has no body`);
  const whole = simpleBody(body, headers) ?? (await anyBody(method, body, headers, bodyBytesMax));
  if (whole.length > bodyBytesMax) throw tooLarge(new BodyTooLarge(bodyBytesMax), bodyBytesMax);
  return { method, path, headers, body: whole, signal };
}

function pathOf(text: string): string {
  if (text.startsWith("/")) return canonicalPath(text.includes("#") ? text.slice(0, text.indexOf("#")) : text);
  const path = URL_WITH_PATH.exec(text)?.[1];
  if (path !== undefined) return canonicalPath(path);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return canonicalPath(url === undefined ? text : url.pathname + url.search);
}

/** Text and bytes, without the standard's classes. The bytes are copied: the caller may change them meanwhile. */
function simpleBody(body: BodyInit, headers: Record<string, string>): Uint8Array | undefined {
  if (typeof body === "string") {
    headers["content-type"] ??= "text/plain;charset=UTF-8";
    return encoder.encode(body);
  }
  if (body instanceof ArrayBuffer) return new Uint8Array(body.slice(0));
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice();
  return undefined;
}

/** Whatever else can be a body: the standard's own class knows each kind, and its content type. */
async function anyBody(
  method: string,
  body: BodyInit,
  headers: Record<string, string>,
  bodyBytesMax: number,
): Promise<Uint8Array> {
  let request: Request;
  try {
    request = new Request(ORIGIN, { method, headers, body, duplex: "half" } as RequestInit);
  } catch (error) {
    throw new ClusterError(
      "invalid",
      "bad_body",
      `cannot send such a body: ${errorMessage(error)}`,
      {},
      { cause: error },
    );
  }
  const contentType = request.headers.get("content-type");
  if (contentType !== null) headers["content-type"] = contentType;
  try {
    return await readBody(request, bodyBytesMax);
  } catch (error) {
    throw error instanceof BodyTooLarge ? tooLarge(error, bodyBytesMax) : error;
  }
}

function tooLarge(error: BodyTooLarge, bytesMax: number): ClusterError {
  return new ClusterError("invalid", "body_too_large", error.message, { bytesMax });
}
