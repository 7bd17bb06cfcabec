import { describe, expect, it } from "vitest";
import { ClusterError } from "../../src/errors.ts";
import { S3Address } from "../../src/store/s3-address.ts";
import type { S3Credentials } from "../../src/store/s3-credentials.ts";
import { S3Store } from "../../src/store/s3-store.ts";
import { noise, partSource } from "../../src/testing/store-checks/check.ts";
import { codeOf, failureOf } from "./failure.ts";
import { FaultProxy, type ProxiedRequest } from "./fault-proxy.ts";
import { ManualClock } from "./manual-clock.ts";
import { newBucket, requireRgw, rgw, s3Store } from "./s3.ts";

const MIB = 1024 * 1024;
const STATIC: S3Credentials = { accessKeyId: "key", secretAccessKey: "secret" };

describe("addresses", () => {
  const urlOf = (options: { bucket?: string; endpoint?: string; pathStyle?: boolean; region?: string }) => {
    const { bucket = "bucket", endpoint, pathStyle, region = "eu-west-1" } = options;
    return new S3Address({ bucket, region, endpoint, pathStyle }).of("a/b c+%é'()*!", {
      "list-type": "2",
      prefix: "x y/",
    });
  };
  const path = "a/b%20c%2B%25%C3%A9%27%28%29%2A%21?list-type=2&prefix=x%20y%2F";

  it("AWS is addressed by host name, buckets with dots by path", () => {
    expect(urlOf({})).toBe(`https://bucket.s3.eu-west-1.amazonaws.com/${path}`);
    expect(urlOf({ bucket: "my.bucket" })).toBe(`https://s3.eu-west-1.amazonaws.com/my.bucket/${path}`);
  });

  it("other servers are addressed by path, or by host name if asked to", () => {
    expect(urlOf({ endpoint: "http://localhost:9000" })).toBe(`http://localhost:9000/bucket/${path}`);
    expect(urlOf({ endpoint: "https://s3.example/sub/" })).toBe(`https://s3.example/sub/bucket/${path}`);
    expect(urlOf({ endpoint: "https://s3.example", pathStyle: false })).toBe(`https://bucket.s3.example/${path}`);
  });

  it.each([
    { endpoint: "localhost:9000" },
    { endpoint: "ftp://host" },
    { endpoint: "https://user:pass@host" },
    { endpoint: "https://host?x=1" },
    { endpoint: "nonsense" },
    { bucket: "" },
    { bucket: "a/b" },
    { region: "eu west" },
  ])("%j is refused", async (options) => {
    const error = await failureOf(() => urlOf(options));
    expect(`${error.kind}/${error.code}`).toBe("invalid/bad_store_url");
    expect(error.message).not.toContain("pass");
  });

  it.each([
    { partBytes: MIB },
    { partsInFlightMax: 0 },
    { requestTimeoutMs: Number.NaN },
    { multipartThresholdBytes: -1 },
  ])("%j is refused", async (options) => {
    expect(await codeOf(() => new S3Store({ bucket: "bucket", credentials: STATIC, ...options }))).toBe(
      "invalid/bad_store_option",
    );
  });
});

