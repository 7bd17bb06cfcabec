/**
 * Listings of an S3 server, damaged in whatever way. XML has no checksum, so another digit in a size or a key cannot be
 * noticed: what is accepted here may differ from what was written, and name an object that does not exist or hide one that
 * does. What must be noticed: rows that are missing, rows that are no objects, and a page that passes for the last one.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClusterError } from "../../src/errors.ts";
import { compareKeys } from "../../src/store/key-rules.ts";
import type { S3Client, S3Request } from "../../src/store/s3-client.ts";
import { listPage } from "../../src/store/s3-list.ts";
import { escapeXml, parseXml, xmlText } from "../../src/store/s3-xml.ts";
import type { ListPage, ObjectInfo } from "../../src/store/store.ts";
import { decoded, mutated, mutation, mutations, refusalOf, runs } from "../support/fuzz-mutations.ts";

const PREFIX = ".lbc/";
const REFUSALS: readonly string[] = ["unavailable/store_bad_answer", "invalid/store_unsupported"];

/** What the listing asks of its client, which gives the same answer to whatever is asked. */
function clientOf(answers: readonly Uint8Array[]): S3Client {
  let asked = 0;
  const client: Pick<S3Client, "send" | "badAnswer"> = {
    send: async () => ({
      status: 200,
      headers: new Headers(),
      bytes: answers[Math.min(asked++, answers.length - 1)] as Uint8Array,
    }),
    badAnswer: (_request: S3Request, reason: string) => new ClusterError("unavailable", "store_bad_answer", reason),
  };
  return client as S3Client;
}

/** The page, or `kind/code` of why there is none. */
async function listed(answers: readonly Uint8Array[], startAfter?: string): Promise<ListPage | string | undefined> {
  const listing = { prefix: PREFIX, startAfter, limit: 1000, signal: undefined };
  const page = await listPage(clientOf(answers), listing).catch((error: unknown) => error);
  if (!(page instanceof Error)) return page as ListPage;
  const rethrow = () => {
    throw page;
  };
  return refusalOf(decoded(rethrow));
}

interface Listing {
  readonly objects: readonly ObjectInfo[];
  readonly more: boolean;
  readonly isUrlEncoded: boolean;
}

