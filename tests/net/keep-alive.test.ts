import { Agent, get } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { Child, currentRuntime, RUNTIMES, type RuntimeName } from "./support.ts";

const REQUESTS = 30;
const children: Child[] = [];

afterEach(async () => {
  for (const child of children.splice(0)) await child.kill();
});

async function start(runtime: RuntimeName, script: string): Promise<number> {
  const child = new Child(runtime, script);
  children.push(child);
  return (await child.line<{ port: number }>()).port;
}

/** Requests one after the other by a client that keeps its connection where the server allows it; gives how many failed. */
async function failures(port: number, pauseMs: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let failed = 0;
  for (let count = 0; count < REQUESTS; count++) {
    await new Promise<void>((resolve) => {
      const request = get({ host: "127.0.0.1", port, path: "/hello", agent }, (response) => {
        response.resume();
        response.once("end", resolve);
        response.once("error", () => resolve());
      });
      request.once("error", () => {
        failed++;
        resolve();
      });
    });
    await sleep(pauseMs);
  }
  agent.destroy();
  return failed;
}

/** Whether a connection ends by itself, within `waitMs`, after an answer on it. */
async function afterAnswer(port: number, waitMs: number): Promise<{ answer: string; isEnded: boolean }> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const ended = new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));
  socket.write("GET /hello HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
  const answer = await new Promise<string>((resolve) => socket.once("data", (data) => resolve(String(data))));
  const isEnded = await Promise.race([ended, sleep(waitMs, false)]);
  socket.destroy();
  return { answer, isEnded };
}

// The client is Node's: what another runtime's makes of a reset is not the question.
describe.skipIf(currentRuntime() !== "node")("HTTP/1.1 clients that keep their connection", () => {
  for (const runtime of RUNTIMES) {
    it(`lose no request to a server on ${runtime}`, { timeout: 20_000 }, async () => {
      const port = await start(runtime, "server.ts");
      expect(await failures(port, 0)).toBe(0);
      expect(await failures(port, 2)).toBe(0);
    });
  }

  it("would, on Deno, without the workaround: the connection ends after the answer that announced to keep it", {
    timeout: 20_000,
  }, async () => {
    const port = await start("deno", "handed-over.ts");
    const { answer, isEnded } = await afterAnswer(port, 10_000);
    expect(answer).toMatch(/^HTTP\/1\.1 200/);
    expect(answer).not.toMatch(/connection: close/i);
    expect(isEnded, "this Deno keeps the connection: the workaround in src/net/serve-request.ts can go").toBe(true);
  });
});
