import type { Socket } from "node:net";
import type { Cancel, Clock } from "../base/clock.ts";

interface Connection {
  requests: number;
  cancelIdle: Cancel;
}

/** What tells that an answer is over. */
interface Answer {
  once(event: "finish" | "close", listener: () => void): unknown;
}

/**
 * The HTTP/1.1 connections of a listener: which wait and which are at work.
 *
 * `node:http` does this itself only for a server that listens, and ours is handed its connections; and what Deno and
 * Bun do of it differs. One that has no request at work for `idleTimeoutMs` (between two requests, or with the head of
 * one arriving drop by drop) is closed.
 */
export class Http1Connections {
  readonly #connections: Map<Socket, Connection> = new Map();
  readonly #idleTimeoutMs: number;
  readonly #clock: Clock;
  #closing = false;

  constructor(options: { readonly idleTimeoutMs: number; readonly clock: Clock }) {
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.#clock = options.clock;
  }

  /** Takes over a new connection. */
  add(socket: Socket): void {
    if (this.#connections.has(socket)) return;
    const connection: Connection = { requests: 0, cancelIdle: () => {} };
    this.#connections.set(socket, connection);
    socket.once("close", () => {
      connection.cancelIdle();
      this.#connections.delete(socket);
    });
    this.#rest(socket, connection);
  }

  /** A request's head has arrived on the connection; it is at work until the answer is over. */
  begin(socket: Socket, answer: Answer): void {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    connection.cancelIdle();
    connection.requests += 1;
    let over = false;
    const onOver = (): void => {
      if (over) return;
      over = true;
      connection.requests -= 1;
      if (connection.requests === 0 && this.#connections.has(socket)) this.#rest(socket, connection);
    };
    answer.once("finish", onOver);
    answer.once("close", onOver);
  }

  /** Ends the connections that wait; the others end with their answer. */
  close(): void {
    this.#closing = true;
    for (const [socket, connection] of this.#connections) {
      if (connection.requests === 0) socket.destroySoon();
    }
  }

  #rest(socket: Socket, connection: Connection): void {
    if (this.#closing) socket.destroySoon();
    else connection.cancelIdle = this.#clock.after(this.#idleTimeoutMs, () => socket.destroy());
  }
}
