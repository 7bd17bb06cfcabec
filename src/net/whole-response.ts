/** `new Response` refuses a body with these. */
const BODILESS_STATUSES: readonly number[] = [204, 205, 304];

/** Everything that can go into a `Response`. */
export interface ResponseHead {
  readonly status: number;
  readonly headers: HeadersInit;
}

const onNode: boolean = !("Deno" in globalThis || "Bun" in globalThis);
const decoder = new TextDecoder();

/**
 * A standard `Response` with this body. The fastest that the runtime has: Node's own, which is written in JavaScript,
 * makes a stream for each body, and reads that when asked for the body, which costs more than the request.
 */
export function wholeResponse(bytes: Uint8Array<ArrayBuffer>, head: ResponseHead): Response {
  if (BODILESS_STATUSES.includes(head.status)) return new Response(null, head);
  // Deno and Bun look into a Response natively, past what a subclass says of its body. They are fast, too.
  return onNode ? new WholeResponse(bytes, head) : new Response(bytes, head);
}

/** A `Response` that holds its body as bytes, and becomes Node's own only for those who want it as something else. */
class WholeResponse extends Response {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  #isUsed = false;
  #standard: Response | undefined;

  constructor(bytes: Uint8Array<ArrayBuffer>, head: ResponseHead) {
    super(null, head);
    this.#bytes = bytes;
  }

  override get body(): Response["body"] {
    return this.#asStandard().body;
  }

  override get bodyUsed(): boolean {
    return this.#isUsed || this.#standard?.bodyUsed === true;
  }

  override async arrayBuffer(): Promise<ArrayBuffer> {
    if (this.#standard !== undefined) return this.#standard.arrayBuffer();
    const { buffer, byteLength, byteOffset } = this.#use();
    return buffer.slice(byteOffset, byteOffset + byteLength);
  }

  override async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await this.arrayBuffer());
  }

  override async text(): Promise<string> {
    return this.#standard === undefined ? decoder.decode(this.#use()) : this.#standard.text();
  }

  override async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  override async blob(): Promise<Blob> {
    return this.#asStandard().blob();
  }

  override async formData(): Promise<FormData> {
    return this.#asStandard().formData();
  }

  override clone(): Response {
    return this.#asStandard().clone();
  }

  #use(): Uint8Array<ArrayBuffer> {
    if (this.#isUsed) throw new TypeError("Body is unusable: Body has already been read");
    this.#isUsed = true;
    return this.#bytes;
  }

  #asStandard(): Response {
    if (this.#standard !== undefined) return this.#standard;
    const { headers, status, statusText } = this;
    this.#standard = new Response(this.#bytes, { headers, status, statusText });
    if (this.#isUsed) void this.#standard.arrayBuffer();
    return this.#standard;
  }
}
