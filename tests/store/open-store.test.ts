import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";
import { FileSystemStore } from "../../src/store/file-system-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { openStore } from "../../src/store/open-store.ts";
import { codeOf, failureOf } from "./failure.ts";
import { FaultProxy } from "./fault-proxy.ts";
import { newBucket, requireRgw, rgw } from "./s3.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const KEYS = { AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
const BODY = new TextEncoder().encode("body");

describe("a URL opens", () => {
  it("a memory store", () => {
    expect(openStore("memory:")).toBeInstanceOf(MemoryStore);
  });

  it("a directory, by URL or path", async () => {
    const directory = join(temporaryDirectory(), "with space");
    const url = pathToFileURL(directory).href;
    for (const text of [url, directory]) {
      const store = openStore(text);
      expect(store).toBeInstanceOf(FileSystemStore);
      expect([store.locality, store.url]).toEqual(["local", url]);
    }
    expect(openStore("./data").url).toBe(pathToFileURL("data").href);
    expect(openStore("../data").url).toBe(pathToFileURL("../data").href);
    expect(openStore(".").url).toBe(pathToFileURL(".").href);
  });

  it("S3 at AWS, with the region of the URL or of the environment", () => {
    const urls = [
      openStore("s3://bucket/pre/fix?region=eu-west-1", { ...KEYS, AWS_REGION: "us-west-2" }).url,
      openStore("s3://bucket", { ...KEYS, AWS_REGION: "us-west-2" }).url,
      openStore("s3://bucket/", { ...KEYS, AWS_REGION: "" }).url,
    ];
    expect(urls).toEqual([
      "s3://bucket/pre/fix?region=eu-west-1",
      "s3://bucket?region=us-west-2",
      "s3://bucket?region=us-east-1",
    ]);
    expect(openStore("s3://bucket", KEYS).locality).toBe("remote");
  });

  it("what the URL of an opened store names", () => {
    const url = "s3://bucket/a%20b/c?region=auto&endpoint=https%3A%2F%2Fs3.example%3A9000&pathStyle=false";
    const { url: opened } = openStore(url, KEYS);
    expect(openStore(opened, KEYS).url).toBe(opened);
    expect(opened).toBe(url);
  });

  it.skipIf(rgw === undefined)("a real bucket below a prefix, with retries, without repeating creates", async () => {
    const { endpoint, credentials } = requireRgw();
    const bucket = await newBucket();
    const proxy = await FaultProxy.start(endpoint);
    let failures = 1;
    proxy.onRequest = () => (failures-- > 0 ? { kind: "answer", status: 503 } : undefined);
    const environment = {
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      AWS_ENDPOINT_URL: "http://127.0.0.1:1",
    };
    const store = openStore(`s3://${bucket}/pre/fix?endpoint=${proxy.endpoint}`, environment);
    await store.put("key", BODY);
    expect(proxy.requests.map(({ url }) => url)).toEqual([`/${bucket}/pre/fix/key`, `/${bucket}/pre/fix/key`]);
    failures = 1;
    expect(await codeOf(store.put("other", BODY, { ifAbsent: true }))).toBe("unavailable/store_failed");
  });
});

describe("a URL is refused", () => {
  it.each([
    ["", "no scheme"],
    ["data", "write ./data"],
    ["https://bucket.s3.amazonaws.com", '"https:" is not known'],
    ["gs://bucket", '"gs:" is not known'],
    ["memory:x", "takes nothing after it"],
    ["file://host/share", "file:///directory"],
    ["s3://", "S3"],
    ["s3://bucket?regoin=x", '"regoin"'],
    ["s3://bucket?pathStyle=yes", "true or false"],
    ["s3://bucket:9000/x", "no port"],
    ["s3://bucket?endpoint=localhost", "endpoint is not a URL"],
    ["s3://bucket?endpoint=localhost:9000", "neither https: nor http:"],
    ["s3://bucket/%zz", "percent-encoding"],
    ["s3://key:hidden@bucket", "must not hold credentials"],
    ["s3://bucket?endpoint=https://key:hidden@host", "must not hold credentials"],
  ])("%s", async (url, text) => {
    const error = await failureOf(() => openStore(url, KEYS));
    expect(`${error.kind}/${error.code}`).toBe("invalid/bad_store_url");
    expect(error.message).toContain(text);
    expect(JSON.stringify(error) + error.message).not.toContain("hidden");
  });

  it("with a prefix that is no key", async () => {
    expect(await codeOf(() => openStore("s3://bucket/a//b", KEYS))).toBe("invalid/bad_key");
  });

  it("without credentials", async () => {
    expect(await codeOf(() => openStore("s3://bucket", {}))).toBe("invalid/no_credentials");
    const half = { AWS_ACCESS_KEY_ID: "key" };
    expect((await failureOf(() => openStore("s3://bucket", half))).message).toContain("AWS_SECRET_ACCESS_KEY");
  });
});
