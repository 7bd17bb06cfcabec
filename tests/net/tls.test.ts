import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Peer } from "../../src/net/peer.ts";
import { refusalOf } from "../../src/net/peer-error.ts";
import { type Listener, listen } from "../../src/net/server.ts";
import type { ClientTls } from "../../src/net/tls.ts";

const closers: (() => unknown)[] = [];
const folder = mkdtempSync(join(tmpdir(), "lbc-tls-"));

function openssl(...args: string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
}

const EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

function makeAuthority(name: string): void {
  const constraint = ["-addext", "basicConstraints=critical,CA:TRUE"];
  openssl(
    "req",
    "-x509",
    ...EC_KEY,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.pem`,
    "-subj",
    `/CN=${name}`,
    ...constraint,
  );
}

function makeCertificate(name: string, authority: string): void {
  writeFileSync(join(folder, "san"), "subjectAltName=IP:127.0.0.1");
  openssl("req", ...EC_KEY, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
  const signing = ["-CA", `${authority}.pem`, "-CAkey", `${authority}.key`, "-CAcreateserial", "-extfile", "san"];
  openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.pem`, ...signing);
}

function pem(file: string): string {
  return readFileSync(join(folder, file), "utf8");
}

function identity(name: string): { cert: string; key: string } {
  return { cert: pem(`${name}.pem`), key: pem(`${name}.key`) };
}

beforeAll(() => {
  makeAuthority("ca");
  makeAuthority("other-ca");
  makeCertificate("server", "ca");
  makeCertificate("client", "ca");
  makeCertificate("stranger", "other-ca");
});

afterAll(() => rmSync(folder, { recursive: true }));

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(mutual: boolean): Promise<Listener> {
  const listener = await listen({
    host: "127.0.0.1",
    port: 0,
    tls: { ...identity("server"), ...(mutual ? { clientCa: pem("ca.pem") } : {}) },
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
    const ca = pem("ca.pem");
    expect(await ask(listener, { ca })).toEqual({ protocol: "h2", encrypted: true, authorized: false });
    expect(await askHttp1(listener, { ca })).toEqual({ protocol: "http/1.1", encrypted: true, authorized: false });
  });

  it("does not talk to a server whose certificate another authority signed", async () => {
    const refusal = await ask(await serve(false), { ca: pem("other-ca.pem") }).catch((error: unknown) => error);
    expect(refusal).toMatchObject(UNREACHABLE);
    expect(refusalOf(refusal)).toBeUndefined();
  });

  it("P9: mutual TLS lets in only clients with a certificate of the authority", async () => {
    const listener = await serve(true);
    const ca = pem("ca.pem");
    const member = { ca, ...identity("client") };
    expect(await ask(listener, member)).toEqual({ protocol: "h2", encrypted: true, authorized: true });
    expect(await askHttp1(listener, member)).toEqual({ protocol: "http/1.1", encrypted: true, authorized: true });
    for (const outsider of [{ ca }, { ca, ...identity("stranger") }]) {
      const refusal = await ask(listener, outsider).catch((error: unknown) => error);
      expect(refusal).toMatchObject(UNREACHABLE);
      expect(refusalOf(refusal), "somebody serves there: not for a standby to replace").toBeUndefined();
      await expect(askHttp1(listener, outsider)).rejects.toThrow();
    }
  });
});
