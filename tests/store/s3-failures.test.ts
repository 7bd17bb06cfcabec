import { setTimeout as delay } from "node:timers/promises";
import { inspect } from "node:util";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { S3Store, type S3StoreOptions } from "../../src/store/s3-store.ts";
import type { ObjectStore } from "../../src/store/store.ts";
import { codeOf, failureOf } from "./failure.ts";
import { FaultProxy, type ProxyAction } from "./fault-proxy.ts";
import { newBucket, requireRgw, rgw, s3Store } from "./s3.ts";

const ACCESS_KEY = "AKIAEXAMPLEKEY";
const SECRET = "very/secret+value";
const TOKEN = "session-token-value";
const BODY = new TextEncoder().encode("body");

function storeAt(endpoint: string, options: Partial<S3StoreOptions> = {}): S3Store {
  const credentials = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET, sessionToken: TOKEN };
  return new S3Store({ bucket: "bucket", endpoint, credentials, ...options });
}

/** A store whose every request is answered so. */
async function storeAnswering(action: ProxyAction, options: Partial<S3StoreOptions> = {}): Promise<S3Store> {
  const proxy = await FaultProxy.start();
  proxy.onRequest = () => action;
  return storeAt(proxy.endpoint, options);
}

function answer(status: number, s3Code?: string, headers: Record<string, string> = {}, inner = ""): ProxyAction {
  const body = `<?xml version="1.0"?><Error><Code>${s3Code}</Code><Message>said &quot;so&quot;</Message>${inner}</Error>`;
  return {
    kind: "answer",
    status,
    headers: { "x-amz-request-id": "request-7", ...headers },
    ...(s3Code === undefined ? {} : { body }),
  };
}

function allCalls(store: ObjectStore): [string, () => Promise<unknown>][] {
  return [
    ["get", () => store.get("key")],
    ["head", () => store.head("key")],
    ["put", () => store.put("key", BODY)],
    ["create", () => store.put("key", BODY, { ifAbsent: true })],
    ["list", () => store.list("")],
    ["delete", () => store.delete("key")],
    ["deleteMany", () => store.deleteMany(["key"])],
  ];
}

