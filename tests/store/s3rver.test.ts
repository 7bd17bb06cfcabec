import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import { PrefixStore } from "../../src/store/prefix-store.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { storeConformance } from "../../src/testing/store-conformance.ts";
import { startS3rver } from "../support/s3rver.ts";

it("a store whose create is not atomic fails the race, and passes simple checks", async () => {
  const { endpoint, credentials } = await startS3rver();
  const store = new S3Store({ bucket: "bucket", endpoint, credentials });
  const makeStore = () => new PrefixStore(store, randomUUID());
  const checkNamed = (name: string) => storeConformance.find((check) => check.name === name);
  await checkNamed("an object comes back as it was put, with its size")?.run(makeStore);
  const race = checkNamed("of 32 concurrent creators exactly one wins");
  expect(race).toBeDefined();
  await expect(race?.run(makeStore)).rejects.toThrow("32 of 32 concurrent creators were told that they won");
});
