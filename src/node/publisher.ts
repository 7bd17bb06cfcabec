/**
 * The leader's side of the streams: pushes every durable epoch to whoever
 * subscribed, with the newest ones kept for those who come a little late.
 */
import { concatBytes, fromHex } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";
import { encodeFrameHeader, FRAME_BODY_BYTES_MAX, type FrameKind } from "../format/stream-frames.ts";
import type { StreamMac } from "../net/stream-mac.ts";
import { sha256Hex } from "../platform/system.ts";
import type { Member } from "../protocol/roster.ts";

/** Open streams; one more member reads from the store. */
const SUBSCRIBERS_MAX = 1024;
/** Newest epochs that are kept. */
const RECENT_EPOCHS_MAX = 1024;
const RECENT_BYTES_MAX: number = 16 * 1024 * 1024;
/** What waits for one slow subscriber; beyond, its stream ends and it reads from the store. */
const QUEUE_BYTES_MAX: number = 2 * FRAME_BODY_BYTES_MAX;
/** What waits for all of them; beyond, the slowest are let go. */
const QUEUED_BYTES_MAX: number = 8 * QUEUE_BYTES_MAX;
/** Frames are joined to pieces of about this size. */
const PIECE_BYTES = 64 * 1024;
const NO_BODY = new Uint8Array(0);

/** An epoch that is in the store. */
export interface PublishedEpoch {
  readonly epoch: number;
  readonly wal: Uint8Array;
  /** SHA-256, hexadecimal. */
  readonly hash: string;
}

export interface SubscriberOptions {
  readonly member: string;
  /** The epoch that it has. */
  readonly epoch: number;
  readonly mac: StreamMac;
  /** It went away, or was too slow. */
  readonly onLost: () => void;
}

export class Publisher {
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #recent: PublishedEpoch[] = [];
  #recentBytes = 0;
  #epoch = -1;
  #roster: Uint8Array = NO_BODY;
  #rosterHash: Uint8Array = fromHex(sha256Hex(NO_BODY));
  #framesSent = 0;
  #bytesSent = 0;

