import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** A request as the proxy got it. */
export interface ProxiedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

/** What the proxy does with a request; `undefined` passes it on. */
export type ProxyAction =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** Announces more bytes than it sends. */
  | {
      readonly kind: "truncate";
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly sent: number;
    }
  /** Passes the request on and breaks the connection instead of answering. */
  | { readonly kind: "lose_answer" }
  | { readonly kind: "hang" };

/** A real HTTP server on loopback that answers by a script or passes requests on to a real S3 server. */
export class FaultProxy {
  readonly requests: ProxiedRequest[] = [];
  /** Connections that clients have opened. */
  connections = 0;
  onRequest: (request: ProxiedRequest) => ProxyAction | undefined = () => undefined;
  readonly #target: URL | undefined;
  readonly #server: Server;
  #port = 0;

  private constructor(target: string | undefined) {
    this.#target = target === undefined ? undefined : new URL(target);
    this.#server = createServer((incoming, outgoing) => void this.#serve(incoming, outgoing));
    this.#server.on("connection", () => this.connections++);
  }

  /** Ends with the test that started it. */
  static async start(target?: string): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    onTestFinished(() => proxy.stop());
    return proxy;
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    try {
      for await (const piece of incoming) pieces.push(piece);
    } catch {
      return;
    }
    const { method = "GET", url = "/", headers } = incoming;
    const proxied = { method, url, headers, body: Buffer.concat(pieces) };
    this.requests.push(proxied);
    const action = this.onRequest(proxied);
    switch (action?.kind) {
      case "answer":
        outgoing.writeHead(action.status, { date: new Date().toUTCString(), ...action.headers });
        outgoing.end(action.body);
        return;
      case "truncate":
        outgoing.writeHead(action.status, { "content-length": String(action.sent * 2), ...action.headers });
        outgoing.write(Buffer.alloc(action.sent), () => outgoing.destroy());
        return;
      case "hang":
        return;
      default:
        this.#passOn(proxied, outgoing, action?.kind === "lose_answer");
    }
  }

  #passOn(proxied: ProxiedRequest, outgoing: ServerResponse, losesAnswer: boolean): void {
    const { hostname, port } = this.#target as URL;
    const { method, url: path, headers } = proxied;
    const onward = request({ hostname, port, method, path, headers }, (answer) => {
      if (losesAnswer) {
        answer.resume().on("end", () => outgoing.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    });
    onward.on("error", () => outgoing.destroy());
    onward.end(proxied.body);
  }
}
