import { afterEach, describe, expect, it } from "vitest";
import { isRefused, peerError } from "../../src/net/peer-error.ts";
import { Child, RUNTIMES } from "./support.ts";

const children: Child[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) await child.kill();
});

/** What each runtime says of `fixtures/refused.ts`' addresses. */
const EXPECTED = {
  nothing: true,
  nothingTls: true,
  nothingByName: true,
  ends: true,
  endsLate: true,
  endsTls: true,
  resets: true,
  resetsLate: true,
  resetsTls: true,
  silent: false,
  unknownName: false,
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
    expect(isRefused(peerError({ ...failed, reason: "connect", cause: reset }))).toBe(true);
    expect(isRefused(peerError({ ...failed, reason: "connect", cause: unreachable }))).toBe(false);
    expect(isRefused(peerError({ ...failed, reason: "lost", sent: true, cause: reset }))).toBe(false);
    expect(isRefused(reset)).toBe(false);
    expect(isRefused(undefined)).toBe(false);
  });
});
