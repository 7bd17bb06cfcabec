import process from "node:process";
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { ClusterError } from "../errors.ts";
import { systemClock, systemRandom } from "../platform/system.ts";
import { assertRange, LIST_LIMIT_MAX, listLimit, rangeWithin } from "./call-checks.ts";
import { assertKey, assertPrefix } from "./key-rules.ts";
import { collectBody, isPartSource } from "./put-body.ts";
import type { RetryPolicy } from "./retry.ts";
import { S3Address } from "./s3-address.ts";
import { S3Client, type S3Request } from "./s3-client.ts";
import {
  CredentialsKeeper,
  credentialsFromEnvironment,
  type S3Credentials,
  type S3CredentialsProvider,
} from "./s3-credentials.ts";
import { deleteBatch } from "./s3-delete.ts";
import { type S3Answer, s3Fault } from "./s3-errors.ts";
import { listPage } from "./s3-list.ts";
import { partBytesFor, uploadInParts } from "./s3-multipart.ts";
import type {
  CallOptions,
  GetOptions,
  ListOptions,
  ListPage,
  ObjectStat,
  ObjectStore,
  PartSource,
  PutBody,
  PutOptions,
  PutOutcome,
  StoredObject,
} from "./store.ts";

const MIB = 1024 * 1024;
const REGION_DEFAULT = "us-east-1";
const REQUEST_TIMEOUT_MS = 20_000;
const MULTIPART_THRESHOLD_BYTES = 16 * MIB;
const PART_BYTES = 5 * MIB;
/** S3's limit for all parts but the last. */
const PART_BYTES_MIN = 5 * MIB;
const PARTS_IN_FLIGHT_MAX = 4;
const PART_ATTEMPTS_MAX = 4;
const PART_BACKOFF_MS = 100;
const PART_BACKOFF_MAX_MS = 2_000;

/** Settings of an {@link S3Store}. */
export interface S3StoreOptions {
  readonly bucket: string;
  /** *Default* `us-east-1`; Cloudflare R2 wants `auto`. */
  readonly region?: string | undefined;
  /** The server's URL, e.g. `https://minio.example.com:9000`; *default* AWS in that region. */
  readonly endpoint?: string | undefined;
  /** The bucket in the path instead of the host name; *default* true with an `endpoint` or a bucket name with dots. */
  readonly pathStyle?: boolean | undefined;
  /**
   * Fixed credentials, or a function that is asked again before they expire;
   * *default* `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
   */
  readonly credentials?: S3Credentials | S3CredentialsProvider | undefined;
  /** Longest time of one request, plus a second for every MiB moved; *default* 20 000. */
  readonly requestTimeoutMs?: number | undefined;
  /** A `PartSource` longer than this goes up in parts; *default* 16 MiB. Bytes are always one request. */
  readonly multipartThresholdBytes?: number | undefined;
  /** Bytes of a part, at least 5 MiB; *default* 5 MiB. */
  readonly partBytes?: number | undefined;
  /** Parts of one upload on their way at the same time, each held in memory; *default* 4. */
  readonly partsInFlightMax?: number | undefined;
  /** *Default* the machine's clock. */
  readonly clock?: Clock | undefined;
  /** *Default* the machine's randomness. */
  readonly random?: Random | undefined;
}

/**
 * Objects in an S3 bucket, on AWS or any server that speaks its protocol and
 * makes `PUT` with `If-None-Match: *` atomic. Every call is one attempt: put a
 * `RetryingStore` around it, as `openStore` does.
 *
 * The credentials need `s3:GetObject`, `s3:PutObject`, `s3:DeleteObject`,
 * `s3:AbortMultipartUpload` and `s3:ListBucket`; without the last one S3 answers
 * "access denied" for objects that do not exist.
 */
export class S3Store implements ObjectStore {
  readonly locality = "remote" as const;
  readonly url: string;
  readonly #client: S3Client;
  readonly #multipartThresholdBytes: number;
  readonly #partBytes: number;
  readonly #partsInFlightMax: number;
  readonly #partRetry: RetryPolicy;
  /** Set by the first answer that only an existing bucket gives: `HEAD` answers do not tell. */
  #bucketExists = false;

