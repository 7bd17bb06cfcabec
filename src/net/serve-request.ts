import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Log } from "../base/log.ts";
import { errorMessage } from "../errors.ts";
import { type ConnectionInfo, connectionInfo, type NodeBindings } from "./connection-info.ts";
import { BodyTooLarge, limitBody, mayHaveBody, parseLength, replaceBody } from "./request-body.ts";
import type { ServerLimits } from "./server-limits.ts";
import { TurnGate } from "./turn-gate.ts";
import { writeResponse } from "./write-response.ts";

/** Answers a request; a Hono application's `app.fetch` is one. */
export type FetchHandler = (request: Request, info: ConnectionInfo) => Response | Promise<Response>;

/** HTTP/2 counts 32 bytes of overhead a header (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE). */
const HEADER_OVERHEAD_BYTES = 32;

/**
 * On Deno (2.9.5, 2.9.6) a `node:http` server resets a connection that it was handed, with its first bytes put back, a
 * moment after its first answer, though it has announced to keep it open: a client's next request is lost. So there
 * each answer says that the connection ends with it. Nodes talk HTTP/2 with each other, which is not concerned.
 *
 * `tests/net/keep-alive.test.ts` shows the reset without us, and fails once a release of Deno no longer does it.
 */
const KEEPS_HTTP1_OPEN = !("Deno" in globalThis);

/** Measured: fewer cost throughput of one connection, more cost that of 64 requests in flight. */
const REQUESTS_PER_TURN = 8;

/** What serving a request needs. */
export interface RequestServerOptions {
  readonly fetch: FetchHandler;
  readonly limits: ServerLimits;
  readonly log: Log;
  /** Clients had to show a certificate. */
  readonly mutualTls: boolean;
  /** True once the connections should end with their answers. */
  readonly isClosing: () => boolean;
}

/** Serves one request: limits, handler, answer. Never throws. */
export class RequestServer {
  readonly #options: RequestServerOptions;
  readonly #gate = new TurnGate(REQUESTS_PER_TURN);

  constructor(options: RequestServerOptions) {
    this.#options = options;
  }

  async serve(request: Request, bindings: NodeBindings): Promise<Response> {
    const turn = this.#gate.enter();
    if (turn !== undefined) await turn;
    if (isGivenUp(bindings)) return RESPONSE_ALREADY_SENT;
    const info = connectionInfo(bindings, this.#options.mutualTls);
    const response = this.#refusal(info) ?? (await this.#handle(request, info));
    if (response.headers.has("x-hono-already-sent")) return response;
    try {
      await writeResponse(this.#withConnectionHeader(response, info), info.outgoing, request.method);
    } catch (error) {
      this.#report("http_answer_failed", request, error);
      if (!info.outgoing.headersSent) await writeResponse(internalError(), info.outgoing, request.method);
    }
    return RESPONSE_ALREADY_SENT;
  }

  #refusal(info: ConnectionInfo): Response | undefined {
    const { bodyBytesMax, headerBytesMax } = this.#options.limits;
    if (headerBytes(info.incoming.rawHeaders) > headerBytesMax) {
      return Response.json({ error: `the request's headers are longer than ${headerBytesMax} bytes` }, { status: 431 });
    }
    if ((incomingLength(info) ?? 0) > bodyBytesMax) return tooLarge(new BodyTooLarge(bodyBytesMax));
    return undefined;
  }

  async #handle(request: Request, info: ConnectionInfo): Promise<Response> {
    const { bodyBytesMax } = this.#options.limits;
    let exceeded = false;
    let limited = request;
    // An announced length is kept to by HTTP itself; only a body without one has to be counted.
    if (incomingLength(info) === undefined && mayHaveBody(request.method) && request.body !== null) {
      const body = limitBody(request.body, bodyBytesMax, () => {
        exceeded = true;
      });
      limited = replaceBody(request, body);
    }
    let response: Response;
    try {
      response = await this.#options.fetch(limited, info);
      if (!(response instanceof Response)) throw new TypeError("the handler returned no Response");
    } catch (error) {
      if (!exceeded) this.#report("http_handler_failed", request, error);
      response = internalError();
    }
    if (!exceeded) return response;
    response.body?.cancel().catch(() => {});
    return tooLarge(new BodyTooLarge(bodyBytesMax));
  }

  #withConnectionHeader(response: Response, info: ConnectionInfo): Response {
    if (info.protocol === "h2" || (KEEPS_HTTP1_OPEN && !this.#options.isClosing())) return response;
    const headers = new Headers(response.headers);
    headers.set("connection", "close");
    return new Response(response.body, { status: response.status, headers });
  }

  #report(event: string, request: Request, error: unknown): void {
    reportFailure(this.#options.log, event, request, error);
  }
}

/** Tells the log what became of a request, not the client. */
export function reportFailure(log: Log, event: string, request: Request, error: unknown): void {
  const path = new URL(request.url).pathname;
  // Who goes away makes handlers fail that read from him, or listen to his signal: nobody's mistake.
  const level = request.signal.aborted ? "debug" : "error";
  log({ level, event, method: request.method, path, error: errorMessage(error) });
}

/**
 * Who made the request is gone already: it waited for its turn, or was reset in the bytes that brought it, and then
 * Node 20 has told of the end before anyone could listen. Its handler would wait for the signal for ever.
 */
function isGivenUp({ incoming, outgoing }: NodeBindings): boolean {
  const stream = "stream" in incoming ? incoming.stream : outgoing;
  return stream?.destroyed === true;
}

/** From Node's own headers: a `Headers` would be made for nothing else. */
function incomingLength({ incoming: { headers } }: ConnectionInfo): number | undefined {
  return parseLength(headers["content-length"], headers["transfer-encoding"]);
}

function tooLarge(error: BodyTooLarge): Response {
  return Response.json({ error: error.message }, { status: 413 });
}

/** Says nothing about the cause: its message may hold what the client must not see. */
export function internalError(): Response {
  return Response.json({ error: "internal error" }, { status: 500 });
}

function headerBytes(rawHeaders: readonly string[]): number {
  let bytes = 0;
  for (const text of rawHeaders) bytes += text.length;
  return bytes + (rawHeaders.length / 2) * HEADER_OVERHEAD_BYTES;
}
