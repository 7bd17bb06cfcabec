import { ClusterError, type ErrorKind } from "../errors.ts";
import { parseXml, xmlText } from "./s3-xml.ts";

/** A request to S3, for its error. */
export interface S3Call {
  /** What was asked for, e.g. `put`. */
  readonly action: string;
  /** Key or prefix. */
  readonly key: string;
  /** The store's URL, without credentials. */
  readonly store: string;
  readonly region: string;
  /** True if new credentials may come where these have expired. */
  readonly canRenewCredentials: boolean;
  /** Takes credentials out of what the server said: some servers name the access key. */
  readonly redact: (text: string) => string;
}

/** An answer whose body has been read. */
export interface S3Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
}

/** What an answer says about a failure; `HEAD` answers have no body and so no code. */
export interface S3Fault {
  readonly s3Code: string | undefined;
  readonly s3Message: string | undefined;
  readonly requestId: string | undefined;
  /** Where the bucket is, if the server said so. */
  readonly bucketRegion: string | undefined;
}

/** S3's messages are short; a proxy's page is not worth more. */
const MESSAGE_CHARACTERS_MAX = 300;

const THROTTLE_CODES = new Set([
  "SlowDown",
  "SlowDownRead",
  "SlowDownWrite",
  "Throttling",
  "ThrottlingException",
  "TooManyRequests",
  "RequestLimitExceeded",
  "BandwidthLimitExceeded",
]);

