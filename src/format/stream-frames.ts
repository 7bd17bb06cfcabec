/**
 * The frames of the stream on which a leader pushes epochs (docs/architecture.md §6).
 *
 * ```
 * offset  bytes
 *      0      4  length of the body, big-endian
 *      4      1  kind
 *      5      8  epoch, big-endian: what the leader has reached, or the one in the body
 *     13      n  body
 *   13+n     32  authenticator: over the frame's place in the stream, the 13 bytes above, and the body
 * ```
 *
 * A frame of an unknown kind is skipped, so that later versions can add some.
 */
import { ClusterError } from "../errors.ts";

export const FRAME_HEADER_BYTES = 13;
export const FRAME_MAC_BYTES = 32;
/** A longer body is not sent: a longer epoch is only told of, and fetched from the store. */
export const FRAME_BODY_BYTES_MAX: number = 16 * 1024 * 1024;

/**
 * | kind | body | |
 * |---|---|---|
 * | `hello` | – | the first frame: the epoch that the leader has reached |
 * | `epoch` | the WAL object | that epoch is durable |
 * | `told` | – | that epoch is durable, and too long to be sent |
 * | `roster` | JSON | the members |
 * | `offer` | – | the leader wants to step down: would the receiver lead next? |
 * | `handover` | – | it accepted in time: the leader steps down, with an epoch that it begins after this |
 */
export type FrameKind = "hello" | "epoch" | "told" | "roster" | "offer" | "handover";

const KINDS: readonly FrameKind[] = ["hello", "epoch", "told", "roster", "offer", "handover"];

/** One frame as it was received; its authenticator is not checked yet. */
export interface Frame {
  /** `undefined` for a kind of a later version. */
  readonly kind: FrameKind | undefined;
  readonly epoch: number;
  readonly header: Uint8Array;
  readonly body: Uint8Array;
  readonly mac: Uint8Array;
}

/** The 13 bytes before a frame's body. */
export function encodeFrameHeader(kind: FrameKind, epoch: number, bodyBytes: number): Uint8Array {
  const header = new Uint8Array(FRAME_HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, bodyBytes);
  view.setUint8(4, KINDS.indexOf(kind) + 1);
  view.setBigUint64(5, BigInt(epoch));
  return header;
}

/** Cuts a stream of bytes, in whatever pieces it arrives, into frames. */
export class FrameParser {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #bodyBytes: number | undefined;

  /** True if the stream may end here. */
  get isAtBoundary(): boolean {
    return this.#bytes === 0;
  }

  /**
   * Takes a piece, and gives the frames that are complete with it.
   *
   * @throws ClusterError `corrupt` `bad_frame`: a length above {@link FRAME_BODY_BYTES_MAX}, or an epoch beyond 2^53
   */
  push(chunk: Uint8Array): Frame[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      if (this.#bodyBytes === undefined) {
        if (this.#bytes < FRAME_HEADER_BYTES) return frames;
        this.#bodyBytes = readBodyBytes(this.#joined());
      }
      const length = FRAME_HEADER_BYTES + this.#bodyBytes + FRAME_MAC_BYTES;
      if (this.#bytes < length) return frames;
      const joined = this.#joined();
      frames.push(readFrame(joined.subarray(0, length)));
      this.#chunks = joined.length === length ? [] : [joined.subarray(length)];
      this.#bytes -= length;
      this.#bodyBytes = undefined;
    }
  }

  /** What is there, in one piece. */
  #joined(): Uint8Array {
    const [first] = this.#chunks;
    if (this.#chunks.length === 1 && first !== undefined) return first;
    const joined = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const chunk of this.#chunks) {
      joined.set(chunk, offset);
      offset += chunk.length;
    }
    this.#chunks = [joined];
    return joined;
  }
}

function readBodyBytes(bytes: Uint8Array): number {
  const bodyBytes = viewOf(bytes).getUint32(0);
  if (bodyBytes <= FRAME_BODY_BYTES_MAX) return bodyBytes;
  throw badFrame(`its body has ${bodyBytes} bytes, the limit is ${FRAME_BODY_BYTES_MAX}`);
}

function readFrame(bytes: Uint8Array): Frame {
  const view = viewOf(bytes);
  const epoch = Number(view.getBigUint64(5));
  if (!Number.isSafeInteger(epoch)) throw badFrame(`its epoch is ${view.getBigUint64(5)}`);
  const bodyEnd = bytes.length - FRAME_MAC_BYTES;
  return {
    kind: KINDS[view.getUint8(4) - 1],
    epoch,
    header: bytes.subarray(0, FRAME_HEADER_BYTES),
    body: bytes.subarray(FRAME_HEADER_BYTES, bodyEnd),
    mac: bytes.subarray(bodyEnd),
  };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function badFrame(why: string): ClusterError {
  return new ClusterError("corrupt", "bad_frame", `a frame of the leader's stream cannot be read: ${why}`);
}
