/** The authenticators of a leader's stream: good for one place in one stream between two nodes. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { StreamMac, type StreamName } from "../../src/net/stream-mac.ts";

const SECRET = "a secret that is long enough";
const NAME: StreamName = { nonce: "0123456789abcdef", from: "leader-uuid", to: "follower-uuid" };
const HEADER = new Uint8Array([0, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 9]);
const BODY = new Uint8Array([1, 2]);

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("P9: the authenticator of a frame", () => {
  it("is the same bytes for ever", () => {
    const mac = new StreamMac(SECRET, NAME);
    // Computed apart from the code under test, with Python's hmac and hashlib.
    expect(hex(mac.next(HEADER, BODY))).toBe("40f72a7cb773a2ed15d074a2e489c04bad7316248aad03e7b54662cfb0613a6a");
    expect(hex(mac.next(HEADER, BODY))).toBe("261222e1550627715b156180484020c2bff6702a64df0867e772e528c897cb57");
  });

  it("is accepted by the other end, frame after frame", () => {
    const [sender, receiver] = [new StreamMac(SECRET, NAME), new StreamMac(SECRET, NAME)];
    for (let count = 0; count < 300; count++) {
      const body = new Uint8Array(count).fill(count);
      expect(receiver.verifyNext(HEADER, body, sender.next(HEADER, body))).toBe(true);
    }
  });

  it("is the same if who sends has the body's hash already", () => {
    const hash = createHash("sha256").update(BODY).digest();
    expect(new StreamMac(SECRET, NAME).next(HEADER, BODY, hash)).toEqual(
      new StreamMac(SECRET, NAME).next(HEADER, BODY),
    );
  });

  const others: [string, string, StreamName][] = [
    ["another secret", "another secret, also long", NAME],
    ["another request's stream", SECRET, { ...NAME, nonce: "0123456789abcdeg" }],
    ["another leader's stream", SECRET, { ...NAME, from: "other-uuid" }],
    ["another follower's stream", SECRET, { ...NAME, to: "other-uuid" }],
    ["a stream the other way", SECRET, { ...NAME, from: NAME.to, to: NAME.from }],
  ];
  for (const [what, secret, name] of others) {
    it(`is refused if it is of ${what}`, () => {
      expect(new StreamMac(SECRET, NAME).verifyNext(HEADER, BODY, new StreamMac(secret, name).next(HEADER, BODY))).toBe(
        false,
      );
    });
  }

  it("is refused for another header, another body, and for bytes that moved from one to the other", () => {
    const mac = new StreamMac(SECRET, NAME).next(HEADER, BODY);
    const verify = (header: Uint8Array, body: Uint8Array) => new StreamMac(SECRET, NAME).verifyNext(header, body, mac);
    expect(verify(HEADER, BODY)).toBe(true);
    for (let at = 0; at < HEADER.length; at++) expect(verify(HEADER.with(at, 77), BODY)).toBe(false);
    for (let at = 0; at < BODY.length; at++) expect(verify(HEADER, BODY.with(at, 77))).toBe(false);
    expect(verify(HEADER, new Uint8Array(0))).toBe(false);
    expect(verify(HEADER, new Uint8Array([...BODY, 0]))).toBe(false);
    expect(verify(HEADER.subarray(0, 12), new Uint8Array([9, ...BODY]))).toBe(false);
  });

  it("is refused in another place of its stream: repeated, left out, or exchanged", () => {
    const sender = new StreamMac(SECRET, NAME);
    const [first, second, third] = [sender.next(HEADER, BODY), sender.next(HEADER, BODY), sender.next(HEADER, BODY)];
    const takes = (...macs: Uint8Array[]) => {
      const receiver = new StreamMac(SECRET, NAME);
      return macs.map((mac) => receiver.verifyNext(HEADER, BODY, mac));
    };
    expect(takes(first, second, third)).toEqual([true, true, true]);
    expect(takes(first, first)).toEqual([true, false]);
    expect(takes(second)).toEqual([false]);
    expect(takes(first, third)).toEqual([true, false]);
    expect(takes(second, first)).toEqual([false, false]);
  });

  it("is refused, not an error, if it has another length", () => {
    for (const length of [0, 31, 33]) {
      expect(new StreamMac(SECRET, NAME).verifyNext(HEADER, BODY, new Uint8Array(length))).toBe(false);
    }
  });
});
