import { afterEach, describe, expect, it } from "vitest";
import { peerError, refusalOf } from "../../src/net/peer-error.ts";
import { Child, RUNTIMES } from "./support.ts";

const children: Child[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) await child.kill();
});

/** What each runtime says of `fixtures/refused.ts`' addresses. */
const EXPECTED = {
  nothing: "refused",
  nothingTls: "refused",
  nothingByName: "refused",
  ends: "reset",
  endsLate: "reset",
  endsTls: "refused",
  // Depending on which is seen first.
  resets: expect.stringMatching(/^(refused|reset)$/),
  resetsLate: "reset",
  resetsTls: "refused",
  silent: "no refusal",
  unknownName: "no refusal",
};

describe("a refused connection is told from one that cannot be made", () => {
  for (const runtime of RUNTIMES) {
    it(`on ${runtime}`, { timeout: 40_000 }, async () => {
      const child = new Child(runtime, "refused.ts");
      children.push(child);
      expect(await child.line(), child.stderr).toEqual(EXPECTED);
    });
  }

  it("and from what happens otherwise", () => {
    const failed = { peer: "http://a:1", method: "GET", path: "/", sent: false };
    const unreachable = Object.assign(new Error("no route"), { code: "EHOSTUNREACH" });
    const reset = Object.assign(new Error("reset"), { code: "ECONNRESET" });
    const connect = { ...failed, reason: "connect" as const, cause: reset };
    expect(refusalOf(peerError(connect))).toBe("refused");
    expect(refusalOf(peerError({ ...connect, isConnected: true }))).toBe("reset");
    expect(refusalOf(peerError({ ...connect, isConnected: true, peer: "https://a:1" }))).toBeUndefined();
    expect(refusalOf(peerError({ ...connect, elapsedMs: 1000 }))).toBe("refused");
    expect(refusalOf(peerError({ ...connect, elapsedMs: 1001 })), "Bun's EHOSTUNREACH").toBeUndefined();
    expect(refusalOf(peerError({ ...connect, cause: unreachable }))).toBeUndefined();
    expect(refusalOf(peerError({ ...failed, reason: "lost", sent: true, cause: reset }))).toBeUndefined();
    expect(refusalOf(reset)).toBeUndefined();
    expect(refusalOf(undefined)).toBeUndefined();
  });
});
