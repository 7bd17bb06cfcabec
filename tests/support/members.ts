/** Members of a cluster that are nothing but listeners, for tests of the clients that talk to them. */
import { onTestFinished } from "vitest";
import type { Leader } from "../../src/format/system-rows.ts";
import { type FetchHandler, type Listener, listen } from "../../src/net/server.ts";
import { systemTransport } from "../../src/net/transport.ts";
import type { MemberClientParts } from "../../src/node/member-request.ts";
import { PeerPool } from "../../src/node/peer-pool.ts";
import { systemClock, systemRandom } from "../../src/platform/system.ts";
import type { Member } from "../../src/protocol/roster.ts";

/** The uuid of the node whose clients are tested. */
export const SELF = "self";

export interface TestMember {
  readonly member: Member;
  readonly leader: Leader;
  readonly listener: Listener;
  /** `METHOD path` of what arrived, in order. */
  readonly arrived: readonly string[];
}

/** A listener that answers with its name, or as it is told. */
export async function startMember(
  uuid: string,
  {
    az = "A",
    roles = ["worker"],
    port = 0,
    fetch,
  }: { az?: string; roles?: string[]; port?: number; fetch?: FetchHandler } = {},
): Promise<TestMember> {
  const arrived: string[] = [];
  const listener = await listen({
    host: "127.0.0.1",
    port,
    fetch: async (request, info) => {
      arrived.push(`${request.method} ${new URL(request.url).pathname}`);
      return fetch === undefined ? new Response(uuid) : await fetch(request, info);
    },
  });
  onTestFinished(() => listener.close(0));
  const address = `127.0.0.1:${listener.port}`;
  return { member: memberAt(uuid, address, az, roles), leader: { uuid, az, address }, listener, arrived };
}

export function memberAt(uuid: string, address: string, az: string = "A", roles: string[] = ["worker"]): Member {
  const startedAt = "2026-01-01T00:00:00Z";
  return { uuid, az, address, roles, role: "follower", runtime: "test", version: "0", epoch: 0, lagMs: 0, startedAt };
}

/** What the clients of a node need, with real connections; the signature is the text that would be signed. */
export function clientParts(serve: MemberClientParts["serve"] = () => new Response(SELF)): MemberClientParts {
  const pool = new PeerPool({ clock: systemClock, random: systemRandom, transport: systemTransport, scheme: "http" });
  onTestFinished(() => pool.close(0));
  const settings = { clock: systemClock, random: systemRandom } as MemberClientParts["parts"]["settings"];
  let attempts = 0;
  return {
    parts: { settings } as MemberClientParts["parts"],
    pool,
    uuid: SELF,
    serve,
    sign: (method, path, body, to) => ({
      "x-signed": `${++attempts} ${method} ${path} ${new TextDecoder().decode(body as Uint8Array)} ${to}`,
    }),
  };
}

/** Ends every connection that is made to it, at once. */
export async function startDead(uuid: string, az?: string): Promise<Member> {
  const { member, listener } = await startMember(uuid, az === undefined ? {} : { az });
  await listener.close(0);
  return member;
}
