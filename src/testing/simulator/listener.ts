/** The server's side of the simulated network: answers requests as `net/server.ts` does, without sockets. */
import { silent } from "../../base/log.ts";
import { ClusterError } from "../../errors.ts";
import type { ConnectionInfo } from "../../net/connection-info.ts";
import { internalError, reportFailure } from "../../net/serve-request.ts";
import { CLOSE_GRACE_MS, type Listener, type ListenOptions, SERVER_LIMITS } from "../../net/server.ts";
import type { Channel, Message } from "./channel.ts";
import type { SimulatedProcess } from "./process.ts";

/** Bytes of an answer that are on their way at a time, as HTTP/2's windows allow. */
const WINDOW_BYTES = 262_144;

export class SimulatedListener implements Listener {
  readonly process: SimulatedProcess;
  readonly host: string;
  readonly port: number;
  readonly #options: ListenOptions;
  readonly #onClosed: () => void;
  readonly #sides = new Set<ServerSide>();
  #closed: Promise<void> | undefined;
  #onEmpty: () => void = () => {};

  constructor(process: SimulatedProcess, port: number, options: ListenOptions, onClosed: () => void) {
    this.process = process;
    this.host = options.host;
    this.port = port;
    this.#options = options;
    this.#onClosed = onClosed;
  }

  get pingTimeoutMs(): number {
    return this.#options.limits?.pingTimeoutMs ?? SERVER_LIMITS.pingTimeoutMs;
  }

  get pingIntervalMs(): number {
    return this.#options.limits?.pingIntervalMs ?? SERVER_LIMITS.pingIntervalMs;
  }

  /** A connection was made: says so, and answers what comes. */
  accept(channel: Channel, from: string): ServerSide {
    const side = new ServerSide(this.#options, channel, from, () => {
      this.#sides.delete(side);
      if (this.#sides.size === 0) this.#onEmpty();
    });
    this.#sides.add(side);
    channel.send({ type: "settings" });
    if (this.#closed !== undefined) channel.send({ type: "goaway" });
    return side;
  }

  close(graceMs: number = CLOSE_GRACE_MS): Promise<void> {
    const cancelCut = this.process.clock.after(graceMs, () => {
      for (const side of [...this.#sides]) side.end(true);
    });
    this.#closed ??= this.#drain();
    return this.#closed.finally(cancelCut);
  }

  async #drain(): Promise<void> {
    this.#onClosed();
    for (const side of this.#sides) side.drain();
    if (this.#sides.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
  }
}

/** A request that is being answered. */
interface Answer {
  readonly abort: AbortController;
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** Bytes that were sent and not taken. */
  onTheirWay: number;
  onCredit: () => void;
}

/** The server's side of one connection. */
export class ServerSide {
  readonly #options: ListenOptions;
  readonly #channel: Channel;
  readonly #from: string;
  readonly #onEnded: () => void;
  readonly #answers = new Map<number, Answer>();
  #isEnded = false;

  constructor(options: ListenOptions, channel: Channel, from: string, onEnded: () => void) {
    this.#options = options;
    this.#channel = channel;
    this.#from = from;
    this.#onEnded = onEnded;
  }

  receive(message: Message): void {
    if (this.#isEnded) return;
    switch (message.type) {
      case "request":
        void this.#answer(message);
        return;
      case "cancel":
        this.#giveUp(message.id);
        return;
      case "credit": {
        const answer = this.#answers.get(message.id);
        if (answer === undefined) return;
        answer.onTheirWay -= message.bytes;
        answer.onCredit();
        return;
      }
      case "closed":
        this.end(false);
        return;
    }
  }

  /** The client is to go elsewhere. */
  drain(): void {
    this.#channel.send({ type: "goaway" });
  }

  /** @param tell whether the client hears of it */
  end(tell: boolean): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (tell) this.#channel.send({ type: "closed", isReset: true });
    this.#channel.close();
    for (const id of [...this.#answers.keys()]) this.#giveUp(id);
    this.#onEnded();
  }

  #giveUp(id: number): void {
    const answer = this.#answers.get(id);
    if (answer === undefined) return;
    this.#answers.delete(id);
    answer.abort.abort(new ClusterError("closed", "client_gone", "the client went away"));
    answer.onCredit();
    answer.reader?.cancel().catch(() => {});
  }

  async #answer({ id, method, path, headers, body }: Extract<Message, { type: "request" }>): Promise<void> {
    const answer: Answer = { abort: new AbortController(), reader: undefined, onTheirWay: 0, onCredit: () => {} };
    this.#answers.set(id, answer);
    const { host, port } = this.#options;
    const { signal } = answer.abort;
    const init = { method, headers, signal, ...(body === undefined ? {} : { body }) };
    try {
      const request = new Request(`http://${host}:${port}${path}`, init as RequestInit);
      const response = await this.#handle(request);
      if (!this.#answers.has(id)) {
        await response.body?.cancel();
        return;
      }
      this.#channel.send({ type: "head", id, status: response.status, headers: Object.fromEntries(response.headers) });
      if (response.body !== null) await this.#pump(id, answer, response.body.getReader());
      if (this.#answers.delete(id)) this.#channel.send({ type: "end", id });
    } catch {
      // The body's: the client is told that it is not whole.
      if (this.#answers.delete(id)) this.#channel.send({ type: "failed", id });
    }
  }

  /** As `net/serve-request.ts`: a handler's error is not told to the client. */
  async #handle(request: Request): Promise<Response> {
    try {
      return await this.#options.fetch(request, connectionInfo(this.#from));
    } catch (error) {
      reportFailure(this.#options.log ?? silent, "http_handler_failed", request, error);
      return internalError();
    }
  }

  async #pump(id: number, answer: Answer, reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    answer.reader = reader;
    while (this.#answers.has(id)) {
      const { done, value } = await reader.read();
      if (done || !this.#answers.has(id)) return;
      this.#channel.send({ type: "data", id, bytes: value });
      answer.onTheirWay += value.length;
      while (answer.onTheirWay >= WINDOW_BYTES && this.#answers.has(id)) {
        await new Promise<void>((resolve) => {
          answer.onCredit = resolve;
        });
      }
    }
  }
}

function connectionInfo(from: string): ConnectionInfo {
  const parts = { remoteAddress: from, remotePort: 0, protocol: "h2", encrypted: false, authorized: false };
  // There are no sockets to show.
  return parts as ConnectionInfo;
}
