/** The client's side of one connection on the simulated network; behaves towards `Peer` as `PeerSession` does. */
import type { IncomingHttpHeaders } from "node:http2";
import { concatBytes } from "../../base/bytes.ts";
import type { Cancel } from "../../base/clock.ts";
import { BodyQueue } from "../../net/body-queue.ts";
import type { ExchangeHandlers, PreparedRequest } from "../../net/exchange.ts";
import { type PeerFailure, peerError } from "../../net/peer-error.ts";
import { PeerResponse } from "../../net/peer-response.ts";
import type { Connection, ConnectionState, ConnectOptions, SentRequest } from "../../net/transport.ts";
import { Channel, type Message } from "./channel.ts";
import type { ServerSide, SimulatedListener } from "./listener.ts";
import type { SimulatedNetwork } from "./network.ts";
import type { SimulatedProcess } from "./process.ts";

export class SimulatedConnection implements Connection {
  readonly #network: SimulatedNetwork;
  readonly #client: SimulatedProcess;
  readonly #options: ConnectOptions;
  readonly #address: string;
  readonly #serverHost: string;
  readonly #beganMs: number;
  readonly #exchanges = new Map<number, SimulatedExchange>();
  #state: ConnectionState = "connecting";
  #isConnected = false;
  #cause: unknown;
  #listener: SimulatedListener | undefined;
  #server: ServerSide | undefined;
  #toServer: Channel | undefined;
  #toClient: Channel | undefined;
  #nextId = 1;
  #cancelTimer: Cancel = () => {};
  #isWatched = false;

