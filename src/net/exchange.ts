import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { concatBytes } from "../base/bytes.ts";
import { BODY_QUEUE_BYTES_MAX, BodyQueue } from "./body-queue.ts";
import { type PeerFailure, peerError } from "./peer-error.ts";
import { PeerResponse } from "./peer-response.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** A request, checked and complete. */
export interface PreparedRequest {
  readonly peer: string;
  readonly method: string;
  /** Canonical. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
  readonly answerBytesMax: number;
}

/** What an exchange tells. Each is called at most once; `onOver` always is, last. */
export interface ExchangeHandlers {
  /** The head of the answer is there; of a short one whose length it announces, all of it. */
  onAnswer(response: PeerResponse): void;
  /** There will be no answer. */
  onFailed(error: unknown): void;
  /** Nothing more will happen on the stream. */
  onOver(): void;
}

/** What an exchange asks its connection. */
export interface ExchangeConnection {
  readonly session: ClientHttp2Session;
  /** Streams above it were not processed, by the peer's GOAWAY. */
  readonly lastProcessedStreamId: number;
  /** Why it was lost; `undefined` if it was not, or nobody knows. */
  readonly cause: unknown;
}

/** An answer that is collected before it is given: so a loss in the middle of it is one that can be repeated. */
interface ShortAnswer {
  readonly headers: IncomingHttpHeaders;
  readonly length: number;
  readonly chunks: Uint8Array[];
}

/**
 * One request and its answer on one HTTP/2 stream.
 *
 * An answer is whole only if the stream ended, with error code 0, with as many bytes as announced: a lost connection
 * looks like success on every runtime (a plain `end`, no `error`) except for the code. Outcomes are therefore decided
 * when the stream has closed, or the connection reports its loss.
 */
export class Exchange {
  readonly #request: PreparedRequest;
  readonly #connection: ExchangeConnection;
  readonly #handlers: ExchangeHandlers;
  readonly #stream: ClientHttp2Stream | undefined;
  /** Invariant: at most one of the two is there. */
  #body: BodyQueue | undefined;
  #short: ShortAnswer | undefined;
  #answered = false;
  #expectedBytes: number | undefined;
  #receivedBytes = 0;
  #ended = false;
  #closed = false;
  #over = false;
  #error: unknown;
  /** Why the caller gave up; `undefined` if it did not. */
  #cancelled: { readonly error: unknown } | undefined;

  constructor(request: PreparedRequest, connection: ExchangeConnection, handlers: ExchangeHandlers) {
    this.#request = request;
    this.#connection = connection;
    this.#handlers = handlers;
    this.#stream = this.#send();
  }

