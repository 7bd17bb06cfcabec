import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import type { Clock } from "../base/clock.ts";

/** How every HTTP/2 connection in clear begins (RFC 9113 §3.4); no HTTP/1.1 request can. */
const HTTP2_PREFACE = "PRI * HTTP/2.0";

/** What a connection speaks. */
export type WireProtocol = "http/1.1" | "h2";

/**
 * Reads the first bytes of a connection, in whatever pieces they arrive, puts them back and tells which protocol they
 * begin. A connection that ends, fails or stays silent for `timeoutMs` before that is destroyed.
 */
export function sniffProtocol(
  socket: Socket,
  options: { readonly timeoutMs: number; readonly clock: Clock },
  onProtocol: (protocol: WireProtocol) => void,
): void {
  let seen = Buffer.alloc(0);
  const stop = (): void => {
    cancelTimeout();
    socket.off("readable", onReadable);
    socket.off("end", giveUp);
    socket.off("close", stop);
  };
  const giveUp = (): void => {
    stop();
    socket.destroy();
  };
  const onReadable = (): void => {
    for (let chunk = readChunk(socket); chunk !== null; chunk = readChunk(socket)) seen = Buffer.concat([seen, chunk]);
    if (seen.length === 0) return;
    const protocol = protocolOf(seen);
    if (protocol === undefined) return;
    stop();
    socket.unshift(seen);
    onProtocol(protocol);
  };
  const cancelTimeout = options.clock.after(options.timeoutMs, giveUp);
  socket.on("readable", onReadable);
  socket.on("end", giveUp);
  socket.on("close", stop);
}

function readChunk(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null;
}

/** `undefined` while the bytes could still become either. */
function protocolOf(seen: Buffer): WireProtocol | undefined {
  const length = Math.min(seen.length, HTTP2_PREFACE.length);
  if (seen.toString("latin1", 0, length) !== HTTP2_PREFACE.slice(0, length)) return "http/1.1";
  return length === HTTP2_PREFACE.length ? "h2" : undefined;
}
