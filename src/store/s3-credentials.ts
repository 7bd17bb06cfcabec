import type { Clock } from "../base/clock.ts";
import { ClusterError, errorMessage } from "../errors.ts";
import { type CallBounds, withDeadline } from "./deadline.ts";

/** What signs requests to S3. */
export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary credentials. */
  readonly sessionToken?: string | undefined;
  /** When they stop working, milliseconds since 1970; without it never. */
  readonly expiresAtMs?: number | undefined;
}

/** Gives credentials whenever new ones are needed. */
export type S3CredentialsProvider = () => Promise<S3Credentials>;

/** Environment variables. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Credentials that end sooner than this are renewed: a request that is signed now may be sent much later. */
const RENEW_BEFORE_MS = 5 * 60 * 1000;

/** While renewing fails and the old ones still work, the provider is asked at most this often. */
const RENEW_AGAIN_MS = 10_000;

const PROVIDER_TIMEOUT_MS = 30_000;

/** Printable ASCII without space: all else would fail in a header, with the value in the error. */
const CREDENTIAL_TEXT = /^[\x21-\x7e]+$/;

/**
 * Credentials from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
 *
 * @throws ClusterError `invalid`/`no_credentials`
 */
export function credentialsFromEnvironment(environment: Environment): S3Credentials {
  const accessKeyId = environment.AWS_ACCESS_KEY_ID ?? "";
  const secretAccessKey = environment.AWS_SECRET_ACCESS_KEY ?? "";
  if (accessKeyId === "" || secretAccessKey === "") {
    const missing = accessKeyId === "" ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY";
    const text = `no credentials for S3: give the option "credentials" or set the environment variable ${missing}`;
    throw new ClusterError("invalid", "no_credentials", text, { missing });
  }
  const sessionToken = environment.AWS_SESSION_TOKEN;
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) };
}

/** Keeps credentials and renews them in time, with one call of the provider at a time. */
export class CredentialsKeeper {
  readonly #provider: S3CredentialsProvider | undefined;
  readonly #clock: Clock;
  #current: S3Credentials | undefined;
  #lastUsed: S3Credentials | undefined;
  #renewal: Promise<S3Credentials> | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(source: S3Credentials | S3CredentialsProvider, clock: Clock) {
    this.#clock = clock;
    if (typeof source === "function") this.#provider = source;
    else this.#current = checked(source);
  }

  /** True if refused credentials may be replaced by new ones. */
  get isRenewable(): boolean {
    return this.#provider !== undefined;
  }

  /** Credentials to sign the next request with. */
  async get(): Promise<S3Credentials> {
    this.#lastUsed = await this.#valid();
    return this.#lastUsed;
  }

  /** Says that the store refused these as expired: the next request asks for new ones. */
  forget(credentials: S3Credentials): void {
    if (this.#provider !== undefined && this.#current === credentials) this.#current = undefined;
  }

  /** The text without the credentials that were used last. */
  redact(text: string): string {
    const { accessKeyId, secretAccessKey, sessionToken } = this.#lastUsed ?? {};
    let redacted = text;
    for (const secret of [secretAccessKey, sessionToken, accessKeyId]) {
      if (secret !== undefined) redacted = redacted.replaceAll(secret, "[redacted]");
    }
    return redacted;
  }

  async #valid(): Promise<S3Credentials> {
    const current = this.#current;
    if (current !== undefined && !this.#needsRenewal(current)) return current;
    try {
      return await this.#renew();
    } catch (error) {
      const stillWorks = current?.expiresAtMs !== undefined && current.expiresAtMs > this.#clock.wallMs();
      if (stillWorks) return current;
      throw error;
    }
  }

  #needsRenewal(current: S3Credentials): boolean {
    if (this.#provider === undefined || current.expiresAtMs === undefined) return false;
    const leftMs = current.expiresAtMs - this.#clock.wallMs();
    if (leftMs > RENEW_BEFORE_MS) return false;
    return leftMs <= 0 || this.#clock.monotonicMs() - this.#askedAtMs >= RENEW_AGAIN_MS;
  }

  #renew(): Promise<S3Credentials> {
    this.#renewal ??= this.#ask().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  async #ask(): Promise<S3Credentials> {
    this.#askedAtMs = this.#clock.monotonicMs();
    try {
      const provider = this.#provider as S3CredentialsProvider;
      this.#current = checked(await withDeadline(this.#providerBounds(), provider));
      return this.#current;
    } catch (error) {
      if (error instanceof ClusterError) throw error;
      const text = `no credentials for S3: the provider failed: ${errorMessage(error)}`;
      throw new ClusterError("unavailable", "no_credentials", text, {}, { cause: error });
    }
  }

  /** A provider that never answers must not hold up all requests for ever. */
  #providerBounds(): CallBounds {
    const text = `no credentials for S3: the provider gave no answer within ${PROVIDER_TIMEOUT_MS} ms`;
    const onTimeout = () => new ClusterError("unavailable", "no_credentials", text, { timeoutMs: PROVIDER_TIMEOUT_MS });
    return { clock: this.#clock, timeoutMs: PROVIDER_TIMEOUT_MS, signal: undefined, onTimeout };
  }
}

/** Never says what was wrong with a value beyond its name: it is a secret. */
function checked(credentials: S3Credentials): S3Credentials {
  for (const name of ["accessKeyId", "secretAccessKey", "sessionToken"] as const) {
    const value = credentials[name];
    if (name === "sessionToken" && value === undefined) continue;
    if (typeof value === "string" && CREDENTIAL_TEXT.test(value)) continue;
    const text = `bad credentials for S3: ${name} is empty or has characters that cannot be sent`;
    throw new ClusterError("invalid", "bad_credentials", text, { name });
  }
  return { ...credentials };
}
