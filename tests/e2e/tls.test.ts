/** Clusters of real processes that talk over TLS, in every pairing of runtimes. */
import { mkdtempSync, rmSync } from "node:fs";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { startCluster, untilMembersAre, untilStreaming } from "../support/agent.ts";
import { makeAuthority } from "../support/certificates.ts";
import { testDirectory } from "../support/directory.ts";
import { RUNTIMES } from "../support/runtimes.ts";

const SILENT = { heartbeatIntervalMs: 250_000, sessionTimeoutMs: 600_000, gossipIntervalMs: 60_000 };

interface Shown {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Status of the answer to a client of HTTP/1.1, or why there was none. */
function statusFor(address: string, shown: Shown): Promise<number | string> {
  const [host, port] = address.split(":");
  return new Promise((resolve) => {
    get({ host, port, path: "/.lbc/health/live", agent: false, ...shown }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).on("error", () => resolve("refused"));
  });
}

describe("over TLS", () => {
  const directory = mkdtempSync(join(tmpdir(), "lbc-tls-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const authority = makeAuthority(directory, "ca");
  const identity = authority.issue("node");
  const stranger = makeAuthority(directory, "other-ca").issue("stranger");

  for (const runtime of RUNTIMES) {
    for (const mutual of [false, true]) {
      const how = mutual ? "mutual TLS" : "TLS";
      it(`a leader on ${runtime} and followers on every runtime push, forward and know each other by ${how}`, {
        timeout: 60_000,
      }, async () => {
        const tls = { ...identity, ca: authority.cert, mutual };
        const { leader, others } = await startCluster(
          { store: testDirectory(), settings: SILENT, tls },
          { runtime },
          { runtime: "node", kind: "follower" },
          { runtime: "deno", kind: "follower" },
          { runtime: "bun", kind: "follower" },
        );
        await untilMembersAre("all", [leader, ...others]);
        const written = await untilStreaming(leader, others);
        for (const follower of others) {
          const answer = await follower.ask("forward", { method: "POST", path: "/append", body: follower.runtime });
          expect(answer.status).toBe(200);
          written.push(follower.runtime);
        }
        for (const follower of others) {
          await follower.ask("sync");
          expect((await follower.ask("elements")).elements).toEqual(written);
          const { ca } = tls;
          expect(await statusFor(follower.address, { ca, ...identity })).toBe(200);
          expect(await statusFor(follower.address, { ca })).toBe(mutual ? "refused" : 200);
          expect(await statusFor(follower.address, { ca, ...stranger })).toBe(mutual ? "refused" : 200);
        }
      });
    }
  }
});