describe("credentials", () => {
  /** A server that takes any key and answers 404, and which keys it has seen. */
  async function keysSeen(): Promise<{ endpoint: string; keys: () => string[]; proxy: FaultProxy }> {
    const proxy = await FaultProxy.start();
    proxy.onRequest = () => ({ kind: "answer", status: 404, body: "<Error><Code>NoSuchKey</Code></Error>" });
    const keyOf = ({ headers }: ProxiedRequest) => /Credential=([^/]*)/.exec(headers.authorization ?? "")?.[1] ?? "";
    return { endpoint: proxy.endpoint, keys: () => proxy.requests.map(keyOf), proxy };
  }

  it("a provider is asked again before they expire, once for all requests", async () => {
    const { endpoint, keys } = await keysSeen();
    const clock = new ManualClock();
    let asked = 0;
    const credentials = async () => {
      asked++;
      return { ...STATIC, accessKeyId: `key-${asked}`, expiresAtMs: clock.nowMs + 3_600_000 };
    };
    const store = new S3Store({ bucket: "bucket", endpoint, credentials, clock });
    await Promise.all([store.get("a"), store.get("b"), store.get("c")]);
    clock.nowMs += 3_000_000;
    await store.get("d");
    clock.nowMs += 400_000;
    await store.get("e");
    await store.get("f");
    expect(keys()).toEqual(["key-1", "key-1", "key-1", "key-1", "key-2", "key-2"]);
    expect(asked).toBe(2);
  });

  it("while they still work, a provider that fails does no harm", async () => {
    const { endpoint, keys } = await keysSeen();
    const clock = new ManualClock();
    let asked = 0;
    const credentials = async () => {
      asked++;
      if (asked > 1) throw new Error("metadata service is down");
      return { ...STATIC, expiresAtMs: clock.nowMs + 600_000 };
    };
    const store = new S3Store({ bucket: "bucket", endpoint, credentials, clock });
    await store.get("a");
    clock.nowMs += 400_000;
    await store.get("b");
    await store.get("c");
    expect([asked, keys().length]).toEqual([2, 3]);
    clock.nowMs += 300_000;
    expect(await codeOf(store.get("d"))).toBe("unavailable/no_credentials");
  });

  it("that the server calls expired are asked for again", async () => {
    const { endpoint, keys, proxy } = await keysSeen();
    let asked = 0;
    const credentials = async () => ({ ...STATIC, accessKeyId: `key-${++asked}` });
    const store = new S3Store({ bucket: "bucket", endpoint, credentials });
    proxy.onRequest = () => ({ kind: "answer", status: 400, body: "<Error><Code>ExpiredToken</Code></Error>" });
    expect(await codeOf(store.get("a"))).toBe("unavailable/store_credentials_expired");
    await codeOf(store.get("b"));
    expect(keys()).toEqual(["key-1", "key-2"]);
  });

  it("a provider that never answers does not hold up requests for ever", async () => {
    const clock = new ManualClock();
    let asked = 0;
    const credentials = () => {
      asked++;
      return new Promise<S3Credentials>(() => {});
    };
    const store = new S3Store({ bucket: "bucket", clock, credentials });
    expect(await clock.runUntil(codeOf(store.get("a")))).toBe("unavailable/store_timeout");
    clock.advance(60_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await clock.runUntil(codeOf(store.get("b")))).toBe("unavailable/store_timeout");
    expect(asked).toBe(2);
  });

  it("a session token is sent and signed", async () => {
    const { endpoint, proxy } = await keysSeen();
    const credentials = { ...STATIC, sessionToken: "token" };
    await new S3Store({ bucket: "bucket", endpoint, credentials }).get("a");
    expect(proxy.requests[0]?.headers["x-amz-security-token"]).toBe("token");
    expect(proxy.requests[0]?.headers.authorization).toContain("x-amz-security-token");
  });
});

