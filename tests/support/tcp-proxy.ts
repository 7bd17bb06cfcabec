/** A TCP connection between nodes that a test can cut. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** `healed`: forwards. `cut`: what arrives goes nowhere, and no connection ends. `refused`: nobody listens. */
type State = "healed" | "cut" | "refused";

interface Pair {
  readonly near: Socket;
  far: Socket | undefined;
}

/** Listens on loopback and forwards to `target`, until told otherwise. */
export class TcpProxy {
  readonly #pairs = new Set<Pair>();
  #server: Server;
  #port = 0;
  #state: State = "healed";
  #delayMs = 0;
  #target: { readonly host: string; readonly port: number };

  private constructor(target: { readonly host: string; readonly port: number }) {
    this.#target = target;
    this.#server = this.#newServer();
  }

  static async start(target: string): Promise<TcpProxy> {
    const [host = "", port] = target.split(":");
    const proxy = new TcpProxy({ host, port: Number(port) });
    await proxy.#listen();
    onTestFinished(() => proxy.refuse());
    return proxy;
  }

  /** `host:port` to advertise. */
  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  /** Like a cable that was pulled: silence both ways, new connections included. */
  cut(): void {
    this.#state = "cut";
    for (const { near, far } of this.#pairs) {
      near.pause();
      far?.pause();
    }
  }

  /** Ends every open connection at once; what becomes of new ones is as before. */
  breakOff(): void {
    this.#reset();
  }

  /** Like a process that was killed: resets what is open, refuses what is new. */
  async refuse(): Promise<void> {
    this.#state = "refused";
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#reset();
    await closed;
  }

  /** Every byte takes so much longer, each way. */
  delay(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** Forwards again; what waited in a cut goes on. */
  async heal(): Promise<void> {
    const wasRefused = this.#state === "refused";
    this.#state = "healed";
    if (wasRefused) {
      this.#server = this.#newServer();
      await this.#listen();
    }
    for (const pair of [...this.#pairs]) {
      if (pair.near.destroyed || pair.far?.destroyed) this.#end(pair, true);
      else if (pair.far === undefined) this.#connect(pair);
      pair.near.resume();
      pair.far?.resume();
    }
  }

  #newServer(): Server {
    // Half-open: an end is passed on like data, and not at all in a cut.
    return createServer({ allowHalfOpen: true }, (near) => this.#accept(near));
  }

  #listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, "127.0.0.1", () => {
        this.#port = (this.#server.address() as { port: number }).port;
        resolve();
      });
    });
  }

  #accept(near: Socket): void {
    const pair: Pair = { near, far: undefined };
    this.#pairs.add(pair);
    this.#watch(pair, near);
    if (this.#state === "healed") this.#connect(pair);
    else near.pause();
  }

  #connect(pair: Pair): void {
    const far = connect({ ...this.#target, allowHalfOpen: true });
    pair.far = far;
    this.#watch(pair, far);
    this.#forward(pair.near, far);
    this.#forward(far, pair.near);
  }

  #watch(pair: Pair, socket: Socket): void {
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("close", (hadError) => {
      // In a cut the other end does not hear of it until that is over.
      if (this.#state !== "cut") this.#end(pair, hadError);
    });
  }

  #end(pair: Pair, isReset: boolean): void {
    this.#pairs.delete(pair);
    for (const socket of [pair.near, pair.far]) {
      if (isReset) socket?.resetAndDestroy();
      else socket?.destroySoon();
    }
  }

  #forward(from: Socket, to: Socket): void {
    from.on("data", (chunk) => this.#later(() => to.write(chunk)));
    from.on("end", () => this.#later(() => to.end()));
    if (this.#state === "cut") from.pause();
  }

  #later(pass: () => void): void {
    if (this.#delayMs === 0) pass();
    else setTimeout(pass, this.#delayMs);
  }

  #reset(): void {
    for (const pair of [...this.#pairs]) this.#end(pair, true);
  }
}

const PORT_MIN = 20_000;
const PORT_COUNT = 12_000;

/** A port that nobody listens on, below those that the machine gives to outgoing connections. */
export async function freePort(host: string = "127.0.0.1"): Promise<number> {
  for (;;) {
    const port = PORT_MIN + Math.floor(Math.random() * PORT_COUNT);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, host, () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}
