import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { toHex } from "../base/bytes.ts";
import type { Clock } from "../base/clock.ts";
import { ClusterError, errorMessage } from "../errors.ts";
import { sha256Hex } from "../platform/system.ts";
import { type Deadline, transferTimeoutMs, withDeadline } from "./deadline.ts";
import type { S3Address } from "./s3-address.ts";
import type { CredentialsKeeper, S3Credentials } from "./s3-credentials.ts";
import { type S3Answer, type S3Call, s3Error, s3Fault, saysExpired } from "./s3-errors.ts";

/** Bodies up to this size are hashed at once; longer ones off the thread, so that nothing else waits. */
const HASH_INLINE_BYTES_MAX = 64 * 1024;

/** Signing keys change once a day and with the credentials; the cache starts anew at this size. */
const SIGNING_KEYS_MAX = 16;

/** A longer body of a failed request is a proxy's page: not read. */
const FAULT_BYTES_MAX = 256 * 1024;

/** One request. */
export interface S3Request {
  /** What it does, for messages. */
  readonly action: string;
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** The object, or empty for the bucket. */
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal: AbortSignal | undefined;
  /** What messages name instead of `key`. */
  readonly subject?: string;
}

/** What the client needs. */
export interface S3ClientOptions {
  readonly address: S3Address;
  readonly region: string;
  readonly credentials: CredentialsKeeper;
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
}

/** Signs and sends requests, one attempt each, and reads the whole answer. */
export class S3Client {
  readonly #options: S3ClientOptions;
  readonly #signingKeys = new Map<string, ArrayBuffer>();

  constructor(options: S3ClientOptions) {
    this.#options = options;
  }

  /**
   * The answer, whatever its status.
   *
   * @throws ClusterError `unavailable`: `store_unreachable`, `store_timeout`, `store_truncated`
   */
  async send(request: S3Request): Promise<S3Answer> {
    const timeoutMs = transferTimeoutMs(this.#options.requestTimeoutMs, request.body?.length ?? 0);
    const onTimeout = () => this.#error(request, "store_timeout", "no answer in time", { timeoutMs });
    const bounds = { clock: this.#options.clock, timeoutMs, signal: request.signal, onTimeout };
    return await withDeadline(bounds, async (deadline) => {
      const credentials = await this.#options.credentials.get();
      const { url, headers } = await this.#sign(request, credentials);
      const response = await this.#fetch(request, url, headers, deadline);
      const answer = await this.#read(request, response, deadline);
      if (answer.status >= 400 && saysExpired(s3Fault(answer))) this.#options.credentials.forget(credentials);
      return answer;
    });
  }

  /** The error of an answer that the caller has no use for. */
  failure(request: S3Request, answer: S3Answer): ClusterError {
    return s3Error(this.#call(request), answer);
  }

  /** The error of an answer that claims success and is not understood. */
  badAnswer(request: S3Request, reason: string): ClusterError {
    return this.#error(request, "store_bad_answer", reason);
  }

  async #sign(request: S3Request, credentials: S3Credentials): Promise<{ url: string; headers: Headers }> {
    if (this.#signingKeys.size >= SIGNING_KEYS_MAX) this.#signingKeys.clear();
    const url = this.#options.address.of(request.key, request.query);
    const { accessKeyId, secretAccessKey, sessionToken } = credentials;
    const signer = new AwsV4Signer({
      method: request.method,
      url,
      headers: { ...request.headers, "x-amz-content-sha256": await bodyHash(request.body) },
      service: "s3",
      region: this.#options.region,
      cache: this.#signingKeys,
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
    });
    const { headers } = await signer.sign();
    // Added after signing: proxies change it. Compressed answers would hide a wrong length.
    headers.set("accept-encoding", "identity");
    return { url, headers };
  }

  async #fetch(request: S3Request, url: string, headers: Headers, deadline: Deadline): Promise<Response> {
    try {
      const body = request.body === undefined ? null : (request.body as Uint8Array<ArrayBuffer>);
      return await fetch(url, { method: request.method, headers, body, redirect: "manual", signal: deadline.signal });
    } catch (error) {
      const { message, errno } = networkCause(error);
      throw this.#error(request, "store_unreachable", message, errno === undefined ? {} : { errno }, error);
    }
  }

  async #read(request: S3Request, response: Response, deadline: Deadline): Promise<S3Answer> {
    const { status, headers } = response;
    const announced = announcedBytes(headers);
    if (status >= 300 && announced !== undefined && announced > FAULT_BYTES_MAX) {
      await response.body?.cancel();
      return { status, headers, bytes: new Uint8Array(0) };
    }
    if (announced !== undefined) deadline.restart(transferTimeoutMs(this.#options.requestTimeoutMs, announced));
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(await response.arrayBuffer());
    } catch (error) {
      throw this.#error(request, "store_truncated", "the connection broke in mid-answer", {}, error);
    }
    // The runtimes of today notice this themselves; nothing in fetch's standard says that they must.
    if (request.method !== "HEAD" && announced !== undefined && announced !== bytes.length) {
      const lengths = { expected: announced, found: bytes.length };
      throw this.#error(request, "store_truncated", `the answer has ${bytes.length} of ${announced} bytes`, lengths);
    }
    return { status, headers, bytes };
  }

  #call(request: S3Request): S3Call {
    const { address, region, credentials } = this.#options;
    return {
      action: request.action,
      key: request.subject ?? request.key,
      store: address.url,
      region,
      canRenewCredentials: credentials.isRenewable,
      redact: (text) => credentials.redact(text),
    };
  }

  #error(
    request: S3Request,
    code: string,
    reason: string,
    details: Record<string, unknown> = {},
    cause?: unknown,
  ): ClusterError {
    const { action, key, store } = this.#call(request);
    const text = `cannot ${action} ${JSON.stringify(key)} in ${store}: ${reason}`;
    return new ClusterError(
      "unavailable",
      code,
      text,
      { key, store, ...details },
      cause === undefined ? {} : { cause },
    );
  }
}

/** Content-MD5, which S3 demands for some bodies. */
export function contentMd5(body: Uint8Array): string {
  return createHash("md5").update(body).digest("base64");
}

async function bodyHash(body: Uint8Array | undefined): Promise<string> {
  if (body === undefined || body.length <= HASH_INLINE_BYTES_MAX) return sha256Hex(body ?? new Uint8Array(0));
  return toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", body as Uint8Array<ArrayBuffer>)));
}

/** The length that the body must have; unknown for chunked and for compressed answers. */
function announcedBytes(headers: Headers): number | undefined {
  const encoding = headers.get("content-encoding");
  const length = headers.get("content-length");
  if (length === null || !/^\d+$/.test(length) || (encoding !== null && encoding !== "identity")) return undefined;
  return Number(length);
}

/** `fetch` says only "fetch failed"; what happened is in its cause. */
function networkCause(error: unknown): { message: string; errno: string | undefined } {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const errno = cause instanceof Error ? (cause as Error & { code?: unknown }).code : undefined;
  const message = errorMessage(cause) || String(errno ?? "no connection");
  return { message: `no connection: ${message}`, errno: typeof errno === "string" ? errno : undefined };
}