  /** Uuids of the members whose streams are open. */
  get subscribers(): ReadonlySet<string> {
    return new Set(this.#subscribers.keys());
  }

  /** Frames and their bytes since the node started. */
  get sent(): { readonly frames: number; readonly bytes: number } {
    return { frames: this.#framesSent, bytes: this.#bytesSent };
  }

  /**
   * A stream of what is after `epoch`; another one of the same member ends.
   *
   * @throws ClusterError `overloaded` `too_many_streams`
   */
  subscribe(options: SubscriberOptions): ReadableStream<Uint8Array> {
    this.drop(options.member);
    if (this.#subscribers.size >= SUBSCRIBERS_MAX) {
      throw new ClusterError(
        "overloaded",
        "too_many_streams",
        `${SUBSCRIBERS_MAX} members have a stream of this node, which is the limit: read the epochs from the store`,
        { limit: SUBSCRIBERS_MAX },
      );
    }
    const subscriber = new Subscriber(options.mac, () => {
      if (this.#subscribers.get(options.member) !== subscriber) return;
      this.#subscribers.delete(options.member);
      options.onLost();
    });
    this.#subscribers.set(options.member, subscriber);
    this.#send(subscriber, "hello", this.#epoch, NO_BODY);
    const missed = this.#recent.filter(({ epoch }) => epoch > options.epoch);
    if (missed[0]?.epoch === options.epoch + 1) {
      for (const one of missed) this.#sendEpoch(subscriber, one);
    }
    this.#send(subscriber, "roster", this.#epoch, this.#roster, this.#rosterHash);
    return subscriber.stream;
  }

  /** An epoch is durable. */
  publish(published: PublishedEpoch): void {
    this.#epoch = published.epoch;
    this.#remember(published);
    for (const subscriber of this.#subscribers.values()) this.#sendEpoch(subscriber, published);
    this.#relieve();
  }

  /** The members changed, or what they tell of themselves. */
  publishRoster(members: readonly Member[]): void {
    this.#roster = new TextEncoder().encode(JSON.stringify(members));
    this.#rosterHash = fromHex(sha256Hex(this.#roster));
    for (const subscriber of this.#subscribers.values()) {
      this.#send(subscriber, "roster", this.#epoch, this.#roster, this.#rosterHash);
    }
    this.#relieve();
  }

  /** Asks a member whether it would lead next, or tells it that it is to. */
  handOver(member: string, kind: "offer" | "handover"): void {
    const subscriber = this.#subscribers.get(member);
    if (subscriber !== undefined) this.#send(subscriber, kind, this.#epoch, NO_BODY);
  }

  /** Ends a member's stream. */
  drop(member: string): void {
    const subscriber = this.#subscribers.get(member);
    this.#subscribers.delete(member);
    subscriber?.end();
  }

  /** Ends every stream, and forgets: the leadership is over. */
  end(): void {
    for (const member of [...this.#subscribers.keys()]) this.drop(member);
    this.#recent.length = 0;
    this.#recentBytes = 0;
  }

  #relieve(): void {
    const subscribers = [...this.#subscribers.values()];
    let waitingBytes = subscribers.reduce((sum, subscriber) => sum + subscriber.waitingBytes, 0);
    if (waitingBytes <= QUEUED_BYTES_MAX) return;
    for (const slowest of subscribers.sort((a, b) => b.waitingBytes - a.waitingBytes)) {
      if (waitingBytes <= QUEUED_BYTES_MAX) return;
      waitingBytes -= slowest.waitingBytes;
      slowest.lose();
    }
  }

  #remember(published: PublishedEpoch): void {
    this.#recent.push(published);
    this.#recentBytes += published.wal.length;
    while (this.#recent.length > RECENT_EPOCHS_MAX || this.#recentBytes > RECENT_BYTES_MAX) {
      this.#recentBytes -= this.#recent.shift()?.wal.length ?? 0;
    }
  }

  #sendEpoch(subscriber: Subscriber, { epoch, wal, hash }: PublishedEpoch): void {
    if (wal.length > FRAME_BODY_BYTES_MAX) this.#send(subscriber, "told", epoch, NO_BODY);
    else this.#send(subscriber, "epoch", epoch, wal, fromHex(hash));
  }

  #send(subscriber: Subscriber, kind: FrameKind, epoch: number, body: Uint8Array, bodyHash?: Uint8Array): void {
    this.#framesSent++;
    this.#bytesSent += subscriber.send(encodeFrameHeader(kind, epoch, body.length), body, bodyHash);
  }
}

/** One open stream, and what waits for it. */
class Subscriber {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #mac: StreamMac;
  readonly #onLost: () => void;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isEnded = false;
  #wake: () => void = () => {};

  constructor(mac: StreamMac, onLost: () => void) {
    this.#mac = mac;
    this.#onLost = onLost;
    this.stream = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => this.#pull(controller),
        cancel: () => this.lose(),
      },
      { highWaterMark: 0 },
    );
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Gives the bytes of the frame. */
  send(header: Uint8Array, body: Uint8Array, bodyHash: Uint8Array | undefined): number {
    if (this.#isEnded) return 0;
    const mac = this.#mac.next(header, body, bodyHash);
    const parts = body.length < PIECE_BYTES ? [concatBytes([header, body, mac])] : [header, body, mac];
    const bytes = header.length + body.length + mac.length;
    this.#waiting.push(...parts);
    this.#waitingBytes += bytes;
    if (this.#waitingBytes > QUEUE_BYTES_MAX) this.lose();
    this.#wake();
    return bytes;
  }

  /** What waits is still sent. */
  end(): void {
    this.#isEnded = true;
    this.#wake();
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    while (this.#waiting.length === 0 && !this.#isEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const piece = this.#takePiece();
    if (piece === undefined) controller.close();
    else controller.enqueue(piece);
  }

  #takePiece(): Uint8Array | undefined {
    let count = 0;
    let bytes = 0;
    for (const part of this.#waiting) {
      if (count > 0 && bytes + part.length > PIECE_BYTES) break;
      count++;
      bytes += part.length;
    }
    this.#waitingBytes -= bytes;
    const parts = this.#waiting.splice(0, count);
    return parts.length > 1 ? concatBytes(parts) : parts[0];
  }

  /** Ends at once: it went away, or is too slow. */
  lose(): void {
    if (this.#isEnded) return;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.end();
    this.#onLost();
  }
}