/** The upload was damaged or cut on its way: the same bytes may well arrive the next time. */
const DAMAGED_UPLOAD_CODES = new Set(["BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "InvalidDigest"]);

const EXPIRED_CODES = new Set(["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]);

/** Reads the `<Error>` document and headers of an answer. */
export function s3Fault(answer: S3Answer): S3Fault {
  const error = parseXml(answer.bytes, "Error");
  return {
    s3Code: xmlText(error, "Code"),
    s3Message: xmlText(error, "Message")?.slice(0, MESSAGE_CHARACTERS_MAX),
    requestId: answer.headers.get("x-amz-request-id") ?? xmlText(error, "RequestId"),
    bucketRegion: answer.headers.get("x-amz-bucket-region") ?? xmlText(error, "Region"),
  };
}

/** True if the answer says that the credentials are no longer valid. */
export function saysExpired(fault: S3Fault): boolean {
  return fault.s3Code !== undefined && EXPIRED_CODES.has(fault.s3Code);
}

/** What an answer that is no success means to the caller of the store. */
export function s3Error(call: S3Call, answer: S3Answer): ClusterError {
  const fault = s3Fault(answer);
  const { kind, code, reason } = meaningOf(call, answer, fault);
  const details = {
    key: call.key,
    store: call.store,
    status: answer.status,
    ...withoutUndefined({ ...fault, s3Message: undefined, retryAfterMs: retryAfterMs(answer) }),
  };
  const message = fault.s3Message ? call.redact(fault.s3Message) : undefined;
  const said = [`HTTP ${answer.status}`, fault.s3Code, message].filter((text) => text !== undefined);
  const request = fault.requestId === undefined ? "" : `, request ${fault.requestId}`;
  const text = `cannot ${call.action} ${JSON.stringify(call.key)} in ${call.store}: ${reason} (${said.join(" ")}${request})`;
  return new ClusterError(kind, code, text, details);
}

/** How long the server asked to wait. */
export function retryAfterMs(answer: S3Answer): number | undefined {
  const header = answer.headers.get("retry-after");
  if (header === null) return undefined;
  const seconds = Number(header);
  const delayMs = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - serverTimeMs(answer);
  return Number.isFinite(delayMs) ? Math.max(0, delayMs) : undefined;
}

interface Meaning {
  readonly kind: ErrorKind;
  readonly code: string;
  readonly reason: string;
}

function meaningOf(call: S3Call, answer: S3Answer, fault: S3Fault): Meaning {
  return (
    meaningOfCode(call, answer, fault) ??
    meaningOfStatus(call, answer, fault) ?? {
      kind: "invalid",
      code: "store_refused",
      reason: "the store refuses the request",
    }
  );
}

function meaningOfCode(call: S3Call, answer: S3Answer, fault: S3Fault): Meaning | undefined {
  const s3Code = fault.s3Code ?? "";
  if (saysExpired(fault)) {
    const kind = call.canRenewCredentials ? "unavailable" : "invalid";
    return { kind, code: "store_credentials_expired", reason: "the credentials have expired" };
  }
  if (THROTTLE_CODES.has(s3Code)) return throttled();
  if (DAMAGED_UPLOAD_CODES.has(s3Code)) {
    return { kind: "unavailable", code: "store_failed", reason: "the upload arrived damaged" };
  }
  switch (s3Code) {
    case "NoSuchBucket":
      return { kind: "invalid", code: "store_no_bucket", reason: "there is no such bucket" };
    case "RequestTimeTooSkewed":
    case "RequestExpired":
      return { kind: "invalid", code: "store_clock_skew", reason: skewReason(answer) };
    case "RequestTimeout":
      return { kind: "unavailable", code: "store_timeout", reason: "the store gave up waiting for the upload" };
    case "NoSuchUpload":
      return { kind: "unavailable", code: "store_failed", reason: "the store has lost the multipart upload" };
    case "NotImplemented":
      return { kind: "invalid", code: "store_unsupported", reason: "the store cannot do that" };
    case "AuthorizationHeaderMalformed":
    case "IllegalLocationConstraintException":
      return fault.bucketRegion === undefined ? undefined : wrongRegion(call, fault);
    default:
      return undefined;
  }
}

function meaningOfStatus(call: S3Call, answer: S3Answer, fault: S3Fault): Meaning | undefined {
  const { status } = answer;
  if (status >= 300 && status < 400) return wrongRegion(call, fault);
  if (status === 401 || status === 403) {
    return {
      kind: "invalid",
      code: "store_denied",
      reason: "access denied; the key, the secret or its rights are wrong",
    };
  }
  if (status === 404) {
    return {
      kind: "invalid",
      code: "store_not_s3",
      reason: "this does not look like an S3 server; is the endpoint right?",
    };
  }
  if (status === 409) {
    return { kind: "unavailable", code: "store_conflict", reason: "another request for the same key is under way" };
  }
  if (status === 408) return { kind: "unavailable", code: "store_timeout", reason: "the store gave up waiting" };
  if (status === 429 || (status === 503 && answer.headers.has("retry-after"))) return throttled();
  if (status === 501) return { kind: "invalid", code: "store_unsupported", reason: "the store cannot do that" };
  if (status >= 500) return { kind: "unavailable", code: "store_failed", reason: "the store failed" };
  return undefined;
}

function throttled(): Meaning {
  return { kind: "unavailable", code: "store_throttled", reason: "the store asks to slow down" };
}

function wrongRegion(call: S3Call, fault: S3Fault): Meaning {
  const where = fault.bucketRegion === undefined ? "elsewhere" : `in region ${fault.bucketRegion}`;
  const reason = `the bucket is ${where}, not in region ${call.region} at this endpoint`;
  return { kind: "invalid", code: "store_wrong_region", reason };
}

function skewReason(answer: S3Answer): string {
  const aheadSeconds = Math.round((Date.now() - serverTimeMs(answer)) / 1000);
  if (!Number.isFinite(aheadSeconds)) return "this machine's clock is wrong";
  const direction = aheadSeconds >= 0 ? "ahead of" : "behind";
  return `this machine's clock is wrong: ${Math.abs(aheadSeconds)} s ${direction} the store's`;
}

function serverTimeMs(answer: S3Answer): number {
  return Date.parse(answer.headers.get("date") ?? "");
}

function withoutUndefined(values: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