  /** The caller gives up: with `error`, both here and for who reads the body. */
  cancel(error: unknown): void {
    if (this.#over) return;
    this.#cancelled = { error };
    this.#stream?.close(NGHTTP2_CANCEL);
    // A paused stream would keep what it holds.
    this.#stream?.resume();
    this.#finish();
  }

  /** The connection is gone; not every runtime closes its streams then. */
  connectionLost(cause: unknown): void {
    this.#error ??= cause;
    this.#closed = true;
    this.#finish();
  }

  /** The error that this exchange has if it ends now for `reason`. */
  errorFor(reason: PeerFailure, sent: boolean): unknown {
    const { peer, method, path } = this.#request;
    return peerError({ peer, method, path, reason, sent, cause: this.#connection.cause ?? this.#error });
  }

  #send(): ClientHttp2Stream | undefined {
    const { body, headers, method, path } = this.#request;
    const head: OutgoingHttpHeaders = { ...headers, ":method": method, ":path": path };
    if (body !== undefined) head["content-length"] = String(body.length);
    let stream: ClientHttp2Stream;
    try {
      stream = this.#connection.session.request(head, { endStream: body === undefined });
    } catch (error) {
      // The session closed between the check and the call. Put off, so that handlers never run before we are made.
      this.#error = error;
      queueMicrotask(() => this.#finish());
      return undefined;
    }
    stream.on("error", (error) => {
      this.#error ??= error;
    });
    stream.on("close", () => this.#onClose());
    // 'data' is listened to only from there: Deno 2.9.6 emits it before 'response'.
    stream.once("response", (headers) => this.#onResponse(stream, headers));
    if (body !== undefined) stream.end(body);
    return stream;
  }

  #onResponse(stream: ClientHttp2Stream, headers: IncomingHttpHeaders): void {
    if (this.#over) return;
    this.#expectedBytes = announcedBytes(this.#request.method, headers);
    const length = this.#expectedBytes ?? Number.POSITIVE_INFINITY;
    if (length < BODY_QUEUE_BYTES_MAX) this.#collect(stream, { headers, length, chunks: [] });
    else this.#queue(stream, headers);
  }

  #collect(stream: ClientHttp2Stream, short: ShortAnswer): void {
    this.#short = short;
    stream.on("end", () => this.#onEnd());
    stream.on("data", (chunk: Uint8Array) => {
      this.#receivedBytes += chunk.length;
      if (this.#receivedBytes > short.length) return;
      short.chunks.push(chunk);
      if (this.#receivedBytes === short.length) this.#giveShort(short);
    });
    if (short.length === 0) this.#giveShort(short);
  }

  /** It is whole: as many bytes as announced have arrived. */
  #giveShort({ headers, chunks }: ShortAnswer): void {
    this.#answered = true;
    const bytes = chunks.length === 1 ? (chunks[0] as Uint8Array) : concatBytes(chunks);
    this.#handlers.onAnswer(new PeerResponse(headers, bytes, this.#request.answerBytesMax));
  }

  #queue(stream: ClientHttp2Stream, headers: IncomingHttpHeaders): void {
    const body = new BodyQueue({
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      cancel: () => this.cancel(undefined),
    });
    this.#body = body;
    stream.on("end", () => this.#onEnd());
    stream.on("data", (chunk: Uint8Array) => {
      this.#receivedBytes += chunk.length;
      body.push(chunk);
    });
    this.#answered = true;
    this.#handlers.onAnswer(new PeerResponse(headers, body, this.#request.answerBytesMax));
  }

  #onEnd(): void {
    this.#ended = true;
    if (this.#closed) this.#finish();
  }

  #onClose(): void {
    this.#closed = true;
    const hasHead = this.#body !== undefined || this.#short !== undefined;
    const clean = hasHead && this.#error === undefined && this.#stream?.rstCode === NGHTTP2_NO_ERROR;
    // Closed, but not yet read to its end: 'end' follows when the reader has caught up.
    if (clean && !this.#ended) return;
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    if (!this.#answered) this.#handlers.onFailed(this.#cancelled?.error ?? this.#lossOfAnswer());
    if (this.#body !== undefined) this.#finishBody(this.#body);
    this.#handlers.onOver();
  }

  #finishBody(body: BodyQueue): void {
    if (this.#cancelled !== undefined) body.fail(this.#cancelled.error);
    else if (this.#isWhole()) body.end();
    else body.fail(this.errorFor("truncated", true));
  }

  #isWhole(): boolean {
    const { rstCode } = this.#stream ?? {};
    const lengthIsRight = this.#expectedBytes === undefined || this.#expectedBytes === this.#receivedBytes;
    return this.#ended && rstCode === NGHTTP2_NO_ERROR && this.#error === undefined && lengthIsRight;
  }

  #lossOfAnswer(): unknown {
    if (this.#short !== undefined) return this.errorFor("truncated", true);
    const stream = this.#stream;
    if (stream === undefined || stream.id === undefined) return this.errorFor("lost", false);
    const refused = stream.rstCode === NGHTTP2_REFUSED_STREAM || stream.id > this.#connection.lastProcessedStreamId;
    if (refused) return this.errorFor("refused", false);
    return this.errorFor(this.#connection.session.destroyed ? "lost" : "reset", true);
  }
}

/** The length of the body that this head promises; `undefined` if it promises none. */
function announcedBytes(method: string, headers: IncomingHttpHeaders): number | undefined {
  const status = Number(headers[":status"]);
  if (method === "HEAD" || status === 204 || status === 205 || status === 304) return 0;
  const length = headers["content-length"];
  return length === undefined ? undefined : Number(length);
}