  /** @throws ClusterError `invalid`: `bad_store_url`, `bad_store_option`, `no_credentials`, `bad_credentials` */
  constructor(options: S3StoreOptions) {
    const { bucket, endpoint, pathStyle, clock = systemClock, region = REGION_DEFAULT } = options;
    const address = new S3Address({ bucket, region, endpoint, pathStyle });
    this.url = address.url;
    this.#multipartThresholdBytes = atLeast("multipartThresholdBytes", 0, options, MULTIPART_THRESHOLD_BYTES);
    this.#partBytes = atLeast("partBytes", PART_BYTES_MIN, options, PART_BYTES);
    this.#partsInFlightMax = atLeast("partsInFlightMax", 1, options, PARTS_IN_FLIGHT_MAX);
    const requestTimeoutMs = atLeast("requestTimeoutMs", 1, options, REQUEST_TIMEOUT_MS);
    const credentials = new CredentialsKeeper(options.credentials ?? credentialsFromEnvironment(process.env), clock);
    this.#client = new S3Client({ address, region, credentials, requestTimeoutMs, clock });
    this.#partRetry = {
      attemptsMax: PART_ATTEMPTS_MAX,
      backoffMs: PART_BACKOFF_MS,
      backoffMaxMs: PART_BACKOFF_MAX_MS,
      clock,
      random: options.random ?? systemRandom,
    };
  }

  async get(key: string, options: GetOptions = {}): Promise<StoredObject | undefined> {
    assertKey(key);
    const { range, signal } = options;
    assertRange(range);
    const headers = range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
    const request: S3Request = { action: "get", method: "GET", key, headers, signal };
    const answer = await this.#client.send(request);
    if (answer.status === 416) {
      const stat = await this.head(key, { signal });
      return stat === undefined ? undefined : { ...stat, bytes: new Uint8Array(0) };
    }
    if (isNoSuchKey(answer)) return undefined;
    if (answer.status !== 200 && answer.status !== 206) throw this.#client.failure(request, answer);
    if (answer.status === 206 && range !== undefined) {
      return { ...this.#stat(request, answer, this.#sizeOfRange(request, answer, range)), bytes: answer.bytes };
    }
    // A server that does not know ranges answers 200 and the whole object.
    const { start, end } = rangeWithin(range, answer.bytes.length);
    return { ...this.#stat(request, answer, answer.bytes.length), bytes: answer.bytes.subarray(start, end) };
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectStat | undefined> {
    assertKey(key);
    const request: S3Request = { action: "head", method: "HEAD", key, signal: options.signal };
    const answer = await this.#client.send(request);
    if (answer.status === 404) {
      await this.#assertBucket(options);
      return undefined;
    }
    if (answer.status !== 200) throw this.#client.failure(request, answer);
    const size = Number(answer.headers.get("content-length") ?? Number.NaN);
    if (!Number.isSafeInteger(size)) throw this.#client.badAnswer(request, "the store names no Content-Length");
    return this.#stat(request, answer, size);
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    assertKey(key);
    const { ifAbsent, signal } = options;
    if (isPartSource(body) && body.byteLength > this.#multipartThresholdBytes) {
      if (ifAbsent) throw this.#noConditionalParts(key, body);
      await this.#putInParts(key, body, signal);
      return "created";
    }
    const headers = ifAbsent ? { "if-none-match": "*" } : {};
    const bytes = await collectBody(body);
    const request: S3Request = { action: "put", method: "PUT", key, headers, body: bytes, signal };
    const answer = await this.#client.send(request);
    if (answer.status === 412 && ifAbsent) return "exists";
    if (answer.status !== 200) throw this.#client.failure(request, answer);
    this.#bucketExists = true;
    return "created";
  }

  async list(prefix: string, options: ListOptions = {}): Promise<ListPage> {
    assertPrefix(prefix);
    const limit = listLimit(options);
    const page = await listPage(this.#client, {
      prefix,
      startAfter: options.startAfter,
      limit,
      signal: options.signal,
    });
    this.#bucketExists = true;
    return page;
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    assertKey(key);
    const request: S3Request = { action: "delete", method: "DELETE", key, signal: options.signal };
    const answer = await this.#client.send(request);
    if (answer.status === 204 || answer.status === 200 || isNoSuchKey(answer)) return;
    throw this.#client.failure(request, answer);
  }

  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<void> {
    for (const key of keys) assertKey(key);
    for (let start = 0; start < keys.length; start += LIST_LIMIT_MAX) {
      await deleteBatch(this.#client, keys.slice(start, start + LIST_LIMIT_MAX), options.signal);
    }
  }

  /** How many requests a `put` of this body is charged for: for `MeteredStore`. */
  requestsOfPut(body: PutBody): number {
    if (!isPartSource(body) || body.byteLength <= this.#multipartThresholdBytes) return 1;
    return 2 + Math.ceil(body.byteLength / partBytesFor(body.byteLength, this.#partBytes));
  }

  async #putInParts(key: string, body: PartSource, signal: AbortSignal | undefined): Promise<void> {
    await uploadInParts({
      client: this.#client,
      key,
      body,
      partBytes: this.#partBytes,
      partsInFlightMax: this.#partsInFlightMax,
      retry: this.#partRetry,
      signal,
    });
  }

  /** `HEAD` answers 404 without saying whether the object or the bucket is missing. */
  async #assertBucket(options: CallOptions): Promise<void> {
    if (!this.#bucketExists) await this.list("", { limit: 1, signal: options.signal });
  }

  /** The whole object's size, once the answer has proved to be the range that was asked for. */
  #sizeOfRange(request: S3Request, answer: S3Answer, range: { offset: number; length: number }): number {
    const contentRange = answer.headers.get("content-range") ?? "";
    const [start, last, size] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(contentRange) ?? []).slice(1).map(Number);
    if (start !== undefined && last !== undefined && size !== undefined) {
      const expected = rangeWithin(range, size);
      const isRight = start === expected.start && last === expected.end - 1;
      if (isRight && answer.bytes.length === expected.end - expected.start) return size;
    }
    const reason = `asked for ${range.length} bytes at ${range.offset}, the store sent "${contentRange}"`;
    throw this.#client.badAnswer(request, reason);
  }

  #stat(request: S3Request, answer: S3Answer, size: number): ObjectStat {
    this.#bucketExists = true;
    const lastModifiedMs = Date.parse(answer.headers.get("last-modified") ?? "");
    const nowMs = Date.parse(answer.headers.get("date") ?? "");
    if (Number.isNaN(lastModifiedMs)) throw this.#client.badAnswer(request, "the store names no Last-Modified");
    if (Number.isNaN(nowMs)) throw this.#client.badAnswer(request, "the store names no Date");
    return { key: request.key, size, lastModifiedMs, nowMs };
  }

  #noConditionalParts(key: string, body: PartSource): ClusterError {
    const text = `cannot put ${JSON.stringify(key)} in ${this.url}: S3 has no dependable create-if-absent in parts`;
    const details = { key, byteLength: body.byteLength, multipartThresholdBytes: this.#multipartThresholdBytes };
    return new ClusterError("invalid", "store_unsupported", text, details);
  }
}

function isNoSuchKey(answer: S3Answer): boolean {
  return answer.status === 404 && ["NoSuchKey", "NotFound"].includes(s3Fault(answer).s3Code ?? "");
}

function atLeast(
  name: "requestTimeoutMs" | "multipartThresholdBytes" | "partBytes" | "partsInFlightMax",
  least: number,
  options: S3StoreOptions,
  otherwise: number,
): number {
  const value = options[name] ?? otherwise;
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new ClusterError(
    "invalid",
    "bad_store_option",
    `S3Store: ${name} is a whole number of at least ${least}, not ${value}`,
    {
      name,
      least,
      value,
    },
  );
}
