import { mkdtempSync, rmSync } from "node:fs";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { Peer } from "../../src/net/peer.ts";
import { refusalOf } from "../../src/net/peer-error.ts";
import { type Listener, listen } from "../../src/net/server.ts";
import type { ClientTls } from "../../src/net/tls.ts";
import { makeAuthority } from "../support/certificates.ts";

const closers: (() => unknown)[] = [];
const folder = mkdtempSync(join(tmpdir(), "lbc-tls-"));
const authority = makeAuthority(folder, "ca");
const otherAuthority = makeAuthority(folder, "other-ca");
const [server, client] = [authority.issue("server"), authority.issue("client")];
const stranger = otherAuthority.issue("stranger");
const ca = authority.cert;

afterAll(() => rmSync(folder, { recursive: true }));

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(mutual: boolean): Promise<Listener> {
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    tls: { ...server, ...(mutual ? { clientCa: ca } : {}) },
    fetch: (_request, { authorized, encrypted, protocol }) => Response.json({ protocol, encrypted, authorized }),
  });
  closers.push(() => listener.close(0));
  return listener;
}

async function ask(listener: Listener, tls: ClientTls): Promise<unknown> {
  const peer = new Peer(`https://127.0.0.1:${listener.port}`, { tls });
  closers.push(() => peer.close(0));
  return (await peer.request({ path: "/" })).json();
}

function askHttp1(listener: Listener, tls: ClientTls): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port: listener.port,
      ALPNProtocols: ["http/1.1"],
      agent: false as const,
      ...tls,
    };
    get(options, (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve(JSON.parse(text)));
    }).on("error", reject);
  });
}

const UNREACHABLE = { kind: "unavailable", code: "peer_unreachable" };

describe("TLS", () => {
  it("serves both protocols on one port, and calls nobody authorized who showed no certificate", async () => {
    const listener = await serve(false);
    expect(await ask(listener, { ca })).toEqual({ protocol: "h2", encrypted: true, authorized: false });
    expect(await askHttp1(listener, { ca })).toEqual({ protocol: "http/1.1", encrypted: true, authorized: false });
  });

  it("does not talk to a server whose certificate another authority signed", async () => {
    const refusal = await ask(await serve(false), { ca: otherAuthority.cert }).catch((error: unknown) => error);
    expect(refusal).toMatchObject(UNREACHABLE);
    expect(refusalOf(refusal)).toBeUndefined();
  });

  it("P9: mutual TLS lets in only clients with a certificate of the authority", async () => {
    const listener = await serve(true);
    const member = { ca, ...client };
    expect(await ask(listener, member)).toEqual({ protocol: "h2", encrypted: true, authorized: true });
    expect(await askHttp1(listener, member)).toEqual({ protocol: "http/1.1", encrypted: true, authorized: true });
    for (const outsider of [{ ca }, { ca, ...stranger }]) {
      const refusal = await ask(listener, outsider).catch((error: unknown) => error);
      expect(refusal).toMatchObject(UNREACHABLE);
      expect(refusalOf(refusal), "somebody serves there: not for a standby to replace").toBeUndefined();
      await expect(askHttp1(listener, outsider)).rejects.toThrow();
    }
  });
});
