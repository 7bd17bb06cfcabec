import type { Buffer } from "node:buffer";
import { createHash, createHmac, createSecretKey, type KeyObject, timingSafeEqual } from "node:crypto";
import type { Context, MiddlewareHandler } from "hono";
import type { Clock } from "../base/clock.ts";
import { ClusterError } from "../errors.ts";
import { canonicalPath, pathOfUrl } from "./path.ts";
import { BodyTooLarge, readBody, replaceBody } from "./request-body.ts";

/** When the request was signed: milliseconds since 1970, decimal. */
export const DATE_HEADER = "x-lbc-date";
/** What makes the request unlike every other: 16 to 128 characters of `A-Z a-z 0-9 _ -`. */
export const NONCE_HEADER = "x-lbc-nonce";
/** `v1=` and the HMAC-SHA256 in lower-case hexadecimal. */
export const SIGNATURE_HEADER = "x-lbc-signature";

/** A request may be this old, and this far in the future. */
export const AUTH_WINDOW_MS = 60_000;
/** Nonces that are remembered; the window holds about 800 requests a second. */
export const AUTH_NONCES_MAX = 100_000;
/** A signed request's body is held in memory: *default* 16 MiB at most. */
export const AUTH_BODY_BYTES_MAX = 16_777_216;

/** A shorter secret could be guessed. */
const SECRET_BYTES_MIN = 16;
const NONCE = /^[A-Za-z0-9_-]{16,128}$/;
const DATE = /^\d{1,15}$/;
const SIGNATURE = /^v1=([0-9a-f]{64})$/;
const EMPTY_BODY = new Uint8Array(0);

/** What is signed of a request. */
export interface SignedParts {
  readonly method: string;
  /** Path and query, as sent. */
  readonly path: string;
  /** Uuid of the node that is meant: no other takes it. */
  readonly to: string;
  readonly body?: Uint8Array | string | undefined;
}

/** A request to sign. */
export interface RequestToSign extends SignedParts {
  /** The cluster's secret, at least 16 bytes. */
  readonly secret: Uint8Array | string;
  /** Wall-clock time. */
  readonly nowMs: number;
  /** Never used before: see {@link NONCE_HEADER}. */
  readonly nonce: string;
}

/** The three headers of a signed request. */
export type SignatureHeaders = Readonly<
  Record<typeof DATE_HEADER | typeof NONCE_HEADER | typeof SIGNATURE_HEADER, string>
>;

/**
 * Signs a request with the cluster's secret: an HMAC-SHA256 over receiver, method, path with query, time, nonce and the
 * hash of the body.
 *
 * @throws ClusterError `invalid` `bad_secret` or `bad_nonce`
 */
export function signRequest(request: RequestToSign): SignatureHeaders {
  const { nonce, nowMs } = request;
  if (!NONCE.test(nonce)) {
    throw new ClusterError("invalid", "bad_nonce", "a nonce is 16 to 128 characters of A-Z a-z 0-9 _ -");
  }
  const date = String(Math.trunc(nowMs));
  const signature = hmac(secretKey(request.secret), request, date, nonce).toString("hex");
  return { [DATE_HEADER]: date, [NONCE_HEADER]: nonce, [SIGNATURE_HEADER]: `v1=${signature}` };
}

/**
 * What {@link RequestVerifier.verify} says.
 *
 * | verdict | meaning |
 * |---|---|
 * | `ok` | signed with the secret, in time, for the first time |
 * | `missing` | a header is absent |
 * | `malformed` | a header is not what its definition says |
 * | `stale` | signed outside of the window, past or future |
 * | `tampered` | the signature is of another request, or of another secret |
 * | `replayed` | seen before |
 * | `full` | no room to remember it; nothing was forgotten, so try again later |
 */
export type AuthVerdict = "ok" | "missing" | "malformed" | "stale" | "tampered" | "replayed" | "full";

/** A request as it arrived. */
export interface RequestToVerify extends Omit<SignedParts, "to"> {
  readonly headers: { get(name: string): string | null };
}

/** Settings of a {@link RequestVerifier}. */
export interface RequestVerifierOptions {
  readonly secret: Uint8Array | string;
  /** Uuid of the node that verifies; new with each run of it, so what was captured before is good for nothing. */
  readonly to: string;
  /** Its wall clock is compared with the time in the request. */
  readonly clock: Clock;
  /** *Default* {@link AUTH_WINDOW_MS}. */
  readonly windowMs?: number;
  /** *Default* {@link AUTH_NONCES_MAX}. */
  readonly noncesMax?: number;
}

/**
 * Tells whether a request was signed with the secret, lately, and is not a repetition.
 *
 * Nonces live in memory, which is enough: a request is signed for one run of one node. Who reads along is kept out by
 * TLS.
 */
export class RequestVerifier {
  readonly #key: KeyObject;
  readonly #to: string;
  readonly #clock: Clock;
  readonly #windowMs: number;
  readonly #noncesMax: number;
  /** Time of signing by nonce, in order of arrival. */
  readonly #seen: Map<string, number> = new Map();
  /**
   * Invariant: no request signed at or before this time is accepted any more, so its nonce need not be kept. It never
   * goes back, so a wall clock that does cannot make a forgotten request acceptable again.
   */
  #forgottenThroughMs = -1;
  /** Nothing can be forgotten before this time: saves looking through all nonces at every request. */
  #nextForgettingMs = 0;

