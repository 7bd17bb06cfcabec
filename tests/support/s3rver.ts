import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";
import { createBucket, type S3Server } from "../store/bucket.ts";
import { temporaryDirectory } from "../store/temporary-directory.ts";

/** The members that we need of a package without types. */
interface S3rver {
  run(): Promise<AddressInfo>;
  close(): Promise<void>;
}

/** s3rver 3.7.1 with one bucket named `bucket`, until the test ends. It answers 200 to every creator of a key. */
export async function startS3rver(): Promise<S3Server> {
  const untyped = "s3rver";
  const { default: S3rver } = (await import(untyped)) as { default: new (options: object) => S3rver };
  const server = new S3rver({ address: "127.0.0.1", port: 0, silent: true, directory: temporaryDirectory() });
  const { port } = await server.run();
  onTestFinished(() => server.close());
  const credentials = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  const s3rver: S3Server = { endpoint: `http://127.0.0.1:${port}`, region: "us-east-1", credentials };
  await createBucket(s3rver, "bucket");
  return s3rver;
}
