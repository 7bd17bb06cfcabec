import { expect, test } from "vitest";
import { S3Store } from "../../src/store/s3-store.ts";
import { codeOf } from "./failure.ts";
import { FaultProxy } from "./fault-proxy.ts";

const BODY = new TextEncoder().encode("body");

/** A server that answers everything so, and a store on it. */
async function answering(body: string): Promise<{ proxy: FaultProxy; store: S3Store }> {
  const proxy = await FaultProxy.start();
  proxy.onRequest = () => ({ kind: "answer", status: 200, body });
  const credentials = { accessKeyId: "key", secretAccessKey: "secret" };
  const options = { bucket: "bucket", endpoint: proxy.endpoint, credentials, multipartThresholdBytes: 2 };
  return { proxy, store: new S3Store(options) };
}

test("P2: a create asks the server for one, by If-None-Match: *, signed with the request; an overwrite does not", async () => {
  const { proxy, store } = await answering("");
  expect(await store.put("created", BODY, { ifAbsent: true })).toBe("created");
  expect(await store.put("overwritten", BODY)).toBe("created");
  const [create, overwrite] = proxy.requests;
  expect(create?.headers["if-none-match"]).toBe("*");
  expect(create?.headers.authorization).toMatch(/SignedHeaders=[^,]*if-none-match/);
  expect(overwrite?.headers).not.toHaveProperty("if-none-match");
});

test("P2: a create that would go in parts is refused before anything is sent", async () => {
  const { proxy, store } = await answering("");
  const source = {
    byteLength: BODY.length,
    read: (offset: number, length: number) => BODY.slice(offset, offset + length),
  };
  expect(await codeOf(store.put("created", source, { ifAbsent: true }))).toBe("invalid/store_unsupported");
  expect(proxy.requests).toEqual([]);
});

test.each(["", "<IsTruncated></IsTruncated>", "<IsTruncated>perhaps</IsTruncated>"])(
  "P2: a listing that does not say whether it is complete (%s) is not taken for the whole",
  async (truncated) => {
    const row = "<Contents><Key>a</Key><Size>1</Size></Contents>";
    const { store } = await answering(`<ListBucketResult>${truncated}${row}</ListBucketResult>`);
    expect(await codeOf(store.list(""))).toBe("unavailable/store_bad_answer");
  },
);