describe.skipIf(rgw === undefined)("uploads", () => {
  const sha256 = ({ headers }: ProxiedRequest) => headers["x-amz-content-sha256"];

  async function proxiedStore(options: object = {}): Promise<{ proxy: FaultProxy; store: S3Store }> {
    const proxy = await FaultProxy.start(requireRgw().endpoint);
    const store = s3Store(await newBucket(), { endpoint: proxy.endpoint, ...options });
    return { proxy, store };
  }

  it("bytes are one request however large, with their real hash", async () => {
    const { proxy, store } = await proxiedStore();
    await store.put("large", noise(17 * MIB, 1), { ifAbsent: true });
    expect(proxy.requests.map(({ method, headers }) => [method, headers["if-none-match"]])).toEqual([["PUT", "*"]]);
    expect(sha256(proxy.requests[0] as ProxiedRequest)).toMatch(/^[0-9a-f]{64}$/);
    expect(store.requestsOfPut(new Uint8Array(17 * MIB))).toBe(1);
  });

  it("a body that is damaged on its way is not stored", async () => {
    const { proxy, store } = await proxiedStore();
    for (const length of [100, 200_000]) {
      proxy.onRequest = ({ body }) => {
        body.fill(0, 50, 60);
        return undefined;
      };
      const error = await failureOf(store.put("damaged", noise(length, 1)));
      expect([error.kind, error.details.s3Code]).toEqual(["unavailable", "XAmzContentSHA256Mismatch"]);
      proxy.onRequest = () => undefined;
      expect(await store.head("damaged")).toBeUndefined();
    }
  });

  it("a source up to the threshold is one request, a longer one goes in parts", async () => {
    const { proxy, store } = await proxiedStore();
    const small = partSource(noise(16 * MIB, 2));
    await store.put("small", small);
    expect([proxy.requests.length, store.requestsOfPut(small)]).toEqual([1, 1]);
    const bytes = noise(16 * MIB + 1, 3);
    await store.put("large", partSource(bytes));
    expect([proxy.requests.length - 1, store.requestsOfPut(partSource(bytes))]).toEqual([6, 6]);
    expect(Buffer.compare((await store.get("large"))?.bytes ?? Buffer.alloc(0), bytes)).toBe(0);
    for (const request of proxy.requests) expect(sha256(request)).toMatch(/^[0-9a-f]{64}$/);
  });

  it("a create in parts is refused", async () => {
    const { store } = await proxiedStore();
    const source = partSource(new Uint8Array(17 * MIB));
    expect(await codeOf(store.put("key", source, { ifAbsent: true }))).toBe("invalid/store_unsupported");
    expect(source.bytesRead()).toBe(0);
  });

  it("a part that fails is repeated with the same bytes, and the parts are completed in order", async () => {
    const { proxy, store } = await proxiedStore();
    let failures = 2;
    proxy.onRequest = ({ url }) => {
      return url.includes("partNumber=2") && failures-- > 0 ? { kind: "answer", status: 503 } : undefined;
    };
    const bytes = noise(17 * MIB, 4);
    await store.put("large", partSource(bytes));
    expect(Buffer.compare((await store.get("large"))?.bytes ?? Buffer.alloc(0), bytes)).toBe(0);
    const completion = proxy.requests.find(({ method, url }) => method === "POST" && url.includes("uploadId"));
    const numbers = [...String(completion?.body).matchAll(/<PartNumber>(\d+)</g)].map(([, number]) => number);
    expect(numbers).toEqual(["1", "2", "3", "4"]);
  });

  it("an upload that fails is abandoned, and no part goes up after that", async () => {
    const { proxy, store } = await proxiedStore({ partBytes: 5 * MIB, partsInFlightMax: 2 });
    proxy.onRequest = ({ url }) => (url.includes("partNumber=2") ? { kind: "answer", status: 403 } : undefined);
    const source = partSource(noise(40 * MIB, 5));
    expect(await codeOf(store.put("large", source))).toBe("invalid/store_denied");
    expect(proxy.requests.at(-1)?.method).toBe("DELETE");
    expect(source.bytesRead()).toBeLessThanOrEqual(20 * MIB);
    expect(await store.head("large")).toBeUndefined();
  });

  it("an upload whose body breaks off, or that is aborted, is abandoned", async () => {
    const { proxy, store } = await proxiedStore();
    const failure = new ClusterError("closed", "source_closed", "the body broke off");
    const read = (offset: number, length: number) => {
      if (offset > 0) throw failure;
      return new Uint8Array(length);
    };
    expect(await failureOf(store.put("broken", { byteLength: 20 * MIB, read }))).toBe(failure);
    expect(proxy.requests.at(-1)?.method).toBe("DELETE");

    const controller = new AbortController();
    const reason = new Error("stop");
    proxy.onRequest = ({ url }) => {
      if (url.includes("partNumber")) controller.abort(reason);
      return undefined;
    };
    const put = store.put("aborted", partSource(noise(20 * MIB, 6)), { signal: controller.signal });
    await expect(put).rejects.toBe(reason);
    await expect.poll(() => proxy.requests.at(-1)?.method).toBe("DELETE");
    expect(await store.head("aborted")).toBeUndefined();
  });

  it("a completion that fails with status 200 is a failure", async () => {
    const { proxy, store } = await proxiedStore();
    proxy.onRequest = ({ method, url }) => {
      if (method !== "POST" || !url.includes("uploadId")) return undefined;
      return { kind: "answer", status: 200, body: "<Error><Code>InternalError</Code><Message>late</Message></Error>" };
    };
    expect(await codeOf(store.put("large", partSource(noise(17 * MIB, 7))))).toBe("unavailable/store_failed");
  });

  it("deleteMany takes 1000 keys a request", async () => {
    const { proxy, store } = await proxiedStore();
    await store.deleteMany(Array.from({ length: 2_001 }, (_, index) => `key/${index}&<>`));
    expect(proxy.requests.map(({ method, url }) => [method, url.split("?")[1]])).toEqual(
      Array.from({ length: 3 }, () => ["POST", "delete="]),
    );
  });
});
