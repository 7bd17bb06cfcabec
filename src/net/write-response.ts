import type { ServerResponse } from "node:http";
import type { Http2ServerResponse, ServerHttp2Stream } from "node:http2";
import { setImmediate } from "node:timers";

/** What `node:http` or `node:http2` gives us to answer with. */
export type Outgoing = ServerResponse | Http2ServerResponse;

type OutgoingHeaders = Record<string, string | string[]>;

/** The members that both kinds share, with the signatures that we use. */
interface Writer {
  /** Of HTTP/2 only. */
  readonly stream?: ServerHttp2Stream;
  readonly headersSent: boolean;
  writeHead(status: number, headers: OutgoingHeaders): unknown;
  flushHeaders(): void;
  write(chunk: Uint8Array): boolean;
  end(chunk?: Uint8Array | string): unknown;
  destroy(error?: Error): unknown;
  on(event: string, listener: () => void): unknown;
}

/** RFC 9113 §8.2.2, and what `node:http2` refuses: headers of a connection, which a message over HTTP/2 must not carry. */
const CONNECTION_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
]);
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
  writeWhole(writer, status, headers, undefined);
}

/**
 * An answer that is complete. Over HTTP/2 without `Http2ServerResponse`, which announces trailers for each answer: that
 * costs a third of what the answer does, on Deno more.
 */
function writeWhole(writer: Writer, status: number, headers: OutgoingHeaders, body: Uint8Array | undefined): void {
  const { stream } = writer;
  if (stream === undefined) {
    writer.writeHead(status, headers);
    writer.end(body);
    return;
  }
  // The client may have gone.
  if (stream.destroyed || stream.closed) return;
  stream.respond({ ":status": status, ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
}

/** Moves one body to one client. */
class BodyWriter {
  readonly #writer: Writer;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #isOver = false;
  #gone = false;
  #wake: () => void = () => {};

  constructor(writer: Writer, reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#writer = writer;
    this.#reader = reader;
    writer.on("error", () => {});
    writer.on("close", () => {
      if (this.#isOver) return;
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
    } finally {
      this.#isOver = true;
    }
  }

  async #pump(status: number, headers: OutgoingHeaders): Promise<void> {
    let first: ReadableStreamReadResult<Uint8Array> | undefined;
    const beginning = this.#reader.read().then((result) => {
      first = result;
    });
    // Asked for before the first chunk is there: most answers have only that one, and are over with it.
    const second = this.#reader.read();
    second.catch(() => {});
    const next = await readyNow(second, beginning);
    if (first !== undefined && !first.done && next?.done) {
      // The whole body in one chunk, as of every JSON answer: its length shows the client that it is whole.
      headers["content-length"] ??= String(first.value.length);
      writeWhole(this.#writer, status, headers, first.value);
      return;
    }
    this.#writer.writeHead(status, headers);
    // Nothing to say yet: a client that waits for events should see the head.
    if (first === undefined) this.#writer.flushHeaders();
    this.#writer.on("drain", () => this.#wake());
    await beginning;
    if (first !== undefined && !first.done) await this.#write(first.value);
    for (let { done, value } = await second; !done; { done, value } = await this.#reader.read()) {
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

/** What waits for the end of this turn of the event loop: one timer for all, there may be hundreds. */
let turnEnds: (() => void)[] = [];

function endTurn(): void {
  const ends = turnEnds;
  turnEnds = [];
  for (const end of ends) end();
}

/**
 * The value, if the promise has it within one turn of the event loop. A failure is one in that time of either promise.
 */
function readyNow<T>(promise: Promise<T>, before: Promise<unknown>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    before.catch(reject);
    promise.then(resolve, reject);
    if (turnEnds.length === 0) setImmediate(endTurn);
    turnEnds.push(() => resolve(undefined));
  });
}

function outgoingHeaders(headers: Headers, http2: boolean): OutgoingHeaders {
  const result: OutgoingHeaders = {};
  headers.forEach((value, name) => {
    if (name !== "set-cookie" && !(http2 && CONNECTION_HEADERS.has(name))) result[name] = value;
  });
  const cookies = headers.getSetCookie();
  if (cookies.length > 0) result["set-cookie"] = cookies;
  return result;
}
