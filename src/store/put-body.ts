import { setImmediate } from "node:timers";
import { ClusterError } from "../errors.ts";
import type { PartSource, PutBody } from "./store.ts";

/** True for a body that is read piece by piece. */
export function isPartSource(body: PutBody): body is PartSource {
  return !(body instanceof Uint8Array);
}

/** The body's pieces in order, each read once, none longer than `pieceBytesMax`. Bytes in memory are one piece. */
export function* bodyPieces(body: PutBody, pieceBytesMax: number): Generator<Uint8Array, void, void> {
  if (!isPartSource(body)) {
    yield body;
    return;
  }
  for (let offset = 0; offset < body.byteLength; offset += pieceBytesMax) {
    yield readPiece(body, offset, Math.min(pieceBytesMax, body.byteLength - offset));
  }
}

/** The whole body as bytes; those of a source are copied together piece by piece. */
export function bodyBytes(body: PutBody, pieceBytesMax: number): Uint8Array {
  if (!isPartSource(body)) return body;
  const whole = new Uint8Array(body.byteLength);
  let offset = 0;
  for (const piece of bodyPieces(body, pieceBytesMax)) {
    whole.set(piece, offset);
    offset += piece.length;
  }
  return whole;
}

/** What is read of a source between two turns of the event loop: about a millisecond's work. */
const SLICE_BYTES = 1024 * 1024;

/** Reads a source from front to back, one part after the other, and lets others run in between. */
export class PartReader {
  readonly #body: PartSource;
  readonly #partBytes: number;
  #offset = 0;
  #number = 0;
  /** Parts are asked for by several at once, and read one at a time. */
  #reading: Promise<unknown> = Promise.resolve();

  constructor(body: PartSource, partBytes: number) {
    this.#body = body;
    this.#partBytes = partBytes;
  }

  /** The next part, its number counted from 1; `undefined` at the end. */
  next(): Promise<{ readonly number: number; readonly bytes: Uint8Array } | undefined> {
    const part = this.#reading.then(() => this.#read());
    this.#reading = part.catch(() => {});
    return part;
  }

  async #read(): Promise<{ readonly number: number; readonly bytes: Uint8Array } | undefined> {
    const length = Math.min(this.#partBytes, this.#body.byteLength - this.#offset);
    if (length <= 0) return undefined;
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const piece = readPiece(this.#body, this.#offset, Math.min(SLICE_BYTES, length - done));
      bytes.set(piece, done);
      done += piece.length;
      this.#offset += piece.length;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    return { number: ++this.#number, bytes };
  }
}

/** The whole body as bytes, read a little at a time. */
export async function collectBody(body: PutBody): Promise<Uint8Array> {
  if (!isPartSource(body)) return body;
  const whole = await new PartReader(body, body.byteLength).next();
  return whole?.bytes ?? new Uint8Array(0);
}

function readPiece(source: PartSource, offset: number, length: number): Uint8Array {
  const piece = source.read(offset, length);
  if (piece.length === length) return piece;
  throw new ClusterError("invalid", "bad_part", `the body gave ${piece.length} bytes at ${offset}, not ${length}`, {
    offset,
    expected: length,
    found: piece.length,
  });
}
