import { describe, expect, it } from "vitest";
import { PrefixStore } from "../../src/store/prefix-store.ts";
import { RetryingStore } from "../../src/store/retrying-store.ts";
import { s3CreateInParts } from "../../src/store/s3-create-in-parts.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import type { ObjectStore } from "../../src/store/store.ts";
import type { S3Server } from "../store/bucket.ts";
import { FaultProxy } from "../store/fault-proxy.ts";
import { newBucket, requireRgw, rgw, s3Store } from "../store/s3.ts";
import { startS3rver } from "../support/s3rver.ts";
import { complaintsOf, examine, findingOf, keysOf, verdictsOf } from "./doctor-support.ts";

const few = { withManyKeys: false };

const environmentOf = ({ credentials }: S3Server) => ({
  AWS_ACCESS_KEY_ID: credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
});

const storeOf = ({ endpoint, credentials }: S3Server, bucket = "bucket"): ObjectStore =>
  new RetryingStore(new PrefixStore(new S3Store({ bucket, endpoint, credentials }), "some/where"));

/** A server that answers all with this. */
async function answering(status: number, code: string): Promise<ObjectStore> {
  const proxy = await FaultProxy.start();
  const body = `<Error><Code>${code}</Code><Message>${code}!</Message></Error>`;
  proxy.onRequest = () => ({ kind: "answer", status, body });
  return storeOf({
    endpoint: proxy.endpoint,
    region: "us-east-1",
    credentials: { accessKeyId: "k", secretAccessKey: "s" },
  });
}

it("an S3 server whose create is not atomic is bad, and nothing stays behind", async () => {
  const server = await startS3rver();
  const store = storeOf(server);
  const createInParts = s3CreateInParts(store.url, environmentOf(server));
  const report = await examine(store, { createInParts, secondHandle: storeOf(server) });
  expect(report.verdict).toBe("bad");
  expect(findingOf(report, "create_race")).toMatchObject({ verdict: "bad", found: expect.stringContaining("of 32") });
  expect(findingOf(report, "parts").measured).toMatchObject({ works: true, ifNoneMatch: "is ignored" });
  expect(verdictsOf(report, "read_after_write")).toEqual(["ok"]);
  expect(verdictsOf(report, "clock")).toEqual(["ok"]);
  expect(findingOf(report, "cost").measured).toMatchObject({ idle: { epochs: 525_600 }, busy: { epochs: 5_256_000 } });
  expect(await keysOf(new S3Store({ bucket: "bucket", ...server }))).toEqual([]);
});

