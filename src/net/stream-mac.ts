import type { Buffer } from "node:buffer";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

const SEQUENCE_BYTES = 8;

/** Which stream it is: a nonce that was never used before, and its two ends. */
export interface StreamName {
  readonly nonce: string;
  /** Uuid of the node that sends the frames. */
  readonly from: string;
  /** Uuid of the node that asked for them. */
  readonly to: string;
}

/**
 * Authenticates the frames of one stream, in order: with the cluster's secret, so that nobody else can push; bound to
 * the stream and to the place in it, so that no frame can be repeated, left out or moved.
 */
export class StreamMac {
  readonly #key: Buffer;
  #sequence = 0n;

  constructor(secret: string, { nonce, from, to }: StreamName) {
    this.#key = createHmac("sha256", secret).update(["lbc-stream-v1", nonce, from, to].join("\n")).digest();
  }

  /** The authenticator of the next frame. `bodyHash` is the SHA-256 of its body, for who has it already. */
  next(header: Uint8Array, body: Uint8Array, bodyHash: Uint8Array = sha256(body)): Uint8Array {
    const sequence = new Uint8Array(SEQUENCE_BYTES);
    new DataView(sequence.buffer).setBigUint64(0, this.#sequence++);
    return createHmac("sha256", this.#key).update(sequence).update(header).update(bodyHash).digest();
  }

  /** Whether `mac` is that of the next frame. */
  verifyNext(header: Uint8Array, body: Uint8Array, mac: Uint8Array): boolean {
    const expected = this.next(header, body);
    return expected.length === mac.length && timingSafeEqual(expected, mac);
  }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}
