import { AwsV4Signer } from "aws4fetch";

/** A real S3 server and a key for it, as plain data that vitest can hand to test files. */
export interface S3Server {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** Makes a bucket; the library itself never does. */
export async function createBucket(server: S3Server, bucket: string): Promise<void> {
  const url = `${server.endpoint}/${bucket}`;
  const signer = new AwsV4Signer({ method: "PUT", url, service: "s3", region: server.region, ...server.credentials });
  const { headers } = await signer.sign();
  const response = await fetch(url, { method: "PUT", headers });
  const text = await response.text();
  if (!response.ok) throw new Error(`cannot create bucket ${bucket}: HTTP ${response.status} ${text}`);
}
