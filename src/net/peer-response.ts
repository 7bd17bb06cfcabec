import type { IncomingHttpHeaders } from "node:http2";
import { concatBytes } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";

/** `new Response` refuses a body with these. */
const BODILESS_STATUSES: readonly number[] = [204, 205, 304];

/** A peer's answer. Its body can be read once, by one of `body`, `bytes()`, `text()` and `json()`. */
export class PeerResponse {
  readonly status: number;
  readonly headers: Headers;
  /** The chunks as they arrive. Throws the request's error if the answer ends before its end. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly #answerBytesMax: number;

  constructor(headers: IncomingHttpHeaders, body: AsyncIterable<Uint8Array>, answerBytesMax: number) {
    this.status = Number(headers[":status"]);
    this.headers = standardHeaders(headers);
    this.body = body;
    this.#answerBytesMax = answerBytesMax;
  }

  /**
   * The whole body.
   *
   * @throws ClusterError `invalid` `answer_too_large`
   */
  async bytes(): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of this.body) {
      length += part.length;
      if (length > this.#answerBytesMax) {
        const bytesMax = this.#answerBytesMax;
        throw new ClusterError("invalid", "answer_too_large", `the peer's answer is longer than ${bytesMax} bytes`, {
          bytesMax,
        });
      }
      parts.push(part);
    }
    return concatBytes(parts);
  }

  /** The whole body as UTF-8 text. */
  async text(): Promise<string> {
    return new TextDecoder().decode(await this.bytes());
  }

  /** The whole body, parsed as JSON. */
  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  /** The same answer as the standard's `Response`, whose body streams. */
  toResponse(): Response {
    const { status, headers } = this;
    const chunks = this.body[Symbol.asyncIterator]();
    if (BODILESS_STATUSES.includes(status)) return new Response(null, { status, headers });
    const stream = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          await chunks.return?.();
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(stream, { status, headers });
  }
}

function standardHeaders(incoming: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming)) {
    if (name.startsWith(":") || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) headers.append(name, String(one));
  }
  return headers;
}