  constructor(network: SimulatedNetwork, client: SimulatedProcess, options: ConnectOptions) {
    this.#network = network;
    this.#client = client;
    this.#options = options;
    this.#address = new URL(options.url).host;
    this.#serverHost = new URL(options.url).hostname;
    this.#beganMs = options.clock.monotonicMs();
    const { connectTimeoutMs } = options.limits;
    this.#cancelTimer = options.clock.after(connectTimeoutMs, () =>
      this.destroy(new Error(`no HTTP/2 settings within ${connectTimeoutMs} ms`)),
    );
    if (client.state === "ended") return;
    network.time.schedule(network.delayMs(client.host, this.#serverHost), () => this.#reach());
  }

  get state(): ConnectionState {
    return this.#state;
  }

  isFrom(process: SimulatedProcess): boolean {
    return this.#client === process;
  }

  get elapsedMs(): number {
    return this.#options.clock.monotonicMs() - this.#beganMs;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get cause(): unknown {
    return this.#cause;
  }

  get inFlight(): number {
    return this.#exchanges.size;
  }

  get hasRoom(): boolean {
    return this.#state === "open" && this.#exchanges.size < this.#options.limits.requestsInFlightMax;
  }

  isBetween(host: string, other: string): boolean {
    const ends = [this.#client.host, this.#serverHost];
    return ends.includes(host) && ends.includes(other);
  }

  send(request: PreparedRequest, handlers: ExchangeHandlers): SentRequest {
    const id = this.#nextId++;
    const exchange = new SimulatedExchange(request, {
      handlers,
      cause: () => this.#cause,
      toServer: (message) => this.#toServer?.send({ ...message, id } as Message),
      onOver: () => {
        this.#exchanges.delete(id);
        if (this.#state === "draining" && this.#exchanges.size === 0) this.destroy(undefined);
        this.#options.onChange(this);
      },
    });
    this.#exchanges.set(id, exchange);
    const { method, path, headers, body } = request;
    this.#toServer?.send({ type: "request", id, method, path, headers, body: body?.slice() });
    return exchange;
  }

  drain(timeoutMs: number): void {
    if (this.#state === "draining" || this.#state === "lost") return;
    if (this.#state === "connecting" || this.#exchanges.size === 0) {
      this.destroy(undefined);
      return;
    }
    this.#state = "draining";
    this.#cancelTimer = this.#options.clock.after(timeoutMs, () => this.destroy(new Error("the drain timed out")));
    this.#options.onChange(this);
  }

  destroy(cause: unknown): void {
    if (this.#state === "lost") return;
    this.#toServer?.send({ type: "closed", isReset: cause !== undefined });
    this.#lose(cause);
  }

  /** Something in between cuts it: both sides are told. */
  reset(): void {
    const { time } = this.#network;
    time.schedule(0, () => this.#server?.end(false), { owner: this.#listener?.process });
    time.schedule(0, () => this.#lose(systemError("ECONNRESET")), { owner: this.#client });
  }

  /** Its pings may be unanswered from now on. */
  watch(): void {
    if (this.#isWatched || this.#server === undefined || this.#silentSinceMs() === undefined) return;
    this.#isWatched = true;
    const { pingTimeoutMs, pingIntervalMs } = this.#options.limits;
    const { time } = this.#network;
    const asClient = () => {
      if (this.#state === "lost") return;
      this.#isWatched = false;
      const sinceMs = this.#silentSinceMs();
      if (sinceMs === undefined) return;
      if (time.nowMs - sinceMs >= pingTimeoutMs) this.destroy(new Error(`no answer to pings for ${pingTimeoutMs} ms`));
      else this.watch();
    };
    time.schedule(this.#network.noticeMs(pingTimeoutMs, pingIntervalMs), asClient, { owner: this.#client });
    const listener = this.#listener as SimulatedListener;
    const asServer = () => {
      const sinceMs = this.#silentSinceMs();
      if (sinceMs !== undefined && time.nowMs - sinceMs >= listener.pingTimeoutMs) this.#server?.end(true);
    };
    const noticeMs = this.#network.noticeMs(listener.pingTimeoutMs, listener.pingIntervalMs);
    time.schedule(noticeMs, asServer, { owner: listener.process });
  }

  /** One of the two processes is gone; its machine tells the other. */
  processEnded(process: SimulatedProcess): void {
    const { time } = this.#network;
    if (process === this.#client) {
      this.#state = "lost";
      this.#network.forget(this);
      this.#toServer?.send({ type: "closed", isReset: true });
      this.#toServer?.close();
    } else if (process === this.#listener?.process && this.#server !== undefined) {
      this.#toClient?.send({ type: "closed", isReset: true });
      this.#toClient?.close();
    } else if (process === this.#listener?.process) {
      time.schedule(0, () => this.#refused(), {});
    }
  }

  /** The attempt arrives at the other machine. */
  #reach(): void {
    const { host } = this.#client;
    if (this.#state !== "connecting" || this.#isCut(host, this.#serverHost)) return;
    const listener = this.#network.listenerAt(this.#address);
    if (listener === undefined) {
      this.#refused();
      return;
    }
    this.#listener = listener;
    const { time } = this.#network;
    time.schedule(this.#network.delayMs(this.#serverHost, host), () => this.#connected(), { owner: this.#client });
    time.schedule(0, () => this.#accept(listener), { owner: listener.process });
  }

  #refused(): void {
    const { host } = this.#client;
    if (this.#isCut(this.#serverHost, host)) return;
    const answer = () => this.#lose(systemError("ECONNREFUSED"));
    this.#network.time.schedule(this.#network.delayMs(this.#serverHost, host), answer, { owner: this.#client });
  }

  #connected(): void {
    if (!this.#isCut(this.#serverHost, this.#client.host)) this.#isConnected = true;
  }

  #accept(listener: SimulatedListener): void {
    if (this.#state === "lost") return;
    const network = this.#network;
    const { host } = this.#client;
    this.#toServer = new Channel({
      network,
      from: host,
      to: this.#serverHost,
      receiver: listener.process,
      receive: (messages) => {
        for (const message of messages) this.#server?.receive(message);
      },
    });
    this.#toClient = new Channel({
      network,
      from: this.#serverHost,
      to: host,
      receiver: this.#client,
      receive: (messages) => this.#receive(messages),
    });
    this.#server = listener.accept(this.#toClient, host);
    this.watch();
  }

  #receive(messages: readonly Message[]): void {
    for (const message of messages) {
      if (this.#state === "lost") return;
      this.#take(message);
    }
  }

  #take(message: Message): void {
    switch (message.type) {
      case "settings":
        if (this.#state !== "connecting") return;
        this.#cancelTimer();
        this.#isConnected = true;
        this.#state = "open";
        this.#options.onChange(this);
        return;
      case "goaway":
        this.drain(this.#options.limits.drainTimeoutMs);
        return;
      case "closed":
        this.#lose(message.isReset ? systemError("ECONNRESET") : undefined);
        return;
      case "head":
      case "data":
      case "end":
      case "failed":
        this.#exchanges.get(message.id)?.receive(message);
    }
  }

  #lose(cause: unknown): void {
    if (this.#state === "lost") return;
    this.#state = "lost";
    this.#cause ??= cause;
    this.#cancelTimer();
    this.#network.forget(this);
    const lost = [...this.#exchanges.values()];
    this.#options.clock.soon(() => {
      for (const exchange of lost) exchange.connectionLost();
    });
    this.#options.onChange(this);
  }

  #isCut(from: string, to: string): boolean {
    return this.#network.cutSinceMs(from, to) !== undefined;
  }

  /** Since when neither side has heard of the other. */
  #silentSinceMs(): number | undefined {
    const { host } = this.#client;
    const since = [
      this.#network.cutSinceMs(host, this.#serverHost),
      this.#network.cutSinceMs(this.#serverHost, host),
      this.#client.silentSinceMs,
      this.#listener?.process.silentSinceMs,
    ].filter((ms) => ms !== undefined);
    return since.length === 0 ? undefined : Math.min(...since);
  }
}

type WithoutId<M> = M extends { readonly id: number } ? Omit<M, "id"> : never;

interface ExchangeParts {
  readonly handlers: ExchangeHandlers;
  readonly cause: () => unknown;
  readonly toServer: (message: WithoutId<Message>) => void;
  readonly onOver: () => void;
}

/** One request and its answer. An answer that is whole when its head arrives is given as a whole. */
class SimulatedExchange implements SentRequest {
  readonly #request: PreparedRequest;
  readonly #parts: ExchangeParts;
  #head: Extract<Message, { type: "head" }> | undefined;
  #body: BodyQueue | undefined;
  #early: Uint8Array[] = [];
  #isOver = false;

  constructor(request: PreparedRequest, parts: ExchangeParts) {
    this.#request = request;
    this.#parts = parts;
  }

  receive(message: Extract<Message, { type: "head" | "data" | "end" | "failed" }>): void {
    if (this.#isOver) return;
    switch (message.type) {
      case "head":
        this.#head = message;
        // The rest of it may be in the same batch: looked at when that has been taken.
        queueMicrotask(() => this.#giveHead());
        return;
      case "data":
        if (this.#body === undefined) this.#early.push(message.bytes);
        else this.#push(message.bytes);
        return;
      case "end":
        if (this.#body === undefined) this.#giveWhole();
        else this.#body.end();
        this.#finish();
        return;
      case "failed":
        this.#fail(this.errorFor("reset", true));
    }
  }

  cancel(error: unknown): void {
    if (this.#isOver) return;
    this.#parts.toServer({ type: "cancel" });
    this.#fail(error);
  }

  connectionLost(): void {
    if (!this.#isOver) this.#fail(this.errorFor(this.#body === undefined ? "lost" : "truncated", true));
  }

  errorFor(reason: PeerFailure, sent: boolean): unknown {
    const { peer, method, path } = this.#request;
    return peerError({ peer, method, path, reason, sent, cause: this.#parts.cause() });
  }

  #giveHead(): void {
    if (this.#isOver || this.#head === undefined || this.#body !== undefined) return;
    const body = new BodyQueue({ pause: () => {}, resume: () => {}, cancel: () => this.cancel(undefined) });
    this.#body = body;
    const early = this.#early;
    this.#early = [];
    this.#answer(body);
    for (const bytes of early) this.#push(bytes);
  }

  #giveWhole(): void {
    this.#answer(concatBytes(this.#early));
  }

  #answer(body: Uint8Array | BodyQueue): void {
    const { status, headers } = this.#head as Extract<Message, { type: "head" }>;
    const head: IncomingHttpHeaders = { ...headers };
    // As HTTP/2 writes it; Node's types want it as a number.
    Object.assign(head, { ":status": String(status) });
    this.#parts.handlers.onAnswer(new PeerResponse(head, body, this.#request.answerBytesMax));
  }

  #push(bytes: Uint8Array): void {
    this.#body?.push(bytes);
    this.#parts.toServer({ type: "credit", bytes: bytes.length });
  }

  #fail(error: unknown): void {
    if (this.#body === undefined) this.#parts.handlers.onFailed(error);
    else this.#body.fail(error);
    this.#finish();
  }

  #finish(): void {
    this.#isOver = true;
    this.#parts.handlers.onOver();
    this.#parts.onOver();
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(`connect ${code} (simulated)`), { code });
}
