/** One direction of a connection: what is sent arrives in order, some time later, or waits while the way is cut. */
import type { SimulatedNetwork } from "./network.ts";
import type { SimulatedProcess } from "./process.ts";

/** What is sent between the two sides of a connection. */
export type Message =
  | {
      readonly type: "request";
      readonly id: number;
      readonly method: string;
      readonly path: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: Uint8Array | undefined;
    }
  /** The client wants no answer any more. */
  | { readonly type: "cancel"; readonly id: number }
  /** The client took so many bytes of an answer. */
  | { readonly type: "credit"; readonly id: number; readonly bytes: number }
  | { readonly type: "head"; readonly id: number; readonly status: number; readonly headers: Record<string, string> }
  | { readonly type: "data"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "end"; readonly id: number }
  /** The server gave an answer up. */
  | { readonly type: "failed"; readonly id: number }
  | { readonly type: "settings" }
  | { readonly type: "goaway" }
  /** The other side ended the connection; `isReset`: without a word. */
  | { readonly type: "closed"; readonly isReset: boolean };

/** Messages of one moment, which arrive together. */
interface Batch {
  readonly sentAtMs: number;
  readonly messages: Message[];
}

export interface ChannelOptions {
  readonly network: SimulatedNetwork;
  readonly from: string;
  readonly to: string;
  readonly receiver: SimulatedProcess;
  readonly receive: (messages: readonly Message[]) => void;
}

export class Channel {
  readonly #options: ChannelOptions;
  #last: Batch | undefined;
  #arrivesAtMs = 0;
  /** What has come to where the way is cut. */
  readonly #blocked: Batch[] = [];
  #isClosed = false;

  constructor(options: ChannelOptions) {
    this.#options = options;
  }

  send(message: Message): void {
    if (this.#isClosed) return;
    const { network, from, to } = this.#options;
    const { nowMs } = network.time;
    if (this.#last?.sentAtMs === nowMs) {
      this.#last.messages.push(message);
      return;
    }
    const batch: Batch = { sentAtMs: nowMs, messages: [message] };
    this.#last = batch;
    this.#arrivesAtMs = Math.max(this.#arrivesAtMs, nowMs + network.delayMs(from, to));
    network.time.schedule(this.#arrivesAtMs - nowMs, () => this.#arrive(batch));
  }

  /** Nothing more is sent; what is on its way arrives. */
  close(): void {
    this.#isClosed = true;
  }

  #arrive(batch: Batch): void {
    const { network, from, to } = this.#options;
    if (this.#last === batch) this.#last = undefined;
    const isFirst = this.#blocked.length === 0;
    // What was sent after something that waits must not overtake it.
    if (!isFirst || network.cutSinceMs(from, to) !== undefined) {
      this.#blocked.push(batch);
      if (isFirst) this.#waitForWay();
      return;
    }
    this.#deliver(batch);
  }

  #waitForWay(): void {
    const { network, from, to } = this.#options;
    network.whenMended(from, to, () => {
      network.time.schedule(network.delayMs(from, to), () => {
        if (network.cutSinceMs(from, to) !== undefined) {
          this.#waitForWay();
          return;
        }
        for (const batch of this.#blocked.splice(0)) this.#deliver(batch);
      });
    });
  }

  #deliver({ messages }: Batch): void {
    const { receiver, receive } = this.#options;
    const run = () => receive(messages);
    if (receiver.state === "running") run();
    else if (receiver.state === "paused") receiver.hold({ isTimer: false, run });
  }
}