describe("what S3's answers mean", () => {
  const meanings: [string, ProxyAction, string][] = [
    ["409 is a conflict to repeat", answer(409, "ConditionalRequestConflict"), "unavailable/store_conflict"],
    ["429 is throttling", answer(429), "unavailable/store_throttled"],
    ["503 SlowDown is throttling", answer(503, "SlowDown"), "unavailable/store_throttled"],
    [
      "503 with Retry-After is throttling",
      answer(503, undefined, { "retry-after": "3" }),
      "unavailable/store_throttled",
    ],
    ["503 of a proxy is a failure", answer(503), "unavailable/store_failed"],
    ["500 is a failure", answer(500, "InternalError"), "unavailable/store_failed"],
    ["502 is a failure", answer(502), "unavailable/store_failed"],
    ["501 is not supported", answer(501, "NotImplemented"), "invalid/store_unsupported"],
    ["403 is denied", answer(403, "SignatureDoesNotMatch"), "invalid/store_denied"],
    ["a wrong clock is named", answer(403, "RequestTimeTooSkewed"), "invalid/store_clock_skew"],
    ["expired fixed credentials", answer(400, "ExpiredToken"), "invalid/store_credentials_expired"],
    ["a slow upload timed out", answer(400, "RequestTimeout"), "unavailable/store_timeout"],
    ["a damaged upload is to repeat", answer(400, "BadDigest"), "unavailable/store_failed"],
    ["other 400 are refusals", answer(400, "InvalidArgument"), "invalid/store_refused"],
    [
      "301 is the wrong region",
      answer(301, "PermanentRedirect", { location: "/elsewhere" }),
      "invalid/store_wrong_region",
    ],
    [
      "307 is the wrong region",
      answer(307, "TemporaryRedirect", { location: "/elsewhere" }),
      "invalid/store_wrong_region",
    ],
    ["no such bucket", answer(404, "NoSuchBucket"), "invalid/store_no_bucket"],
  ];
  it.each(meanings)("%s", async (_name, action, expected) => {
    const store = await storeAnswering(action);
    expect(await codeOf(store.put("key", BODY, { ifAbsent: true }))).toBe(expected);
    expect(await codeOf(store.get("key"))).toBe(expected);
    expect(await codeOf(store.list("k"))).toBe(expected);
    expect(await codeOf(store.deleteMany(["key"]))).toBe(expected);
  });

  it("412 answers a create and nothing else", async () => {
    const store = await storeAnswering(answer(412, "PreconditionFailed"));
    expect(await store.put("key", BODY, { ifAbsent: true })).toBe("exists");
    expect(await codeOf(store.put("key", BODY))).toBe("invalid/store_refused");
  });

  it("404 without an S3 code is no S3 server, not a missing object", async () => {
    const store = await storeAnswering({ kind: "answer", status: 404, body: "<html>not found</html>" });
    expect(await codeOf(store.get("key"))).toBe("invalid/store_not_s3");
    expect(await codeOf(store.head("key"))).toBe("invalid/store_not_s3");
  });

  it("errors say what, where, why, S3's code and the request", async () => {
    const store = await storeAnswering(answer(503, "SlowDown", { "retry-after": "7" }));
    const error = await failureOf(store.put("the/key", BODY));
    expect(error.details).toMatchObject({
      key: "the/key",
      status: 503,
      s3Code: "SlowDown",
      requestId: "request-7",
      retryAfterMs: 7_000,
    });
    expect(error.message).toMatch(
      /put "the\/key".*s3:\/\/bucket.*slow down.*HTTP 503 SlowDown said "so", request request-7/,
    );
  });

  it("the region that the server names is in the error", async () => {
    const byHeader = await storeAnswering(answer(301, undefined, { "x-amz-bucket-region": "eu-west-3" }));
    expect((await failureOf(byHeader.head("key"))).message).toContain("in region eu-west-3, not in region us-east-1");
    const malformed = answer(400, "AuthorizationHeaderMalformed", {}, "<Region>eu-central-1</Region>");
    const error = await failureOf((await storeAnswering(malformed)).get("key"));
    expect([error.code, error.details.bucketRegion]).toEqual(["store_wrong_region", "eu-central-1"]);
  });

  it("a clock that is wrong is measured", async () => {
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    const store = await storeAnswering(answer(403, "RequestTimeTooSkewed", { date }));
    expect((await failureOf(store.get("key"))).message).toMatch(/clock is wrong: 3(600|599|601) s behind/);
  });

  it("the keys that DeleteObjects could not delete are named", async () => {
    const row = (key: string, code: string) => `<Error><Key>${key}</Key><Code>${code}</Code></Error>`;
    const result = (rows: string) =>
      ({ kind: "answer", status: 200, body: `<DeleteResult>${rows}</DeleteResult>` }) as const;
    const denied = await storeAnswering(result(row("a&amp;b", "AccessDenied") + row("c", "InternalError")));
    const error = await failureOf(denied.deleteMany(["a&b", "c", "d"]));
    expect(`${error.kind}/${error.code}`).toBe("invalid/store_denied");
    expect(error.details).toMatchObject({
      failedCount: 2,
      failed: [
        { key: "a&b", s3Code: "AccessDenied" },
        { key: "c", s3Code: "InternalError" },
      ],
    });
    const busy = await storeAnswering(result(row("c", "InternalError")));
    expect(await codeOf(busy.deleteMany(["c"]))).toBe("unavailable/store_failed");
    const gone = await storeAnswering(result(row("c", "NoSuchKey")));
    await gone.deleteMany(["c"]);
  });
});

