import type { ServerResponse } from "node:http";
import type { Http2ServerResponse } from "node:http2";
import { setImmediate } from "node:timers";

/** What `node:http` or `node:http2` gives us to answer with. */
export type Outgoing = ServerResponse | Http2ServerResponse;

type OutgoingHeaders = Record<string, string | string[]>;

/** The members that both kinds share, with the signatures that we use. */
interface Writer {
  readonly headersSent: boolean;
  writeHead(status: number, headers: OutgoingHeaders): unknown;
  flushHeaders(): void;
  write(chunk: Uint8Array): boolean;
  end(chunk?: Uint8Array | string): unknown;
  destroy(error?: Error): unknown;
  on(event: string, listener: () => void): unknown;
}

/** RFC 9113 §8.2.2: headers of a connection, which a message over HTTP/2 must not carry. */
const CONNECTION_HEADERS: readonly string[] = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
];
const BODILESS_STATUSES: readonly number[] = [204, 205, 304];

/**
 * Writes an answer as it is produced: the head at once, each chunk when it is there, waiting while the client is slow.
 * A body that fails cuts the answer off, so that the client sees that it is not whole.
 *
 * Done here and not by @hono/node-server 2.1.8, which sends the message of a failed body to the client and prints it.
 *
 * @throws what the body throws; nothing is written then if the head was not, and the answer is cut off if it was
 */
export async function writeResponse(response: Response, outgoing: Outgoing, method: string): Promise<void> {
  const writer = outgoing as unknown as Writer;
  const headers = outgoingHeaders(response.headers, "stream" in outgoing);
  const { body, status } = response;
  if (body !== null && method !== "HEAD" && !BODILESS_STATUSES.includes(status)) {
    await new BodyWriter(writer, body.getReader()).run(status, headers);
    return;
  }
  body?.cancel().catch(() => {});
  if (method !== "HEAD" && !BODILESS_STATUSES.includes(status)) headers["content-length"] ??= "0";
  writer.writeHead(status, headers);
  writer.end();
}

/** Moves one body to one client. */
class BodyWriter {
  readonly #writer: Writer;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #gone = false;
  #wake: () => void = () => {};

  constructor(writer: Writer, reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#writer = writer;
    this.#reader = reader;
    writer.on("drain", () => this.#wake());
    writer.on("error", () => {});
    writer.on("close", () => {
      this.#gone = true;
      this.#wake();
      reader.cancel().catch(() => {});
    });
  }

  async run(status: number, headers: OutgoingHeaders): Promise<void> {
    try {
      await this.#pump(status, headers);
    } catch (error) {
      this.#reader.cancel(error).catch(() => {});
      if (this.#writer.headersSent) this.#writer.destroy(new Error("the answer's body failed"));
      if (!this.#gone) throw error;
    }
  }

  async #pump(status: number, headers: OutgoingHeaders): Promise<void> {
    let next = this.#reader.read();
    const first = await readyNow(next);
    if (first !== undefined && !first.done) {
      next = this.#reader.read();
      if ((await readyNow(next))?.done) {
        // The whole body in one chunk, as of every JSON answer: its length shows the client that it is whole.
        headers["content-length"] ??= String(first.value.length);
        this.#writer.writeHead(status, headers);
        this.#writer.end(first.value);
        return;
      }
    }
    this.#writer.writeHead(status, headers);
    // Nothing to say yet: a client that waits for events should see the head.
    if (first === undefined) this.#writer.flushHeaders();
    else if (!first.done) await this.#write(first.value);
    for (let { done, value } = await next; !done; { done, value } = await this.#reader.read()) {
      if (value !== undefined) await this.#write(value);
      if (this.#gone) return;
    }
    if (!this.#gone) this.#writer.end();
  }

  /** Writes a chunk and waits until there is room for the next, or the client has gone. */
  async #write(chunk: Uint8Array): Promise<void> {
    if (this.#gone || chunk.length === 0 || this.#writer.write(chunk)) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** The value, if the promise has it within one turn of the event loop. */
function readyNow<T>(promise: Promise<T>): Promise<T | undefined> {
  const turn = new Promise<undefined>((resolve) => {
    setImmediate(() => resolve(undefined));
  });
  return Promise.race([promise, turn]);
}

function outgoingHeaders(headers: Headers, http2: boolean): OutgoingHeaders {
  const result: OutgoingHeaders = {};
  for (const [name, value] of headers) {
    if (name === "set-cookie" || (http2 && CONNECTION_HEADERS.includes(name))) continue;
    result[name] = value;
  }
  const cookies = headers.getSetCookie();
  if (cookies.length > 0) result["set-cookie"] = cookies;
  return result;
}
