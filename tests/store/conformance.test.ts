import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { beforeAll, describe, it } from "vitest";
import { FileSystemStore } from "../../src/store/file-system-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { MeteredStore } from "../../src/store/metered-store.ts";
import { PrefixStore } from "../../src/store/prefix-store.ts";
import { RetryingStore } from "../../src/store/retrying-store.ts";
import type { ObjectStore } from "../../src/store/store.ts";
import { FaultyStore } from "../../src/testing/faulty-store.ts";
import { storeConformance } from "../../src/testing/store-conformance.ts";
import { newBucket, rgw, s3Store } from "./s3.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const CHECK_TIMEOUT_MS = 60_000;

function runConformance(makeStore: () => ObjectStore): void {
  for (const check of storeConformance) it(check.name, () => check.run(makeStore), CHECK_TIMEOUT_MS);
}

function wrapped(store: ObjectStore): ObjectStore {
  return new RetryingStore(new PrefixStore(new MeteredStore(new FaultyStore(store)), `prefix/${randomUUID()}`));
}

describe("MemoryStore", () => runConformance(() => new MemoryStore()));

describe("MemoryStore in wrappers", () => runConformance(() => wrapped(new MemoryStore())));

describe("FileSystemStore", () =>
  runConformance(() => new FileSystemStore(join(temporaryDirectory(), "not/yet/there"))));

describe("FileSystemStore in wrappers", () => runConformance(() => wrapped(new FileSystemStore(temporaryDirectory()))));

describe.skipIf(rgw === undefined)("S3Store on Ceph RGW", () => {
  let bucket: string;
  beforeAll(async () => {
    bucket = await newBucket();
  });

  describe("below a prefix", () => runConformance(() => new PrefixStore(s3Store(bucket), randomUUID())));

  describe("in wrappers", () => runConformance(() => wrapped(s3Store(bucket))));
});