describe("answers that cannot be trusted", () => {
  const listing = (rows: string, end = "<IsTruncated>false</IsTruncated></ListBucketResult>"): ProxyAction => {
    return { kind: "answer", status: 200, body: `<ListBucketResult><EncodingType>url</EncodingType>${rows}${end}` };
  };
  const row = (key: string) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`;

  it("a body cut short is not taken for the object", async () => {
    const headers = { date: new Date().toUTCString(), "last-modified": new Date().toUTCString() };
    const store = await storeAnswering({ kind: "truncate", status: 200, headers, sent: 1_000 });
    expect(await codeOf(store.get("key"))).toBe("unavailable/store_truncated");
  });

  it("a body shorter than announced is noticed where the runtime does not", async () => {
    const headers = {
      date: new Date().toUTCString(),
      "last-modified": new Date().toUTCString(),
      "content-length": "9",
    };
    vi.stubGlobal("fetch", async () => new Response("short", { headers }));
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(await codeOf(storeAt("http://127.0.0.1:1").get("key"))).toBe("unavailable/store_truncated");
  });

  it.each(["bytes 4-7/10", "bytes 3-7/10", "bytes 3-6/*", ""])(
    "another range than asked for: %j",
    async (contentRange) => {
      const headers = { "last-modified": new Date().toUTCString(), "content-range": contentRange };
      const store = await storeAnswering({ kind: "answer", status: 206, headers, body: "3456" });
      expect(await codeOf(store.get("key", { range: { offset: 3, length: 4 } }))).toBe("unavailable/store_bad_answer");
    },
  );

  it("a listing cut short is not taken for the whole", async () => {
    const store = await storeAnswering(listing(row("a"), ""));
    expect(await codeOf(store.list(""))).toBe("unavailable/store_bad_answer");
  });

  it("a listing out of order, or from before start-after, is refused", async () => {
    const unordered = await storeAnswering(listing(row("b") + row("a")));
    expect(await codeOf(unordered.list(""))).toBe("invalid/store_unsupported");
    const ignoring = await storeAnswering(listing(row("a") + row("b")));
    expect(await codeOf(ignoring.list("", { startAfter: "a" }))).toBe("invalid/store_unsupported");
  });

  it("keys of a listing are decoded, whichever way the server encodes them", async () => {
    const store = await storeAnswering(listing(row("a+b%2Bc%20d") + row("%C3%A9")));
    expect((await store.list("")).objects.map(({ key }) => key)).toEqual(["a b+c d", "é"]);
    const plain = `<ListBucketResult><IsTruncated>false</IsTruncated>${row(" a+b%20&amp;&#x3c;&#62; ")}</ListBucketResult>`;
    const unencoded = await storeAnswering({ kind: "answer", status: 200, body: plain });
    expect((await unencoded.list("")).objects.map(({ key }) => key)).toEqual([" a+b%20&<> "]);
  });

  it("an empty page that is not the last is followed by its token", async () => {
    const proxy = await FaultProxy.start();
    const more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1</NextContinuationToken></ListBucketResult>";
    proxy.onRequest = ({ url }) => (url.includes("continuation-token=t%2F1") ? listing(row("a")) : listing("", more));
    expect(await storeAt(proxy.endpoint).list("")).toEqual({ objects: [{ key: "a", size: 1 }], more: false });
  });

  it("a server that ignores ranges still gives the range", async () => {
    const headers = { "last-modified": new Date().toUTCString() };
    const store = await storeAnswering({ kind: "answer", status: 200, headers, body: "0123456789" });
    const object = await store.get("key", { range: { offset: 3, length: 4 } });
    expect([new TextDecoder().decode(object?.bytes), object?.size]).toEqual(["3456", 10]);
  });

  it("without Date or Last-Modified there is no age to judge by", async () => {
    const store = await storeAnswering({ kind: "answer", status: 200, body: "x" });
    expect(await codeOf(store.get("key"))).toBe("unavailable/store_bad_answer");
  });
});

describe("a network that fails", () => {
  it("nobody listens: unreachable", async () => {
    const proxy = await FaultProxy.start();
    const store = storeAt(proxy.endpoint);
    await proxy.stop();
    for (const [, call] of allCalls(store)) expect(await codeOf(call())).toBe("unavailable/store_unreachable");
    expect((await failureOf(store.get("key"))).message).toContain("ECONNREFUSED");
  });

  it("a host name that does not exist: unreachable", async () => {
    const store = storeAt("http://no-such-host.invalid");
    expect(await codeOf(store.get("key"))).toBe("unavailable/store_unreachable");
  });

  it("no answer: time-out, on every call", async () => {
    const store = await storeAnswering({ kind: "hang" }, { requestTimeoutMs: 20 });
    for (const [, call] of allCalls(store)) expect(await codeOf(call())).toBe("unavailable/store_timeout");
  });

  it("a signal ends a call that hangs, with its reason, also after garbage collection", async () => {
    const store = await storeAnswering({ kind: "hang" });
    for (const [name, call] of allCalls(withSignals(store))) {
      const reason = new Error(`abort of ${name}`);
      currentSignal = new AbortController();
      const outcome = call().catch((error: unknown) => error);
      await delay(5);
      globalThis.gc?.();
      currentSignal.abort(reason);
      expect(await outcome).toBe(reason);
    }
  });

  it("connections are used again, also after failures and missing objects", async () => {
    const proxy = await FaultProxy.start();
    const store = storeAt(proxy.endpoint);
    const statuses = [404, 500, 403, 200];
    proxy.onRequest = ({ method }) => {
      const status = statuses[proxy.requests.length % statuses.length] as number;
      const s3Code = status === 404 ? "NoSuchKey" : "Other";
      return method === "GET" && status !== 200 ? answer(status, s3Code) : answer(status === 200 ? 200 : status);
    };
    for (let i = 0; i < 40; i++) await store.get("key").catch(() => {});
    expect(proxy.requests.length).toBe(40);
    expect(proxy.connections).toBe(1);
  });
});

let currentSignal = new AbortController();

/** The store with the current signal in every call. */
function withSignals(store: ObjectStore): ObjectStore {
  const options = () => ({ signal: currentSignal.signal });
  return {
    locality: store.locality,
    url: store.url,
    get: (key) => store.get(key, options()),
    head: (key) => store.head(key, options()),
    put: (key, body, putOptions) => store.put(key, body, { ...putOptions, ...options() }),
    list: (prefix) => store.list(prefix, options()),
    delete: (key) => store.delete(key, options()),
    deleteMany: (keys) => store.deleteMany(keys, options()),
  };
}

describe("secrets", () => {
  it("are in no error, URL or inspection", async () => {
    const echo = answer(403, "InvalidAccessKeyId", {}, "");
    const body = `<Error><Code>X</Code><Message>no such key ${ACCESS_KEY} ${SECRET} ${TOKEN}</Message></Error>`;
    const stores = [
      await storeAnswering(echo),
      await storeAnswering({ kind: "answer", status: 403, body }),
      storeAt("http://127.0.0.1:1"),
    ];
    for (const store of stores) {
      const error = await failureOf(store.put("key", BODY));
      const shown = [inspect(store, { depth: 9, showHidden: true }), JSON.stringify(store), String(store), store.url];
      shown.push(
        inspect(error, { depth: 9, showHidden: true }),
        JSON.stringify(error),
        error.message,
        String(error.stack),
      );
      for (const secret of [ACCESS_KEY, SECRET, TOKEN]) expect(shown.join("\n")).not.toContain(secret);
    }
  });

  it("that cannot be sent are refused without being shown", async () => {
    const credentials = { accessKeyId: "key", secretAccessKey: "secret", sessionToken: "to\nken-with-newline" };
    const error = await failureOf(() => new S3Store({ bucket: "bucket", credentials }));
    expect([error.code, error.details]).toEqual(["bad_credentials", { name: "sessionToken" }]);
    expect(error.message).not.toContain("newline");
  });
});

describe.skipIf(rgw === undefined)("failures of a real server", () => {
  it("no such bucket, on every call", async () => {
    for (const [name, call] of allCalls(s3Store("no-such-bucket"))) {
      expect([name, await codeOf(call())]).toEqual([name, "invalid/store_no_bucket"]);
    }
  });

  it("wrong secret and unknown key are denied, on every call", async () => {
    const bucket = await newBucket();
    const { accessKeyId } = requireRgw().credentials;
    for (const credentials of [
      { accessKeyId, secretAccessKey: "wrong" },
      { accessKeyId: "unknown", secretAccessKey: "wrong" },
    ]) {
      for (const [name, call] of allCalls(s3Store(bucket, { credentials }))) {
        expect([name, await codeOf(call())]).toEqual([name, "invalid/store_denied"]);
      }
    }
    const error = await failureOf(
      s3Store(bucket, { credentials: { accessKeyId, secretAccessKey: "wrong" } }).get("key"),
    );
    expect(error.details).toMatchObject({ s3Code: "SignatureDoesNotMatch", status: 403 });
  });

  it("a put whose answer was lost has taken effect; only reading back tells", async () => {
    const bucket = await newBucket();
    const proxy = await FaultProxy.start(requireRgw().endpoint);
    const store = s3Store(bucket, { endpoint: proxy.endpoint });
    proxy.onRequest = () => ({ kind: "lose_answer" });
    expect(await codeOf(store.put("key", BODY, { ifAbsent: true }))).toBe("unavailable/store_unreachable");
    proxy.onRequest = () => undefined;
    expect((await store.get("key"))?.bytes).toEqual(BODY);
  });
});
