import type { IncomingHttpHeaders } from "node:http2";
import { concatBytes } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";
import { wholeResponse } from "./whole-response.ts";

const decoder = new TextDecoder();

/** A peer's answer. Its body can be read once, by one of `body`, `bytes()`, `text()` and `json()`. */
export class PeerResponse {
  readonly status: number;
  readonly #head: IncomingHttpHeaders;
  /** All of it, or what arrives. */
  readonly #body: Uint8Array | AsyncIterable<Uint8Array>;
  readonly #answerBytesMax: number;
  #headers: Headers | undefined;

  constructor(head: IncomingHttpHeaders, body: Uint8Array | AsyncIterable<Uint8Array>, answerBytesMax: number) {
    this.status = Number(head[":status"]);
    this.#head = head;
    this.#body = body;
    this.#answerBytesMax = answerBytesMax;
  }

  get headers(): Headers {
    this.#headers ??= new Headers(headerPairs(this.#head));
    return this.#headers;
  }

  /** True if the whole body is in memory. */
  get isWhole(): boolean {
    return this.#body instanceof Uint8Array;
  }

  /** True if the header is there; cheaper than by `headers`. */
  has(lowerCaseName: string): boolean {
    return this.#head[lowerCaseName] !== undefined;
  }

  /** The chunks as they arrive. Throws the request's error if the answer ends before its end. */
  get body(): AsyncIterable<Uint8Array> {
    return this.#body instanceof Uint8Array ? once(this.#body) : this.#body;
  }

  /**
   * The whole body.
   *
   * @throws ClusterError `invalid` `answer_too_large`
   */
  async bytes(): Promise<Uint8Array> {
    if (this.#body instanceof Uint8Array) return this.#checked(this.#body.length, this.#body);
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of this.#body) {
      length += part.length;
      parts.push(this.#checked(length, part));
    }
    return concatBytes(parts);
  }

  /** The whole body as UTF-8 text. */
  async text(): Promise<string> {
    return decoder.decode(await this.bytes());
  }

  /** The whole body, parsed as JSON. */
  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  /** The same answer as the standard's `Response`, whose body streams. */
  toResponse(): Response {
    const head = { status: this.status, headers: this.#headers ?? headerPairs(this.#head) };
    if (this.#body instanceof Uint8Array) return wholeResponse(this.#body as Uint8Array<ArrayBuffer>, head);
    const chunks = this.#body[Symbol.asyncIterator]();
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
    return new Response(stream, head);
  }

  #checked(length: number, bytes: Uint8Array): Uint8Array {
    const bytesMax = this.#answerBytesMax;
    if (length <= bytesMax) return bytes;
    throw new ClusterError("invalid", "answer_too_large", `the peer's answer is longer than ${bytesMax} bytes`, {
      bytesMax,
    });
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (bytes.length > 0) yield bytes;
}

function headerPairs(head: IncomingHttpHeaders): [string, string][] {
  const pairs: [string, string][] = [];
  for (const name in head) {
    const value = head[name];
    if (name.startsWith(":") || value === undefined) continue;
    if (Array.isArray(value)) for (const one of value) pairs.push([name, one]);
    else pairs.push([name, String(value)]);
  }
  return pairs;
}