  constructor(options: RequestVerifierOptions) {
    this.#key = secretKey(options.secret);
    this.#to = options.to;
    this.#clock = options.clock;
    this.#windowMs = options.windowMs ?? AUTH_WINDOW_MS;
    this.#noncesMax = options.noncesMax ?? AUTH_NONCES_MAX;
  }

  /** Nonces that are remembered now. */
  get nonceCount(): number {
    return this.#seen.size;
  }

  /** Checks the request, and remembers it if the answer is `ok`. */
  verify(request: RequestToVerify): AuthVerdict {
    const date = request.headers.get(DATE_HEADER);
    const nonce = request.headers.get(NONCE_HEADER);
    const signature = request.headers.get(SIGNATURE_HEADER);
    if (date === null || nonce === null || signature === null) return "missing";
    const digits = SIGNATURE.exec(signature)?.[1];
    if (!DATE.test(date) || !NONCE.test(nonce) || digits === undefined) return "malformed";

    const nowMs = this.#clock.wallMs();
    const signedMs = Number(date);
    if (Math.abs(nowMs - signedMs) > this.#windowMs || signedMs <= this.#forgottenThroughMs) return "stale";
    if (!sameDigest(hmac(this.#key, { ...request, to: this.#to }, date, nonce), digits)) return "tampered";
    // Only after the signature: strangers must not be able to fill the memory, nor to probe it.
    return this.#remember(nonce, signedMs, nowMs);
  }

  #remember(nonce: string, signedMs: number, nowMs: number): AuthVerdict {
    if (this.#seen.has(nonce)) return "replayed";
    if (this.#seen.size >= this.#noncesMax) this.#forget(nowMs);
    if (this.#seen.size >= this.#noncesMax) return "full";
    this.#seen.set(nonce, signedMs);
    return "ok";
  }

  /** Drops the nonces of requests that are too old to be accepted, and only those. */
  #forget(nowMs: number): void {
    if (nowMs < this.#nextForgettingMs) return;
    const throughMs = nowMs - this.#windowMs - 1;
    this.#forgottenThroughMs = Math.max(this.#forgottenThroughMs, throughMs);
    let oldestMs = nowMs;
    for (const [nonce, signedMs] of this.#seen) {
      if (signedMs <= throughMs) this.#seen.delete(nonce);
      else oldestMs = Math.min(oldestMs, signedMs);
    }
    this.#nextForgettingMs = oldestMs + this.#windowMs + 1;
  }
}

/** Settings of {@link requireClusterAuth}. */
export interface ClusterAuthOptions {
  /** *Default* {@link AUTH_BODY_BYTES_MAX}; a longer body gets 413. */
  readonly bodyBytesMax?: number;
}

/**
 * Hono middleware that lets only requests through which were signed with the cluster's secret. Everything else gets
 * 401 `{ error, code }` (503 when the verifier is full) and the handler does not run. The body is read into memory,
 * and the handler can read it again.
 */
export function requireClusterAuth(verifier: RequestVerifier, options: ClusterAuthOptions = {}): MiddlewareHandler {
  const bodyBytesMax = options.bodyBytesMax ?? AUTH_BODY_BYTES_MAX;
  return async (c, next) => {
    let body: Uint8Array;
    try {
      body = await readBody(c.req.raw, bodyBytesMax);
    } catch (error) {
      if (error instanceof BodyTooLarge) return c.json({ error: error.message }, 413);
      throw error;
    }
    const { method, headers, url } = c.req.raw;
    const verdict = verifier.verify({ method, path: pathOfUrl(url), headers, body });
    if (verdict !== "ok") return refuse(c, verdict);
    if (body.length > 0) c.req.raw = replaceBody(c.req.raw, body);
    await next();
  };
}

function refuse(c: Context, verdict: AuthVerdict): Response {
  if (verdict === "full") {
    return c.json({ error: "too many authenticated requests, try again later", code: verdict }, 503);
  }
  return c.json({ error: "not authenticated as a member of the cluster", code: verdict }, 401);
}

/** A key object, so that no inspection, log line or error shows the bytes. */
function secretKey(secret: Uint8Array | string): KeyObject {
  const bytes = typeof secret === "string" ? new TextEncoder().encode(secret) : secret;
  if (bytes.length < SECRET_BYTES_MIN) {
    throw new ClusterError(
      "invalid",
      "bad_secret",
      `the cluster's secret has ${bytes.length} bytes, it needs ${SECRET_BYTES_MIN}`,
      { bytes: bytes.length, bytesMin: SECRET_BYTES_MIN },
    );
  }
  return createSecretKey(bytes);
}

/** Each field is on a line of its own and none can hold a line break, so no two requests give the same text. */
function hmac(key: KeyObject, parts: SignedParts, date: string, nonce: string): Buffer {
  const bodyHash = createHash("sha256")
    .update(parts.body ?? EMPTY_BODY)
    .digest("hex");
  const text = [
    "lbc-request-v2",
    parts.to,
    parts.method.toUpperCase(),
    canonicalPath(parts.path),
    date,
    nonce,
    bodyHash,
  ];
  return createHmac("sha256", key).update(text.join("\n")).digest();
}

function sameDigest(expected: Buffer, digits: string): boolean {
  return timingSafeEqual(expected, new Uint8Array(digits.match(/../g)?.map((pair) => Number.parseInt(pair, 16)) ?? []));
}
