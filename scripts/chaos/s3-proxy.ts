/** An HTTP server before the real S3 server, which does to requests what networks and providers do. */
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const HOST = "127.0.0.1";

/** What becomes of one request; without any, it is passed on. */
export type RequestFault =
  | { readonly kind: "answer"; readonly status: number; readonly code: string }
  | { readonly kind: "delay"; readonly ms: number }
  /** The connection is reset, and the server never hears of it. */
  | { readonly kind: "reset" }
  /** It takes effect; then the connection is reset. */
  | { readonly kind: "lose_answer" }
  /** The connection is reset at once, and the request takes effect so much later. */
  | { readonly kind: "land_later"; readonly ms: number }
  /** The answer ends in the middle of its body. */
  | { readonly kind: "truncate" }
  /** No answer until the fault is over. */
  | { readonly kind: "hang" };

export class S3Proxy {
  /** Asked about each request. */
  faultOf: (method: string) => RequestFault | undefined = () => undefined;
  /** How often each fault was done. */
  readonly done: Map<string, number> = new Map();
  readonly #target: URL;
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: true });
  readonly #hanging = new Set<ServerResponse>();
  readonly #landing = new Set<Promise<unknown>>();
  #port = 0;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, outgoing) => void this.#serve(incoming, outgoing));
  }

  static async open(target: string): Promise<S3Proxy> {
    const proxy = new S3Proxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, HOST, resolve));
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  get endpoint(): string {
    return `http://${HOST}:${this.#port}`;
  }

  heal(): void {
    this.faultOf = () => undefined;
    for (const outgoing of this.#hanging) outgoing.destroy();
    this.#hanging.clear();
  }

  /** Resolves when nothing is on its way any more that may take effect. */
  async settled(): Promise<void> {
    await Promise.all(this.#landing);
  }

  async close(): Promise<void> {
    this.heal();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
    await this.settled();
    this.#agent.destroy();
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    try {
      for await (const piece of incoming) pieces.push(piece);
    } catch {
      return;
    }
    const body = Buffer.concat(pieces);
    const fault = this.faultOf(incoming.method ?? "GET");
    if (fault !== undefined) this.done.set(fault.kind, (this.done.get(fault.kind) ?? 0) + 1);
    switch (fault?.kind) {
      case "answer":
        outgoing.writeHead(fault.status, { "content-type": "application/xml", date: new Date().toUTCString() });
        outgoing.end(`<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>on purpose</Message></Error>`);
        return;
      case "reset":
        incoming.socket.resetAndDestroy();
        return;
      case "hang":
        this.#hanging.add(outgoing);
        return;
      case "land_later":
        incoming.socket.resetAndDestroy();
        await sleepAndPass(fault.ms, () => this.#pass(incoming, body, () => {}), this.#landing);
        return;
      case "delay":
        await sleep(fault.ms);
        break;
    }
    await this.#pass(incoming, body, (answer, bytes) => {
      if (fault?.kind === "lose_answer") return incoming.socket.resetAndDestroy();
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      if (fault?.kind !== "truncate" || bytes.length === 0) return outgoing.end(bytes);
      return outgoing.write(bytes.subarray(0, bytes.length >> 1), () => incoming.socket.destroy());
    }).catch(() => incoming.socket.destroy());
  }

  async #pass(
    { method = "GET", url: path, headers }: IncomingMessage,
    body: Buffer,
    onAnswer: (answer: IncomingMessage, bytes: Buffer) => void,
  ): Promise<void> {
    const { hostname, port } = this.#target;
    const options = { hostname, port, method, path: path ?? "/", headers, agent: this.#agent };
    const passing = new Promise<void>((resolve, reject) => {
      const onward = request(options, (answer) => {
        const pieces: Buffer[] = [];
        answer.on("data", (piece) => pieces.push(piece));
        answer.on("error", reject);
        answer.on("end", () => {
          onAnswer(answer, Buffer.concat(pieces));
          resolve();
        });
      });
      onward.on("error", reject);
      onward.end(body);
    });
    await keptIn(this.#landing, passing);
  }
}

async function sleepAndPass(ms: number, pass: () => Promise<void>, landing: Set<Promise<unknown>>): Promise<void> {
  await keptIn(
    landing,
    sleep(ms).then(() => pass().catch(() => {})),
  );
}

async function keptIn(set: Set<Promise<unknown>>, promise: Promise<void>): Promise<void> {
  const kept = promise.catch(() => {});
  set.add(kept);
  try {
    await promise;
  } finally {
    set.delete(kept);
  }
}
