import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import { S3Store, type S3StoreOptions } from "../../src/store/s3-store.ts";
import { createBucket, type S3Server } from "./bucket.ts";

const state = inject("rgw");

/** The real S3 server, or `undefined` where Ceph is not installed: such tests are skipped. */
export const rgw: S3Server | undefined = "server" in state ? state.server : undefined;

/** A new bucket on the real server. */
export async function newBucket(): Promise<string> {
  const bucket = `test-${randomUUID()}`;
  await createBucket(requireRgw(), bucket);
  return bucket;
}

/** A store on the real server. */
export function s3Store(bucket: string, options: Partial<S3StoreOptions> = {}): S3Store {
  const { endpoint, credentials } = requireRgw();
  return new S3Store({ bucket, endpoint, credentials, ...options });
}

/** The server, where a test has made sure that there is one. */
export function requireRgw(): S3Server {
  if (rgw === undefined) throw new Error("there is no Ceph RGW");
  return rgw;
}
