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

function readPiece(source: PartSource, offset: number, length: number): Uint8Array {
  const piece = source.read(offset, length);
  if (piece.length === length) return piece;
  throw new ClusterError("invalid", "bad_part", `the body gave ${piece.length} bytes at ${offset}, not ${length}`, {
    offset,
    expected: length,
    found: piece.length,
  });
}
