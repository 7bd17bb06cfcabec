/** What a request that failed means and what to do about it: one finding instead of a crash. */
import { type ClusterError, isClusterError } from "../../errors.ts";
import type { CheckName, DoctorFinding } from "./finding.ts";

const RIGHTS = "s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket";

const ADVICE: Readonly<Record<string, string>> = {
  store_denied: `check the access key, the secret and their rights: ${RIGHTS}`,
  store_credentials_expired: "get new credentials",
  no_credentials: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
  store_no_bucket: "create the bucket, or correct its name in the store's URL: lbc makes no buckets",
  store_wrong_region: "give the bucket's region in the store's URL: ?region=…",
  store_clock_skew: "set this machine's clock, e.g. by NTP",
  store_unreachable: "check the endpoint in the store's URL, and that this machine reaches it (DNS, firewall, proxy)",
  store_not_s3: "check the endpoint in the store's URL",
  store_throttled: "try again when the store is less busy, or ask for a higher limit",
  store_unsupported: "use a store that can do it",
};

const ADVICE_BY_KIND: Readonly<Partial<Record<ClusterError["kind"], string>>> = {
  unavailable: "try again; if it stays so, ask whoever runs the store",
  invalid: "correct what the message names",
};

/** The finding of a check that an error ended. Errors that are none of the store's are thrown on. */
export function failedFinding(
  check: CheckName,
  verdict: "warning" | "bad",
  error: unknown,
  meaning: string,
): DoctorFinding {
  if (!isClusterError(error)) throw error;
  return {
    check,
    verdict,
    found: error.message,
    meaning,
    advice: adviceAbout(error),
    measured: { kind: error.kind, code: error.code, ...error.details },
  };
}

/** What to do about an error of the store. */
export function adviceAbout(error: ClusterError): string {
  return ADVICE[error.code] ?? ADVICE_BY_KIND[error.kind] ?? "read the message";
}
