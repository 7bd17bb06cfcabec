/** The way to a member over the network, which can be cut, slowed, reset and refused. */
import { connect, createServer, type Server, type Socket } from "node:net";

/** What one direction holds back; beyond, the sender waits. */
const HELD_BYTES_MAX = 1024 * 1024;
const HOST = "127.0.0.1";

/** `in`: towards the member. */
export type Direction = "in" | "out";

/** One direction of one connection: passes bytes on in their order, late or not at all for now. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #link: Link;
  readonly #direction: Direction;
  readonly #waiting: { readonly chunk: Buffer | undefined; readonly dueMs: number }[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, link: Link, direction: Direction) {
    this.#from = from;
    this.#to = to;
    this.#link = link;
    this.#direction = direction;
    from.on("data", (chunk) => this.#take(chunk));
    from.on("end", () => this.#take(undefined));
  }

  pump(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (!this.#link.isCut(this.#direction)) {
      const next = this.#waiting[0];
      if (next === undefined) break;
      const aheadMs = next.dueMs - performance.now();
      if (aheadMs > 0) {
        this.#timer = setTimeout(() => this.pump(), aheadMs);
        break;
      }
      this.#waiting.shift();
      this.#bytes -= next.chunk?.length ?? 0;
      if (next.chunk === undefined) this.#to.end();
      else this.#to.write(next.chunk);
    }
    if (this.#bytes < HELD_BYTES_MAX) this.#from.resume();
  }

  #take(chunk: Buffer | undefined): void {
    this.#waiting.push({ chunk, dueMs: performance.now() + this.#link.delayMs });
    this.#bytes += chunk?.length ?? 0;
    if (this.#bytes >= HELD_BYTES_MAX) this.#from.pause();
    if (this.#timer === undefined) this.pump();
  }
}

interface Connection {
  readonly near: Socket;
  readonly far: Socket;
  readonly pipes: readonly Pipe[];
}

/** Listens on loopback and forwards to a port. */
export class Link {
  /** Every byte takes so much longer, each way. */
  delayMs = 0;
  readonly #targetPort: number;
  readonly #connections = new Set<Connection>();
  readonly #cut = new Set<Direction>();
  #server: Server;
  readonly #port: number;

  private constructor(port: number, targetPort: number) {
    this.#port = port;
    this.#targetPort = targetPort;
    this.#server = this.#newServer();
  }

  static async open(targetPort: number): Promise<Link> {
    // Not any port: it must still be free when it is listened on again.
    const link = new Link(await freePort(), targetPort);
    await link.#listen();
    return link;
  }

  get address(): string {
    return `${HOST}:${this.#port}`;
  }

  isCut(direction: Direction): boolean {
    return this.#cut.has(direction);
  }

  /** What is sent that way goes nowhere, and nobody is told. */
  cut(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#cut.add(direction);
  }

  /** Ends every open connection at once. */
  reset(): void {
    for (const connection of [...this.#connections]) this.#end(connection, true);
  }

  /** Nobody listens any more, and what was open is reset. */
  async refuse(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.reset();
    await closed;
  }

  /** As if nothing had been; what waited arrives. */
  async heal(): Promise<void> {
    this.delayMs = 0;
    this.#cut.clear();
    if (!this.#server.listening) {
      this.#server = this.#newServer();
      await this.#listen();
    }
    for (const { pipes } of [...this.#connections]) for (const pipe of pipes) pipe.pump();
  }

  async close(): Promise<void> {
    if (this.#server.listening) await this.refuse();
  }

  #newServer(): Server {
    return createServer({ allowHalfOpen: true }, (near) => this.#accept(near));
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, HOST, resolve);
    });
  }

  #accept(near: Socket): void {
    const far = connect({ host: HOST, port: this.#targetPort, allowHalfOpen: true });
    const pipes = [new Pipe(near, far, this, "in"), new Pipe(far, near, this, "out")];
    const connection = { near, far, pipes };
    this.#connections.add(connection);
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      socket.on("error", () => {});
      socket.on("close", (hadError) => this.#end(connection, hadError));
    }
  }

  #end(connection: Connection, isReset: boolean): void {
    if (!this.#connections.delete(connection)) return;
    for (const socket of [connection.near, connection.far]) {
      if (isReset) socket.resetAndDestroy();
      else socket.destroySoon();
    }
  }
}

const PORT_MIN = 20_000;
const PORT_COUNT = 12_000;

/** The first of so many ports in a row that nobody listens on, below those that the machine gives to outgoing connections. */
export async function freePort(count: number = 1): Promise<number> {
  for (;;) {
    const first = PORT_MIN + Math.floor(Math.random() * PORT_COUNT);
    const areFree = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)));
    if (!areFree.includes(false)) return first;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return await new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, HOST, () => server.close(() => resolve(true)));
  });
}
