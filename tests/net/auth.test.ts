import { inspect } from "node:util";
import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import {
  type AuthVerdict,
  DATE_HEADER,
  NONCE_HEADER,
  type RequestToSign,
  RequestVerifier,
  requireClusterAuth,
  SIGNATURE_HEADER,
  signRequest,
} from "../../src/net/auth.ts";

const SECRET = "a secret that is long enough";
const NOW_MS = 1_800_000_000_000;

class FakeClock implements Clock {
  nowMs = NOW_MS;
  monotonicMs = (): number => this.nowMs;
  wallMs = (): number => this.nowMs;
  after = (): (() => void) => () => {};
  soon = (): (() => void) => () => {};
}

let nonces = 0;
function freshNonce(): string {
  nonces += 1;
  return `nonce-of-the-test-${nonces}`;
}

const SELF = "5a3c6d2e-0000-4000-8000-000000000001";
const REQUEST = { method: "POST", path: "/.lbc/gossip?a=1&b=2", to: SELF, body: "the body" };

function sign(change: Partial<RequestToSign> = {}): Headers {
  const request = { ...REQUEST, secret: SECRET, nowMs: NOW_MS, nonce: freshNonce(), ...change };
  return new Headers(signRequest(request));
}

function verifierWith(options: { windowMs?: number; noncesMax?: number } = {}): [RequestVerifier, FakeClock] {
  const clock = new FakeClock();
  return [new RequestVerifier({ secret: SECRET, to: SELF, clock, ...options }), clock];
}

describe("P9: RequestVerifier", () => {
  it("accepts what was signed, with any kind of secret and body", () => {
    const [verifier] = verifierWith();
    expect(verifier.verify({ ...REQUEST, headers: sign() })).toBe("ok");
    const bytes = new TextEncoder().encode(SECRET);
    const body = new TextEncoder().encode(REQUEST.body);
    expect(verifier.verify({ ...REQUEST, body, headers: sign({ secret: bytes }) })).toBe("ok");
    expect(verifier.verify({ method: "GET", path: "/", headers: sign({ method: "GET", path: "/", body: "" }) })).toBe(
      "ok",
    );
  });

  it("signs the same bytes for ever", () => {
    const headers = signRequest({ ...REQUEST, secret: SECRET, nowMs: NOW_MS, nonce: "0123456789abcdef" });
    // Computed apart from the code under test, with Python's hmac and hashlib.
    expect(headers[SIGNATURE_HEADER]).toBe("v1=4f9cc55b4fdfda4ac7332b14e15b8e27e1bec6d663fc7911941fc2dc7da4492f");
  });

  const changed: [string, object][] = [
    ["body", { body: "the Body" }],
    ["missing body", { body: undefined }],
    ["method", { method: "PUT" }],
    ["path", { path: "/.lbc/gossiq?a=1&b=2" }],
    ["query", { path: "/.lbc/gossip?a=1&b=3" }],
    ["longer query", { path: "/.lbc/gossip?a=1&b=2#c" }],
  ];
  for (const [what, change] of changed) {
    it(`refuses a changed ${what}`, () => {
      const [verifier] = verifierWith();
      expect(verifier.verify({ ...REQUEST, ...change, headers: sign() })).toBe("tampered");
    });
  }

  it("refuses what was signed for another node, or for an earlier run of this one", () => {
    const [verifier] = verifierWith();
    const headers = sign({ to: "5a3c6d2e-0000-4000-8000-000000000002" });
    expect(verifier.verify({ ...REQUEST, headers })).toBe("tampered");
  });

  it("refuses a changed time, a changed nonce and another secret", () => {
    const [verifier] = verifierWith();
    const verdictAfter = (name: string, value: string): AuthVerdict => {
      const headers = sign();
      headers.set(name, value);
      return verifier.verify({ ...REQUEST, headers });
    };
    expect(verdictAfter(DATE_HEADER, String(NOW_MS + 1))).toBe("tampered");
    expect(verdictAfter(NONCE_HEADER, "another-nonce-of-the-test")).toBe("tampered");
    expect(verdictAfter(SIGNATURE_HEADER, `v1=${"0".repeat(64)}`)).toBe("tampered");
    const other = sign({ secret: "another secret, long enough" });
    expect(verifier.verify({ ...REQUEST, headers: other })).toBe("tampered");
    expect(verifier.nonceCount, "refused requests take no memory").toBe(0);
  });

  it("refuses headers that are absent or malformed", () => {
    const [verifier] = verifierWith();
    for (const name of [DATE_HEADER, NONCE_HEADER, SIGNATURE_HEADER]) {
      const headers = sign();
      headers.delete(name);
      expect(verifier.verify({ ...REQUEST, headers }), name).toBe("missing");
    }
    const malformed: [string, string][] = [
      [DATE_HEADER, "yesterday"],
      [DATE_HEADER, "-1"],
      [NONCE_HEADER, "short"],
      [NONCE_HEADER, "x".repeat(129)],
      [SIGNATURE_HEADER, "0".repeat(64)],
      [SIGNATURE_HEADER, "v1="],
      [SIGNATURE_HEADER, `v2=${"0".repeat(64)}`],
    ];
    for (const [name, value] of malformed) {
      const headers = sign();
      headers.set(name, value);
      expect(verifier.verify({ ...REQUEST, headers }), `${name}: ${value}`).toBe("malformed");
    }
  });

  it("refuses what is older or newer than the window", () => {
    const [verifier] = verifierWith({ windowMs: 60_000 });
    const verdictAt = (nowMs: number): AuthVerdict => verifier.verify({ ...REQUEST, headers: sign({ nowMs }) });
    expect(verdictAt(NOW_MS - 60_000)).toBe("ok");
    expect(verdictAt(NOW_MS + 60_000)).toBe("ok");
    expect(verdictAt(NOW_MS - 60_001)).toBe("stale");
    expect(verdictAt(NOW_MS + 60_001)).toBe("stale");
  });

  it("refuses a repetition for as long as it would be accepted", () => {
    const [verifier, clock] = verifierWith({ windowMs: 60_000 });
    const headers = sign({ nowMs: NOW_MS + 60_000 });
    expect(verifier.verify({ ...REQUEST, headers })).toBe("ok");
    expect(verifier.verify({ ...REQUEST, headers })).toBe("replayed");
    clock.nowMs += 120_000;
    expect(verifier.verify({ ...REQUEST, headers })).toBe("replayed");
    clock.nowMs += 1;
    expect(verifier.verify({ ...REQUEST, headers })).toBe("stale");
  });

  it("P10: refuses when the memory is full, and forgets nothing that is still valid", () => {
    const [verifier, clock] = verifierWith({ noncesMax: 3, windowMs: 60_000 });
    const first = sign();
    expect(verifier.verify({ ...REQUEST, headers: first })).toBe("ok");
    for (let i = 0; i < 2; i++) {
      clock.nowMs += 1_000;
      expect(verifier.verify({ ...REQUEST, headers: sign({ nowMs: clock.nowMs }) })).toBe("ok");
    }
    const fourth = sign({ nowMs: clock.nowMs });
    expect(verifier.verify({ ...REQUEST, headers: fourth })).toBe("full");
    expect(verifier.verify({ ...REQUEST, headers: first })).toBe("replayed");
    clock.nowMs = NOW_MS + 60_000;
    expect(verifier.verify({ ...REQUEST, headers: fourth }), "the first is still valid").toBe("full");
    clock.nowMs = NOW_MS + 60_001;
    expect(verifier.verify({ ...REQUEST, headers: fourth }), "room again").toBe("ok");
    expect(verifier.nonceCount).toBe(3);
    expect(verifier.verify({ ...REQUEST, headers: first })).toBe("stale");
  });

  it("does not accept a forgotten request again when the wall clock goes back", () => {
    const [verifier, clock] = verifierWith({ noncesMax: 1, windowMs: 60_000 });
    const first = sign();
    expect(verifier.verify({ ...REQUEST, headers: first })).toBe("ok");
    clock.nowMs += 3_600_000;
    expect(verifier.verify({ ...REQUEST, headers: sign({ nowMs: clock.nowMs }) })).toBe("ok");
    clock.nowMs = NOW_MS;
    expect(verifier.verify({ ...REQUEST, headers: first })).toBe("stale");
  });

  it("shows the secret nowhere", () => {
    const [verifier] = verifierWith();
    const shown = [inspect(verifier, { depth: 9, showHidden: true }), JSON.stringify(verifier)].join();
    expect(shown).not.toContain(SECRET);
    for (const secret of ["", "short secret"]) {
      try {
        sign({ secret });
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({ kind: "invalid", code: "bad_secret" });
        if (secret !== "") expect(inspect(error, { depth: 9 })).not.toContain(secret);
      }
    }
    expect(() => sign({ nonce: "short" })).toThrow(expect.objectContaining({ code: "bad_nonce" }));
  });
});