describe("an S3 server that", () => {
  it.each([
    [403, "AccessDenied", "store_denied", "s3:ListBucket"],
    [403, "InvalidAccessKeyId", "store_denied", "access key"],
    [404, "NoSuchBucket", "store_no_bucket", "create the bucket"],
    [403, "RequestTimeTooSkewed", "store_clock_skew", "clock"],
    [301, "PermanentRedirect", "store_wrong_region", "region"],
    [400, "ExpiredToken", "store_credentials_expired", "credentials"],
    [418, "Teapot", "store_refused", "correct"],
  ])("answers %i %s gets one finding", async (status, s3Code, code, advice) => {
    const store = await answering(status, s3Code);
    const { findings, verdict } = await examine(store);
    expect(verdict).toBe("bad");
    expect(findings.map(({ check }) => check)).toEqual(["provider", "access"]);
    expect(findings[1]).toMatchObject({ verdict: "bad", measured: { code }, advice: expect.stringContaining(advice) });
  });

  it("is not there gets one finding", async () => {
    const proxy = await FaultProxy.start();
    const { endpoint } = proxy;
    await proxy.stop();
    const { findings } = await examine(
      storeOf({ endpoint, region: "", credentials: { accessKeyId: "k", secretAccessKey: "s" } }),
    );
    expect(findings[1]).toMatchObject({ check: "access", verdict: "bad", measured: { code: "store_unreachable" } });
    expect(findings).toHaveLength(2);
  });

  it("takes If-None-Match seriously also for uploads in parts is told so; one without such uploads is bad", async () => {
    const server = await startS3rver();
    const proxy = await FaultProxy.start(server.endpoint);
    const store = storeOf({ ...server, endpoint: proxy.endpoint });
    const createInParts = s3CreateInParts(store.url, environmentOf(server));
    const isCompletion = (url: string) => url.includes("uploadId=");
    let completions = 0;
    proxy.onRequest = ({ method, url, headers }) => {
      if (method !== "POST" || !isCompletion(url) || headers["if-none-match"] !== "*") return undefined;
      completions++;
      return completions % 2 === 0 ? { kind: "answer", status: 412 } : undefined;
    };
    const holds = await examine(store, { ...few, createInParts });
    expect(findingOf(holds, "parts").measured).toMatchObject({ ifNoneMatch: "holds" });
    expect(completions).toBe(2);
    expect(
      proxy.requests.some(({ method, url }) => method === "DELETE" && isCompletion(url)),
      "abandoned",
    ).toBe(true);
    expect(await keysOf(store)).toEqual([]);

    proxy.onRequest = ({ headers, url }) =>
      headers["if-none-match"] === "*" && isCompletion(url) ? { kind: "answer", status: 501 } : undefined;
    const refuses = await examine(store, { ...few, createInParts });
    expect(findingOf(refuses, "parts")).toMatchObject({ verdict: "info", measured: { ifNoneMatch: "is refused" } });

    proxy.onRequest = ({ url }) => (url.includes("uploads=") ? { kind: "answer", status: 501 } : undefined);
    expect(verdictsOf(await examine(store, { ...few, createInParts }), "parts")).toEqual(["bad"]);
  });

  it("lists in no order, as S3 Express does, is bad", async () => {
    const server = await startS3rver();
    const proxy = await FaultProxy.start(server.endpoint);
    const row = (key: string) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`;
    proxy.onRequest = ({ url }) => {
      const prefix = new URL(url, "http://x").searchParams.get("prefix") ?? "";
      if (!url.includes("list-type=2") || !prefix.endsWith("/list/")) return undefined;
      const body = `<ListBucketResult>${row(`${prefix}b`)}${row(`${prefix}a`)}</ListBucketResult>`;
      return { kind: "answer", status: 200, body };
    };
    const report = await examine(storeOf({ ...server, endpoint: proxy.endpoint }), few);
    expect(findingOf(report, "list")).toMatchObject({
      verdict: "bad",
      found: expect.stringContaining("key order"),
      measured: { code: "store_unsupported" },
    });
    expect(await keysOf(storeOf(server))).toEqual([]);
  });
});

it("a store that is not S3 has no uploads in parts", () => {
  expect(s3CreateInParts("memory:", {})).toBeUndefined();
  expect(s3CreateInParts("file:///tmp", {})).toBeUndefined();
});

describe.skipIf(rgw === undefined)("a real S3 server (Ceph RGW)", () => {
  it("is good enough", async () => {
    const bucket = await newBucket();
    const server = requireRgw();
    const store = storeOf(server, bucket);
    const createInParts = s3CreateInParts(store.url, environmentOf(server));
    const report = await examine(store, { createInParts, secondHandle: storeOf(server, bucket) });
    expect(complaintsOf(report)).toEqual([]);
    expect(findingOf(report, "parts").measured).toMatchObject({ works: true });
    expect(await keysOf(s3Store(bucket))).toEqual([]);
  });

  it("has one finding for a bucket that is not there and for a wrong key", async () => {
    const server = requireRgw();
    const missing = await examine(storeOf(server, "no-such-bucket"));
    expect(findingOf(missing, "access").measured).toMatchObject({ code: "store_no_bucket" });
    const credentials = { ...server.credentials, secretAccessKey: "wrong" };
    const denied = await examine(storeOf({ ...server, credentials }, await newBucket()));
    expect(findingOf(denied, "access").measured).toMatchObject({ code: "store_denied" });
  });
});