function xmlOf({ objects, more, isUrlEncoded }: Listing): Uint8Array {
  const keyText = (key: string) => (isUrlEncoded ? encodeURIComponent(key).replaceAll("%20", "+") : escapeXml(key));
  const rows = objects.map(({ key, size }) => {
    const rest = "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><StorageClass>STANDARD</StorageClass>";
    return `<Contents><Key>${keyText(key)}</Key><Size>${size}</Size>${rest}</Contents>`;
  });
  const text = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>${PREFIX}</Prefix>${
    isUrlEncoded ? "<EncodingType>url</EncodingType>" : ""
  }<IsTruncated>${more}</IsTruncated>${more ? "<NextContinuationToken>t/1+&amp;</NextContinuationToken>" : ""}${rows.join("")}</ListBucketResult>`;
  return new TextEncoder().encode(text);
}

const name = fc.oneof(
  fc.nat(10 ** 9).map((epoch) => `${String(epoch).padStart(20, "0")}.wal`),
  fc.string({ unit: fc.constantFrom("a", " ", "+", "%", "&", "<", ">", "'", '"', "é", "𝄞", ";", "#"), minLength: 1 }),
);
const listing: fc.Arbitrary<Listing> = fc.record({
  objects: fc
    .uniqueArray(fc.record({ key: name.map((text) => PREFIX + text), size: fc.maxSafeNat() }), {
      selector: ({ key }) => key,
      minLength: 1,
      maxLength: 6,
    })
    .map((objects) => objects.sort((a, b) => compareKeys(a.key, b.key))),
  more: fc.boolean(),
  isUrlEncoded: fc.boolean(),
});

describe("a listing", () => {
  test("is read as it was written, whichever way keys are encoded", async () => {
    await fc.assert(
      fc.asyncProperty(listing, async (sent) => {
        expect(await listed([xmlOf(sent)])).toEqual({ objects: sent.objects, more: sent.more });
      }),
      runs(150),
    );
  });

  test("cut off anywhere is refused", async () => {
    await fc.assert(
      fc.asyncProperty(listing, fc.nat(), async (sent, at) => {
        const xml = xmlOf(sent);
        expect(REFUSALS).toContain(await listed([xml.subarray(0, at % xml.length)]));
      }),
      runs(300),
    );
  });

  test("with a byte changed in its markup is refused; elsewhere it loses no row, and stays in order", async () => {
    await fc.assert(
      fc.asyncProperty(listing, fc.nat(), fc.nat(7), async (sent, where, bit) => {
        const xml = xmlOf(sent);
        const at = where % xml.length;
        const page = await listed([mutated(xml, [{ kind: "flip", at, bit }], xml)]);
        if (typeof page === "string") {
          expect(REFUSALS).toContain(page);
          return;
        }
        expectListing(page as ListPage);
        expect((page as ListPage).objects.length).toBe(sent.objects.length);
        expect((page as ListPage).more).toBe(sent.more);
      }),
      runs(800),
    );
  });

  test("with any damage is refused, or is one that a server could have sent", async () => {
    await fc.assert(
      fc.asyncProperty(listing, listing, mutations, fc.boolean(), async (sent, other, faults, isLater) => {
        const startAfter = isLater ? sent.objects[0]?.key : undefined;
        const damaged = mutated(xmlOf(sent), faults, xmlOf(other));
        const page = await listed([damaged, xmlOf(other)], startAfter);
        if (typeof page === "string") expect(REFUSALS).toContain(page);
        else expectListing(page as ListPage, startAfter);
      }),
      runs(600),
    );
  });

  /** In order after `startAfter`, below the prefix, and of sizes that objects have. */
  function expectListing({ objects }: ListPage, startAfter = ""): void {
    const keys = [startAfter, ...objects.map(({ key }) => key)];
    for (const [index, { key, size }] of objects.entries()) {
      expect(compareKeys(keys[index] as string, key)).toBeLessThan(0);
      expect(key.startsWith(PREFIX)).toBe(true);
      expect(Number.isSafeInteger(size) && size >= 0).toBe(true);
    }
  }

  const row = "<Contents><Key>.lbc/a</Key><Size>1</Size></Contents>";
  const end = "<IsTruncated>false</IsTruncated>";
  test.each([
    ["no size", "<Contents><Key>.lbc/a</Key></Contents>", end],
    ["an empty size", "<Contents><Key>.lbc/a</Key><Size></Size></Contents>", end],
    ["two sizes", "<Contents><Key>.lbc/a</Key><Size>1</Size><Size>2</Size></Contents>", end],
    ["a negative size", "<Contents><Key>.lbc/a</Key><Size>-1</Size></Contents>", end],
    ["a size of another notation", "<Contents><Key>.lbc/a</Key><Size>0x10</Size></Contents>", end],
    ["a size beyond numbers", "<Contents><Key>.lbc/a</Key><Size>9007199254740993</Size></Contents>", end],
    ["no key", "<Contents><Size>1</Size></Contents>", end],
    ["two keys", "<Contents><Key>.lbc/a</Key><Key>.lbc/b</Key><Size>1</Size></Contents>", end],
    ["a key that is no text", "<Contents><Key><b>.lbc/a</b></Key><Size>1</Size></Contents>", end],
    ["a row that is no element", "<Contents>.lbc/a</Contents>", end],
    ["no word of its end", row, ""],
    ["two words of its end", row, end + end],
    ["another word for its end", row, "<IsTruncated>no</IsTruncated>"],
    ["more to come, and no way to it", "", "<IsTruncated>true</IsTruncated>"],
  ])("with %s is refused", async (_what, rows, rest) => {
    const xml = `<ListBucketResult>${rest}${rows}</ListBucketResult>`;
    expect(await listed([new TextEncoder().encode(xml)])).toBe("unavailable/store_bad_answer");
  });

  test("that never comes to objects, nor to an end, is given up", async () => {
    const empty = `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>`;
    expect(await listed([new TextEncoder().encode(empty)])).toBe("unavailable/store_bad_answer");
  });
});

describe("an answer of a server", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);

  test("that defines entities is not blown up by them, nor shown what the machine's files hold", () => {
    const levels = Array.from({ length: 20 }, (_, at) => `<!ENTITY e${at + 1} "${`&e${at};`.repeat(10)}">`).join("");
    const bombs = [
      `<!DOCTYPE a [<!ENTITY e0 "x">${levels}]>`,
      `<!DOCTYPE a [<!ENTITY e20 SYSTEM "file:///etc/passwd">]>`,
    ];
    for (const bomb of bombs) {
      const outcome = decoded(() => xmlText(parseXml(bytes(`${bomb}<a><b>&e20;</b></a>`), "a"), "b"));
      expect([undefined, "&e20;"]).toContain("value" in outcome ? outcome.value : "an error");
    }
  });

  test("that nests, repeats or names without measure is refused or read, and never brings the reader down", () => {
    const deep = 200_000;
    const documents = [
      "<a>".repeat(deep) + "</a>".repeat(deep),
      `<a>${"<b/>".repeat(deep)}</a>`,
      `<a ${"x='1' ".repeat(20_000)}/>`,
      `<a>${"&amp;".repeat(deep)}</a>`,
      `<a><${"b".repeat(deep)}/></a>`,
      `<a${" ".repeat(deep)}`,
      `<a>${"<a ".repeat(20_000)}/>`,
    ];
    for (const document of documents) decoded(() => xmlText(parseXml(bytes(document), "a"), "b"));
  });

  test("that names what every JavaScript object has is not read as that", () => {
    const texts = ["&constructor;", "&toString;", "&hasOwnProperty;", "&proto;"];
    for (const text of texts) expect(xmlText(parseXml(bytes(`<a><b>${text}</b></a>`), "a"), "b")).toBe(text);
    for (const tag of ["__proto__", "constructor", "prototype"]) {
      const outcome = decoded(() => parseXml(bytes(`<a><${tag}><b>1</b></${tag}></a>`), "a"));
      expect("value" in outcome && xmlText(outcome.value, "b")).toBe(undefined);
    }
    expect(({} as Record<string, unknown>)["b"]).toBe(undefined);
  });

  test("of whatever bytes, and of any with a fault, is a document or nothing", () => {
    const whole = bytes("<a><b>&lt;&#65;&#x42;&#1114112;</b><c/><b>2</b></a>");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.array(mutation, { maxLength: 4 }), (noise, faults) => {
        for (const found of [noise, mutated(whole, faults, noise)]) {
          const outcome = decoded(() => parseXml(found, "a"));
          const text = "value" in outcome ? xmlText(outcome.value, "c") : expect.fail("it was refused with an error");
          expect(["undefined", "string"]).toContain(typeof text);
        }
      }),
      runs(800),
    );
  });
});
