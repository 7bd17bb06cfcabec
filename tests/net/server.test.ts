import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Hono } from "hono";
import { afterEach, describe, expect, it } from "vitest";
import type { LogEvent } from "../../src/base/log.ts";
import { Peer } from "../../src/net/peer.ts";
import {
  type ConnectionInfo,
  type FetchHandler,
  type Listener,
  type ListenOptions,
  listen,
} from "../../src/net/server.ts";
import { deferred, until } from "./support.ts";

const closers: (() => unknown)[] = [];
const events: LogEvent[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  events.length = 0;
});

async function serve(fetch: FetchHandler, options: Partial<ListenOptions> = {}): Promise<Listener> {
  const log = (event: LogEvent): void => void events.push(event);
  const listener = await listen({ host: "127.0.0.1", port: 0, fetch, log, ...options });
  closers.push(() => listener.close(0));
  return listener;
}

function peerOf(listener: Listener): Peer {
  const peer = new Peer(`http://127.0.0.1:${listener.port}`);
  closers.push(() => peer.close(0));
  return peer;
}

function urlOf(listener: Listener, path: string): string {
  return `http://127.0.0.1:${listener.port}${path}`;
}

/** The same request over both protocols. */
type Send = (path: string, init?: RequestInit) => Promise<Response>;
function bothWays(listener: Listener): [string, Send][] {
  const peer = peerOf(listener);
  return [
    ["http/1.1", (path, init) => fetch(urlOf(listener, path), init)],
    ["h2", (path, init) => peer.fetch(path, init)],
  ];
}

async function rawSocket(listener: Listener): Promise<{ socket: Socket; received: () => string }> {
  const socket = connect(listener.port, "127.0.0.1");
  closers.push(() => socket.destroy());
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk;
  });
  socket.on("error", () => {});
  await once(socket, "connect");
  return { socket, received: () => received };
}

