/**
 * A follower's side of the leader's stream: opened again whenever it ends, for
 * as long as there is somebody to ask. Its attempts to connect are also what
 * tells that the leader is gone (docs/architecture.md §5, rule 4).
 */
import { ClusterError, errorMessage, isClusterError } from "../errors.ts";
import { type Frame, FrameParser } from "../format/stream-frames.ts";
import type { Leader } from "../format/system-rows.ts";
import { refusalOf } from "../net/peer-error.ts";
import type { StreamMac } from "../net/stream-mac.ts";
import { sleep } from "../platform/sleep.ts";
import { REFUSAL_GAP_MS } from "../protocol/leader-contact.ts";
import { backoffMs } from "../protocol/moment.ts";
import type { Member } from "../protocol/roster.ts";
import { membersShape } from "./member-shape.ts";
import type { NodeParts } from "./parts.ts";

/** Timers may fire a little early. */
const FIRST_PAUSE_MS: number = REFUSAL_GAP_MS + 5;
const PAUSE_MAX_MS = 2000;
/** A leader that does not believe us will not before somebody has set a clock. */
const FORBIDDEN_PAUSE_MS = 15_000;
/** A stream that ended sooner than this counts as a failure. */
const STREAM_HELD_MS = 1000;

/** An open stream of a leader. */
export interface OpenStream {
  readonly response: Response;
  readonly mac: StreamMac;
}

export interface SubscriptionEvents {
  /** Asks the leader for its stream; rejects if it cannot be reached. */
  open(leader: Leader, signal: AbortSignal): Promise<OpenStream>;
  /** The leader has reached this epoch; `wal` is there if it sent it. */
  onOffered(from: string, epoch: number, wal: Uint8Array | undefined): void;
  /** A frame arrived and is authentic. */
  onFrame(bytes: number): void;
  onRoster(members: readonly Member[]): void;
  /** The leader asks this node to lead next. */
  onOffer(leader: Leader): void;
  /** It knows that this node accepted, and steps down. */
  onHandover(): void;
  /** The stream ended; `isOurs`: because another leader is followed. */
  onClosed(isOurs: boolean): void;
  /** The leader's address refused or reset the connection. */
  onRefused(leader: Leader): void;
  /** Nobody serves a stream there: for who was followed on a mere announcement. */
  onFailed(leader: Leader): void;
}

export class Subscription {
  readonly #parts: NodeParts;
  readonly #events: SubscriptionEvents;
  #leader: Leader | undefined;
  #abort = new AbortController();
  #isOpen = false;
  /** The last attempt ended because the leader does not believe that we are a member. */
  #isForbidden = false;
  /** Uuid of the leader that was last heard. */
  #heardFrom: string | undefined;

  constructor(parts: NodeParts, events: SubscriptionEvents) {
    this.#parts = parts;
    this.#events = events;
  }

  /** The stream is open. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Takes the stream of this leader from now on, or of nobody. */
  follow(leader: Leader | undefined): void {
    if (leader?.uuid === this.#leader?.uuid && leader?.address === this.#leader?.address) return;
    this.#leader = leader;
    if (this.#isOpen) this.#closed(true);
    this.#abort.abort();
    this.#abort = new AbortController();
    if (leader !== undefined) void this.#run(leader, this.#abort.signal);
  }

  #closed(isOurs: boolean): void {
    this.#isOpen = false;
    this.#events.onClosed(isOurs);
  }

  async #run(leader: Leader, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts.settings;
    for (let failures = 0; !signal.aborted; ) {
      const beganMs = clock.monotonicMs();
      const wasOpen = await this.#attempt(leader, signal);
      if (signal.aborted) return;
      failures = wasOpen && clock.monotonicMs() - beganMs > STREAM_HELD_MS ? 0 : failures + 1;
      if (failures === 0) continue;
      const pauseMaxMs = this.#isForbidden ? FORBIDDEN_PAUSE_MS : PAUSE_MAX_MS;
      const backoff = backoffMs(failures, FIRST_PAUSE_MS, pauseMaxMs, random.fraction());
      await sleep(clock, Math.max(FIRST_PAUSE_MS, backoff), signal).catch(() => {});
    }
  }

  /** One stream, from the attempt to its end. Gives true if it was open. */
  async #attempt(leader: Leader, signal: AbortSignal): Promise<boolean> {
    let isOpen = false;
    try {
      const { response, mac } = await this.#events.open(leader, signal);
      if (!response.ok || response.body === null) throw await noStream(leader, response);
      const parser = new FrameParser();
      for await (const chunk of piecesOf(response.body, signal)) {
        for (const frame of parser.push(chunk)) {
          if (signal.aborted) return isOpen;
          this.#check(frame, mac);
          isOpen = true;
          this.#isForbidden = false;
          this.#isOpen = true;
          this.#heardFrom = leader.uuid;
          this.#events.onFrame(frame.header.length + frame.body.length + frame.mac.length);
          this.#take(leader, frame);
        }
      }
    } catch (error) {
      if (signal.aborted) return isOpen;
      this.#isForbidden = isClusterError(error) && error.code === "stream_forbidden";
      const level = this.#isForbidden ? "warn" : "debug";
      this.#parts.log({ level, event: "stream_lost", leader: leader.uuid, reason: errorMessage(error) });
      if (!isOpen && this.#isRefusal(leader, error)) this.#events.onRefused(leader);
      if (!isOpen) this.#events.onFailed(leader);
    } finally {
      if (isOpen && !signal.aborted) this.#closed(false);
    }
    return isOpen;
  }

  /** A reset counts only of a leader that has talked to us: else we may not speak its language. */
  #isRefusal(leader: Leader, error: unknown): boolean {
    const refusal = refusalOf(error);
    return refusal === "refused" || (refusal === "reset" && this.#heardFrom === leader.uuid);
  }

  #check({ header, body, mac: found }: Frame, mac: StreamMac): void {
    if (mac.verifyNext(header, body, found)) return;
    throw new ClusterError("corrupt", "forged_frame", "a frame of the leader's stream is not signed with the secret");
  }

  #take(leader: Leader, { kind, epoch, body }: Frame): void {
    switch (kind) {
      case "hello":
      case "told":
        this.#events.onOffered(leader.uuid, epoch, undefined);
        return;
      case "epoch":
        this.#events.onOffered(leader.uuid, epoch, body);
        return;
      case "roster":
        this.#events.onRoster(membersShape.parse(JSON.parse(new TextDecoder().decode(body))));
        this.#events.onOffered(leader.uuid, epoch, undefined);
        return;
      case "offer":
        this.#events.onOffer(leader);
        return;
      case "handover":
        this.#events.onHandover();
        return;
      case undefined:
        return;
    }
  }
}

/** Why there is no stream, as far as the leader tells. */
async function noStream({ address }: Leader, response: Response): Promise<ClusterError> {
  const { status } = response;
  const { code } = (await response.json().catch(() => ({}))) as { code?: unknown };
  if (status !== 401) return new ClusterError("unavailable", "no_stream", `${address} answered ${status}`, { status });
  const why = code === "stale" ? "its clock and ours are more than a minute apart" : `it does not know us (${code})`;
  return new ClusterError("unavailable", "stream_forbidden", `${address} refuses its stream: ${why}`, { status, code });
}

async function* piecesOf(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  const onAbort = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    await reader.cancel().catch(() => {});
  }
}