describe("P9: requireClusterAuth", () => {
  function appWith(options: { noncesMax?: number } = {}): { app: Hono; runs: string[] } {
    const [verifier] = verifierWith(options);
    const runs: string[] = [];
    const app = new Hono();
    app.use("/.lbc/*", requireClusterAuth(verifier, { bodyBytesMax: 100 }));
    app.all("/.lbc/gossip", async (c) => {
      runs.push(c.req.method);
      return c.text(await c.req.text());
    });
    return { app, runs };
  }
  const { method, path, body } = REQUEST;

  it("lets a signed request through, whose body the handler can read", async () => {
    const { app, runs } = appWith();
    const response = await app.request(path, { method, body, headers: sign() });
    expect([response.status, await response.text()]).toEqual([200, body]);
    expect(runs).toEqual(["POST"]);
    expect((await app.request(path, { headers: sign({ method: "GET", body: "" }) })).status).toBe(200);
  });

  it("answers 401 with nothing but the class of the reason, and does not run the handler", async () => {
    const { app, runs } = appWith();
    const headers = sign();
    await app.request(path, { method, body, headers });
    runs.length = 0;
    const refused: [string, RequestInit][] = [
      ["replayed", { method, body, headers }],
      ["missing", { method, body }],
      ["tampered", { method, body: "another", headers: sign() }],
      ["tampered", { method: "PUT", body, headers: sign() }],
      ["stale", { method, body, headers: sign({ nowMs: NOW_MS - 100_000 }) }],
    ];
    for (const [code, init] of refused) {
      const response = await app.request(path, init);
      expect(response.status).toBe(401);
      expect(await response.json()).toEqual({ error: "not authenticated as a member of the cluster", code });
    }
    expect(runs).toEqual([]);
  });

  it("answers 413 to a long body and 503 when the verifier is full", async () => {
    const { app, runs } = appWith({ noncesMax: 1 });
    const long = "x".repeat(101);
    expect((await app.request(path, { method, body: long, headers: sign({ body: long }) })).status).toBe(413);
    expect(runs).toEqual([]);
    expect((await app.request(path, { method, body, headers: sign() })).status).toBe(200);
    expect((await app.request(path, { method, body, headers: sign() })).status).toBe(503);
    expect(runs).toEqual(["POST"]);
  });
});