describe("one port for HTTP/1.1 and HTTP/2", () => {
  it("answers both, and tells the handler which it is", async () => {
    const infos: ConnectionInfo[] = [];
    const listener = await serve(async (request, info) => {
      infos.push({ ...info });
      return Response.json({ method: request.method, url: request.url, body: await request.text() });
    });
    for (const [protocol, send] of bothWays(listener)) {
      const response = await send("/a?b=c", { method: "POST", body: "hello" });
      expect(response.headers.get("content-length"), protocol).not.toBeNull();
      expect(await response.json()).toEqual({ method: "POST", url: urlOf(listener, "/a?b=c"), body: "hello" });
      const info = infos.pop();
      expect(info).toMatchObject({ protocol, remoteAddress: "127.0.0.1", encrypted: false, authorized: false });
      expect(info?.remotePort).toBeGreaterThan(0);
    }
  });

  it("passes headers, cookies, and answers without a body", async () => {
    const app = new Hono();
    app.get("/headers", (c) => {
      c.header("set-cookie", "a=1");
      c.header("set-cookie", "b=2", { append: true });
      c.header("connection", "keep-alive");
      return c.text(c.req.header("x-test") ?? "");
    });
    app.get("/nothing", (c) => c.body(null, 204));
    const listener = await serve(app.fetch);
    for (const [protocol, send] of bothWays(listener)) {
      const response = await send("/headers", { headers: { "x-test": "yes" } });
      expect([await response.text(), response.headers.getSetCookie()], protocol).toEqual(["yes", ["a=1", "b=2"]]);
      expect((await send("/nothing")).status).toBe(204);
      const head = await send("/headers", { method: "HEAD" });
      expect([head.status, await head.text()]).toEqual([200, ""]);
      expect((await send("/absent")).status).toBe(404);
    }
  });

  it("flushes a streaming answer as it is written", async () => {
    let written: ReadableStreamDefaultController<Uint8Array> | undefined;
    const listener = await serve(
      () =>
        new Response(
          new ReadableStream<Uint8Array>({
            start(controller) {
              written = controller;
            },
          }),
        ),
    );
    for (const [protocol, send] of bothWays(listener)) {
      const response = await send("/");
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      // Each chunk is read before the next is written: this hangs if anything waits for more.
      for (const word of ["one", "two", "three"]) {
        written?.enqueue(new TextEncoder().encode(word));
        expect(new TextDecoder().decode((await reader.read()).value), protocol).toBe(word);
      }
      written?.close();
      expect((await reader.read()).done).toBe(true);
    }
  });

  it("aborts the request's signal when the client goes away, in the handler and in the stream", async () => {
    let aborted = deferred();
    let cancelled = deferred();
    let arrived = deferred();
    const listener = await serve((request) => {
      request.signal.addEventListener("abort", () => aborted.resolve());
      arrived.resolve();
      if (new URL(request.url).pathname === "/hang") return new Promise<Response>(() => {});
      return new Response(new ReadableStream({ pull: () => sleep(5), cancel: () => cancelled.resolve() }));
    });
    const attempts: [string, RequestInit][] = [
      ["/hang", {}],
      ["/hang", { method: "POST", body: "x" }],
      ["/stream", {}],
    ];
    for (const [, send] of bothWays(listener)) {
      for (const [path, init] of attempts) {
        [aborted, cancelled, arrived] = [deferred(), deferred(), deferred()];
        const controller = new AbortController();
        const sent = send(path, { ...init, signal: controller.signal }).then((response) => response.text());
        await arrived.promise;
        await sleep(20);
        controller.abort();
        await expect(sent).rejects.toMatchObject({ name: "AbortError" });
        await aborted.promise;
        if (path === "/stream") await cancelled.promise;
      }
    }
  });

  it("stops producing for a client that does not read", { timeout: 20_000 }, async () => {
    let produced = 0;
    const chunk = new Uint8Array(65_536);
    const listener = await serve(
      () =>
        new Response(
          new ReadableStream({
            pull(controller) {
              produced += 1;
              if (produced > 1_000) controller.close();
              else controller.enqueue(chunk);
            },
          }),
        ),
    );
    const response = await peerOf(listener).request({ path: "/" });
    await sleep(300);
    expect(produced).toBeLessThan(500);
    expect((await response.bytes()).length).toBe(1_000 * chunk.length);
  });
});

