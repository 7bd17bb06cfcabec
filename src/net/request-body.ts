import { concatBytes } from "../base/bytes.ts";

/** A request's body is longer than allowed. */
export class BodyTooLarge extends Error {
  override readonly name: string = "BodyTooLarge";

  constructor(bodyBytesMax: number) {
    super(`the request's body is longer than ${bodyBytesMax} bytes`);
  }
}

/** The length that the request announces, or `undefined` if it announces none. */
export function announcedLength(headers: Headers): number | undefined {
  return parseLength(headers.get("content-length"), headers.get("transfer-encoding"));
}

/** The same, of the two headers that tell. */
export function parseLength(
  contentLength: string | null | undefined,
  transferEncoding: string | null | undefined,
): number | undefined {
  if (typeof transferEncoding === "string" || typeof contentLength !== "string") return undefined;
  return /^\d+$/.test(contentLength) ? Number(contentLength) : undefined;
}

/** True if a request with this method may carry a body. */
export function mayHaveBody(method: string): boolean {
  return method !== "GET" && method !== "HEAD";
}

/**
 * All bytes of the body.
 *
 * @throws BodyTooLarge as soon as there are more than `bodyBytesMax`
 */
export async function readBody(request: Request, bodyBytesMax: number): Promise<Uint8Array> {
  const announced = announcedLength(request.headers);
  if (announced !== undefined && announced > bodyBytesMax) throw new BodyTooLarge(bodyBytesMax);
  if (!mayHaveBody(request.method) || request.body === null) return new Uint8Array(0);
  const parts: Uint8Array[] = [];
  for await (const part of limitedChunks(request.body, bodyBytesMax)) parts.push(part);
  return concatBytes(parts);
}

/** The same request with another body, which can be read (again). */
export function replaceBody(request: Request, body: Uint8Array | ReadableStream<Uint8Array>): Request {
  const { method, headers, signal, url } = request;
  // Member by member: the request of @hono/node-server 2.1 is no Request that `new Request(request)` accepts.
  const init: RequestInit & { duplex: "half" } = {
    method,
    headers: new Headers(headers),
    body: body as BodyInit,
    duplex: "half",
  };
  // The original signal, not one that follows it: Node 20 forgets followers once the garbage collector has run.
  return Object.defineProperty(new Request(url, init), "signal", { value: signal });
}

/** The body with an end: at more than `bodyBytesMax` it calls `onExceeded` and fails with {@link BodyTooLarge}. */
export function limitBody(
  body: ReadableStream<Uint8Array>,
  bodyBytesMax: number,
  onExceeded: () => void,
): ReadableStream<Uint8Array> {
  const chunks = limitedChunks(body, bodyBytesMax);
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          if (error instanceof BodyTooLarge) onExceeded();
          controller.error(error);
        }
      },
      async cancel() {
        await chunks.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}

async function* limitedChunks(
  body: ReadableStream<Uint8Array>,
  bodyBytesMax: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = body.getReader();
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      length += value.length;
      if (length > bodyBytesMax) throw new BodyTooLarge(bodyBytesMax);
      yield value;
    }
  } finally {
    // Not awaited: a runtime may settle it only when the client has gone.
    reader.cancel().catch(() => {});
  }
}
