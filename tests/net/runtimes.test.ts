import { afterEach, describe, expect, it } from "vitest";
import { Child, RUNTIMES } from "./support.ts";

const children: Child[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) await child.kill();
});

const LOST = ["outcome_unknown", "peer_lost", true];
const UNAVAILABLE = ["unavailable", "peer_lost", true];
const UNREACHABLE = ["unavailable", "peer_unreachable", false];

/** What `fixtures/client.ts` must see, whatever runs it and the server. */
const EXPECTED = {
  http1: "hello",
  echoes: 200,
  large: 99_999,
  tooLarge: 413,
  ticks: "tick 1\ntick 2\ntick 3\n",
  empty: "",
  signed: [200, 401],
  // A slow answer finishes, a new request is refused, and what outlasts the grace is cut: it may have been processed.
  close: ["finished", UNREACHABLE, LOST],
  death: { post: LOST, get: UNAVAILABLE, rest: UNAVAILABLE, after: UNREACHABLE },
};

describe("one source on three runtimes", () => {
  for (const serverRuntime of RUNTIMES) {
    for (const clientRuntime of RUNTIMES) {
      it(`client on ${clientRuntime}, server on ${serverRuntime}`, { timeout: 40_000 }, async () => {
        const server = new Child(serverRuntime, "server.ts");
        children.push(server);
        const { port, closingPort } = await server.line<{ port: number; closingPort: number }>();
        const client = new Child(clientRuntime, "client.ts", [port, closingPort]);
        children.push(client);
        expect(await client.line(), client.stderr).toEqual(EXPECTED);
        expect(await client.exited, "the client exits by itself").toEqual({ code: 0, signal: null });
        expect((await server.exited).signal).toBe("SIGKILL");
        expect(server.stderr).toBe("");
      });
    }
  }
});
