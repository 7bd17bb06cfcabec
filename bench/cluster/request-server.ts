/**
 * The side of `requests.ts` that answers: leads a cluster in the given directory, and serves the same application over
 * HTTP/1.1 by the runtime's own server. Prints `{"http1Port"}`; ends with its standard input.
 */
import process from "node:process";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { FileSystemStore, LittleBigCluster } from "../../src/mod.ts";

const app = new Hono().post("/jobs", async (c) => {
  const job = await c.req.json<{ name: string }>();
  return c.json({ accepted: true, name: job.name });
});

interface OtherRuntimes {
  readonly Deno?: {
    serve(options: object, fetch: (request: Request) => Response | Promise<Response>): { addr: { port: number } };
  };
  readonly Bun?: { serve(options: object): { port: number } };
}

/**
 * The fastest HTTP/1.1 server that the runtime has. Not `listen()`: on Deno that one has to end each connection with
 * its answer, and `fetch` would be measured connecting.
 */
async function serveHttp1(): Promise<number> {
  const { Bun, Deno } = globalThis as OtherRuntimes;
  const address = { hostname: "127.0.0.1", port: 0 };
  if (Deno !== undefined)
    return Deno.serve({ ...address, onListen: () => {} }, (request) => app.fetch(request)).addr.port;
  if (Bun !== undefined) return Bun.serve({ ...address, fetch: (request: Request) => app.fetch(request) }).port;
  return new Promise((resolve) => {
    serve({ ...address, fetch: app.fetch, overrideGlobalObjects: false }, ({ port }) => resolve(port));
  });
}

const http1Port = await serveHttp1();
const cluster = new LittleBigCluster({ id: "bench", store: new FileSystemStore(process.argv[2] ?? "") });
await cluster.init();
const node = await cluster.joinAsLeader({ address: "127.0.0.1:0", leaderApp: app });
await node.waitForLeadership();
process.stdout.write(`${JSON.stringify({ http1Port })}\n`);
process.stdin.resume();
process.stdin.on("end", () => {
  void node.shutdown().then(() => process.exit(0));
});
