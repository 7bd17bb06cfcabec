/** A network of machines that loses, delays and cuts. What travels on it: see `connection.ts`. */
import { ClusterError } from "../../errors.ts";
import type { Listener, ListenOptions } from "../../net/server.ts";
import type { Connection, ConnectOptions, Transport } from "../../net/transport.ts";
import { SimulatedConnection } from "./connection.ts";
import { SimulatedListener } from "./listener.ts";
import type { SimulatedProcess } from "./process.ts";
import type { SeededRandom } from "./seeded-random.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Ports that are given to who asks for any. */
const ANY_PORT_FIRST = 40_000;

export interface NetworkOptions {
  readonly time: VirtualTime;
  readonly random: SeededRandom;
  /** One way, at the least. *Default* 0.2. */
  readonly latencyMs?: number;
  /** Mean of what chance adds. *Default* 0.3. */
  readonly jitterMs?: number;
}

/** What is wrong with the way from one machine to another. */
interface LinkFault {
  /** Nothing passes since then. */
  cutAtMs: number | undefined;
  /** Added to every message. */
  slowMs: number;
}

/** Something that waits for a way to be free again. */
type Waiting = () => void;

export class SimulatedNetwork {
  readonly time: VirtualTime;
  readonly #random: SeededRandom;
  readonly #latencyMs: number;
  readonly #jitterMs: number;
  readonly #links = new Map<string, LinkFault>();
  readonly #waiting = new Map<string, Waiting[]>();
  readonly #listeners = new Map<string, SimulatedListener>();
  readonly #connections = new Set<SimulatedConnection>();
  #anyPort = ANY_PORT_FIRST;

  constructor({ time, random, latencyMs = 0.2, jitterMs = 0.3 }: NetworkOptions) {
    this.time = time;
    this.#random = random;
    this.#latencyMs = latencyMs;
    this.#jitterMs = jitterMs;
  }

  /** Connections of which one side, at least, does not know yet that they are over. */
  /** Connections that a process made, and has not given up. */
  connectionsOf(process: SimulatedProcess): number {
    return [...this.#connections].filter((connection) => connection.isFrom(process)).length;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }

  /** A process's way to the network. */
  transportOf(process: SimulatedProcess): Transport {
    return {
      listen: async (options) => this.#listen(process, options),
      connect: (options) => this.#connect(process, options),
    };
  }

  /** Nothing passes from one machine to another any more, in this direction; what is sent arrives when that is over. */
  cut(from: string, to: string): void {
    this.#link(from, to).cutAtMs ??= this.time.nowMs;
    for (const connection of this.#connections) connection.watch();
  }

  mend(from: string, to: string): void {
    this.#link(from, to).cutAtMs = undefined;
    const waiting = this.#waiting.get(linkName(from, to)) ?? [];
    this.#waiting.delete(linkName(from, to));
    for (const go of waiting) go();
  }

  slow(from: string, to: string, byMs: number): void {
    this.#link(from, to).slowMs = byMs;
  }

  /** Connections between the two are reset. */
  reset(host: string, other: string): void {
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(host, other)) connection.reset();
    }
  }

  /** The process is paused, or goes on: who talks to it may notice. */
  silenced(): void {
    for (const connection of this.#connections) connection.watch();
  }

  /** A process is gone: its listeners, and its sides of connections. */
  ended(process: SimulatedProcess): void {
    for (const [address, listener] of this.#listeners) {
      if (listener.process === process) this.#listeners.delete(address);
    }
    for (const connection of [...this.#connections]) connection.processEnded(process);
  }

  /** Since when nothing passes; `undefined` if it does. */
  cutSinceMs(from: string, to: string): number | undefined {
    return this.#links.get(linkName(from, to))?.cutAtMs;
  }

  /** How long a message takes. */
  delayMs(from: string, to: string): number {
    const { slowMs = 0 } = this.#links.get(linkName(from, to)) ?? {};
    return (
      this.#latencyMs + this.#random.exponential(this.#jitterMs) + (slowMs > 0 ? this.#random.fraction() * slowMs : 0)
    );
  }

  /** Calls `go` when the way is free again. */
  whenMended(from: string, to: string, go: Waiting): void {
    const name = linkName(from, to);
    const waiting = this.#waiting.get(name);
    if (waiting === undefined) this.#waiting.set(name, [go]);
    else waiting.push(go);
  }

  listenerAt(address: string): SimulatedListener | undefined {
    return this.#listeners.get(address);
  }

  /** When a ping is answered at the latest, by chance: how long after silence began it is noticed. */
  noticeMs(timeoutMs: number, intervalMs: number): number {
    return timeoutMs + this.#random.fraction() * intervalMs;
  }

  forget(connection: SimulatedConnection): void {
    this.#connections.delete(connection);
  }

  #connect(process: SimulatedProcess, options: ConnectOptions): Connection {
    const connection = new SimulatedConnection(this, process, options);
    // One that is killed in the middle of a turn does nothing with the rest of it.
    if (process.state !== "ended") this.#connections.add(connection);
    return connection;
  }

  #listen(process: SimulatedProcess, options: ListenOptions): Listener {
    if (process.state === "ended") throw new Error(`${process.name} is gone`);
    const port = options.port === 0 ? this.#anyPort++ : options.port;
    const address = `${process.host}:${port}`;
    if (options.host !== process.host || this.#listeners.has(address)) {
      throw new ClusterError("invalid", "address_in_use", `cannot listen on ${options.host}:${port}: it is taken`, {});
    }
    const listener = new SimulatedListener(process, port, options, () => {
      if (this.#listeners.get(address) === listener) this.#listeners.delete(address);
    });
    this.#listeners.set(address, listener);
    return listener;
  }

  #link(from: string, to: string): LinkFault {
    const name = linkName(from, to);
    let link = this.#links.get(name);
    if (link === undefined) {
      link = { cutAtMs: undefined, slowMs: 0 };
      this.#links.set(name, link);
    }
    return link;
  }
}

function linkName(from: string, to: string): string {
  return `${from}>${to}`;
}