describe("P10: limits", () => {
  it("answers 413 to a body over the limit, announced or not, whatever the handler does with it", async () => {
    let handled = 0;
    const app = new Hono();
    app.onError((error, c) => c.text(error.message, 500));
    app.post("/", async (c) => {
      handled += 1;
      return c.text(String((await c.req.arrayBuffer()).byteLength));
    });
    const listener = await serve(app.fetch, { limits: { bodyBytesMax: 1_000 } });
    for (const [protocol, send] of bothWays(listener)) {
      const fits = await send("/", { method: "POST", body: new Uint8Array(1_000) });
      expect([fits.status, await fits.text()], protocol).toEqual([200, "1000"]);
      handled = 0;
      const announced = await send("/", { method: "POST", body: new Uint8Array(1_001) });
      expect(announced.status).toBe(413);
      expect(await announced.json()).toEqual({ error: "the request's body is longer than 1000 bytes" });
      expect(handled, "an announced length is refused before the handler").toBe(0);
    }
    const { socket, received } = await rawSocket(listener);
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for (let i = 0; i < 3; i++) socket.write(`190\r\n${"x".repeat(0x190)}\r\n`);
    await until(() => received().includes("413"), "413 to a chunked body");
  });

  it("lets a chunked body within the limit through", async () => {
    const listener = await serve(async (request) => new Response(await request.text()));
    const { socket, received } = await rawSocket(listener);
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    socket.write("3\r\ndef\r\n0\r\n\r\n");
    await until(() => received().includes("abcdef"), "the answer");
  });

  it("refuses headers over the limit", async () => {
    const listener = await serve(() => new Response("ok"), { limits: { headerBytesMax: 4_000 } });
    for (const [protocol, send] of bothWays(listener)) {
      expect((await send("/", { headers: { "x-test": "x".repeat(2_000) } })).status, protocol).toBe(200);
      const response = await send("/", { headers: { "x-test": "x".repeat(5_000) } }).catch(() => undefined);
      expect([431, undefined], protocol).toContain(response?.status);
    }
  });

  it("answers 400 to stray bytes and drops silent connections", async () => {
    const listener = await serve(() => new Response("ok"), { limits: { sniffTimeoutMs: 50, idleTimeoutMs: 50 } });
    const stray = await rawSocket(listener);
    stray.socket.write("\x16\x03\x01 what is this\r\n\r\n");
    await until(() => stray.received().startsWith("HTTP/1.1 400"), "400");
    for (const beginning of ["", "PRI * HT", "GET / HTTP/1.1\r\nx-slow: "]) {
      const silent = await rawSocket(listener);
      if (beginning !== "") silent.socket.write(beginning);
      await once(silent.socket, "close");
    }
  });

  it("reads a preface that arrives byte by byte", async () => {
    const listener = await serve(() => new Response("ok"));
    const { socket, received } = await rawSocket(listener);
    socket.setNoDelay(true);
    for (const byte of "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
      socket.write(byte);
      await sleep(1);
    }
    socket.write(new Uint8Array([0, 0, 0, 4, 0, 0, 0, 0, 0]));
    // The server's own SETTINGS frame: type 4 at offset 3.
    await until(() => received().length > 9, "the server's settings");
    expect(received().charCodeAt(3)).toBe(4);
  });

  it("closes connections beyond the limit", async () => {
    const listener = await serve(() => new Response("ok"), { limits: { connectionsMax: 1 } });
    const { socket } = await rawSocket(listener);
    const second = connect(listener.port, "127.0.0.1").on("error", () => {});
    await once(second, "close");
    expect(socket.destroyed).toBe(false);
  });
});

describe("a handler that fails", () => {
  it("gives 500 with nothing of the cause, and is logged", async () => {
    const handlers: Record<string, FetchHandler> = {
      "/throws": () => {
        throw new Error("inner secret");
      },
      "/rejects": () => Promise.reject(new Error("inner secret")),
      "/nothing": () => undefined as unknown as Response,
      "/early": () => new Response(new ReadableStream({ start: (c) => c.error(new Error("inner secret")) })),
    };
    const listener = await serve((request, info) => {
      const handler = handlers[new URL(request.url).pathname] as FetchHandler;
      return handler(request, info);
    });
    for (const [protocol, send] of bothWays(listener)) {
      for (const path of Object.keys(handlers)) {
        const response = await send(path);
        expect([response.status, await response.json()], `${protocol} ${path}`).toEqual([
          500,
          { error: "internal error" },
        ]);
        expect(events.pop()).toMatchObject({ level: "error", method: "GET", path });
      }
    }
  });

  it("cuts off an answer whose body fails, so that no client takes it for whole", async () => {
    const listener = await serve(() => {
      let chunks = 0;
      const body = new ReadableStream({
        async pull(controller) {
          await sleep(10);
          chunks += 1;
          if (chunks < 3) controller.enqueue(new TextEncoder().encode("part"));
          else controller.error(new Error("inner secret"));
        },
      });
      return new Response(body);
    });
    for (const [protocol, send] of bothWays(listener)) {
      const response = await send("/");
      expect(response.status).toBe(200);
      await expect(response.text(), protocol).rejects.toThrow();
      expect(events.pop()).toMatchObject({ event: "http_answer_failed" });
    }
  });
});

describe("a client that goes away in the middle of its request", () => {
  it("is nobody's mistake: what its handler fails with is no error in the log", async () => {
    const arrived = deferred();
    const listener = await serve(async (request) => {
      arrived.resolve();
      return new Response(await request.text());
    });
    const { socket } = await rawSocket(listener);
    socket.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it");
    await arrived.promise;
    events.length = 0;
    socket.destroy();
    await until(() => events.length > 0, "the event");
    expect(events).toMatchObject([{ level: "debug", event: "http_handler_failed" }]);
  });
});

