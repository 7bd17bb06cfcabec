import { systemClock, systemRandom } from "../platform/system.ts";
import { S3Address } from "./s3-address.ts";
import { S3Client } from "./s3-client.ts";
import { CredentialsKeeper, credentialsFromEnvironment, type Environment } from "./s3-credentials.ts";
import { uploadInParts } from "./s3-multipart.ts";
import type { PutOptions, PutOutcome } from "./store.ts";

const REQUEST_TIMEOUT_MS = 20_000;

/** One attempt: who tries whether a store can do something wants its first answer. */
const ATTEMPTS_MAX = 1;

/** Writes a small object as an upload in one part. */
export type CreateInParts = (key: string, bytes: Uint8Array, options: PutOptions) => Promise<PutOutcome>;

/**
 * The upload in parts that `S3Store` does not offer: with `If-None-Match` on its completion. Only to find
 * out whether a store holds it (docs/architecture.md §2: epochs never go in parts).
 *
 * @param url as an S3 store names itself, with or without a prefix; `undefined` comes back for any other store
 * @throws ClusterError `invalid`: `bad_store_url`, `no_credentials`, `bad_credentials`
 */
export function s3CreateInParts(url: string, environment: Environment): CreateInParts | undefined {
  if (!url.startsWith("s3:")) return undefined;
  const { hostname: bucket, pathname, searchParams } = new URL(url);
  const region = searchParams.get("region") ?? "us-east-1";
  const pathStyle = searchParams.get("pathStyle");
  const client = new S3Client({
    address: new S3Address({
      bucket,
      region,
      endpoint: searchParams.get("endpoint") ?? undefined,
      pathStyle: pathStyle === null ? undefined : pathStyle === "true",
    }),
    region,
    credentials: new CredentialsKeeper(credentialsFromEnvironment(environment), systemClock),
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    clock: systemClock,
  });
  const prefix = decodeURIComponent(pathname).replace(/^\//, "");
  const retry = {
    attemptsMax: ATTEMPTS_MAX,
    backoffMs: 0,
    backoffMaxMs: 0,
    clock: systemClock,
    random: systemRandom,
  };
  return async (key, bytes, { ifAbsent = false, signal }) => {
    const body = {
      byteLength: bytes.length,
      read: (offset: number, length: number) => bytes.subarray(offset, offset + length),
    };
    return await uploadInParts({
      client,
      key: prefix === "" ? key : `${prefix}/${key}`,
      body,
      partBytes: bytes.length,
      partsInFlightMax: 1,
      retry,
      ifAbsent,
      signal,
    });
  };
}
