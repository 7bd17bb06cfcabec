import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { PrefixStore } from "../../src/store/prefix-store.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { storeConformance } from "../../src/testing/store-conformance.ts";
import { createBucket } from "./bucket.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** The members that we need of a package without types. */
interface S3rver {
  run(): Promise<AddressInfo>;
  close(): Promise<void>;
}

/** s3rver 3.7.1 answers 200 to every creator of a key. */
async function startS3rver(): Promise<S3Store> {
  const untyped = "s3rver";
  const { default: S3rver } = (await import(untyped)) as { default: new (options: object) => S3rver };
  const server = new S3rver({ address: "127.0.0.1", port: 0, silent: true, directory: temporaryDirectory() });
  const { port } = await server.run();
  onTestFinished(() => server.close());
  const credentials = { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" };
  const endpoint = `http://127.0.0.1:${port}`;
  await createBucket({ endpoint, region: "us-east-1", credentials }, "bucket");
  return new S3Store({ bucket: "bucket", endpoint, credentials });
}

it("a store whose create is not atomic fails the race, and passes simple checks", async () => {
  const store = await startS3rver();
  const makeStore = () => new PrefixStore(store, randomUUID());
  const checkNamed = (name: string) => storeConformance.find((check) => check.name === name);
  await checkNamed("an object comes back as it was put, with its size")?.run(makeStore);
  const race = checkNamed("of 32 concurrent creators exactly one wins");
  expect(race).toBeDefined();
  await expect(race?.run(makeStore)).rejects.toThrow("32 of 32 concurrent creators were told that they won");
});