describe("Listener.close", () => {
  it("lets a slow answer finish, refuses new ones, and can be called twice", async () => {
    let finish = deferred();
    let arrived = deferred();
    for (const protocol of ["http/1.1", "h2"]) {
      [finish, arrived] = [deferred(), deferred()];
      const listener = await serve(async () => {
        arrived.resolve();
        await finish.promise;
        return new Response("finished");
      });
      const send = bothWays(listener).find(([name]) => name === protocol)?.[1] as Send;
      const slow = send("/slow").then((response) => response.text());
      await arrived.promise;
      const closed = listener.close(10_000);
      const again = listener.close(10_000);
      await expect(fetch(urlOf(listener, "/new"))).rejects.toThrow();
      await expect(peerOf(listener).request({ path: "/new" })).rejects.toMatchObject({ code: "peer_unreachable" });
      finish.resolve();
      expect(await slow, protocol).toBe("finished");
      await closed;
      await again;
    }
  });

  it("ends an HTTP/1.1 connection whose answer had begun before, once that is whole", async () => {
    let written: ReadableStreamDefaultController<Uint8Array> | undefined;
    const listener = await serve(
      () =>
        new Response(
          new ReadableStream<Uint8Array>({
            start(controller) {
              written = controller;
            },
          }),
        ),
    );
    const { socket, received } = await rawSocket(listener);
    socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await until(() => received().includes("200 OK"), "the head");
    expect(received()).not.toContain("connection: close");
    const closed = listener.close(60_000);
    written?.enqueue(new TextEncoder().encode("the rest"));
    written?.close();
    await closed;
    await until(() => received().endsWith("the rest\r\n0\r\n\r\n"), "the end of the answer");
  });

  it("cuts off what is left after the grace", async () => {
    const listener = await serve(() => new Promise<Response>(() => {}));
    const outcomes = bothWays(listener).map(([, send]) =>
      send("/", { method: "POST", body: "x" }).catch((error) => error),
    );
    const peer = peerOf(listener);
    const sent = peer.request({ path: "/", method: "POST" }).catch((error) => error);
    await until(() => peer.inFlight === 1, "the request is sent");
    await sleep(50);
    await listener.close(50);
    for (const outcome of outcomes) expect(await outcome).toBeInstanceOf(Error);
    expect(await sent).toMatchObject({ kind: "outcome_unknown", code: "peer_lost", details: { sent: true } });
  });

  it("ends silent, idle and half-open connections at once", async () => {
    const listener = await serve(() => new Response("ok"));
    await rawSocket(listener);
    const idle = await rawSocket(listener);
    idle.socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await until(() => idle.received().includes("ok"), "the answer");
    const peer = peerOf(listener);
    await peer.connect();
    await listener.close(60_000);
    await until(() => peer.state === "idle", "the peer noticed");
  });
});

describe("listen", () => {
  const fetchNothing: FetchHandler = () => new Response();

  it("names an address in use, and says what to do", async () => {
    const { port } = await serve(fetchNothing);
    await expect(listen({ host: "127.0.0.1", port, fetch: fetchNothing })).rejects.toMatchObject({
      kind: "invalid",
      code: "address_in_use",
      message: expect.stringMatching(new RegExp(`127\\.0\\.0\\.1:${port}.*port 0`)),
    });
  });

  it("names an address that this machine does not have, and an unknown host", async () => {
    const elsewhere = listen({ host: "192.0.2.1", port: 0, fetch: fetchNothing });
    await expect(elsewhere).rejects.toMatchObject({ kind: "invalid", code: "address_not_available" });
    const unknown = listen({ host: "no-such-host.invalid", port: 0, fetch: fetchNothing });
    await expect(unknown).rejects.toMatchObject({ kind: "invalid", code: "host_unknown" });
  });
});
