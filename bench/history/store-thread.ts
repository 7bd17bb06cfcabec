/** The thread of a {@link ThreadStore}. */
import { parentPort } from "node:worker_threads";
import type { Clock } from "../../src/base/clock.ts";
import type { PutBody } from "../../src/mod.ts";
import { systemClock } from "../../src/platform/system.ts";
import { BenchStore } from "./bench-store.ts";
import type { ThreadAnswer, ThreadCall } from "./thread-store.ts";
import { serveUploads } from "./upload-server.ts";

let aheadMs = 0;
const clock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + aheadMs };
// Other calls are answered between the pieces of a large body.
const upload = () => new Promise<void>((resolve) => setImmediate(resolve));
const store = new BenchStore({ clock, isCompressing: false, upload });
/** Pieces of bodies whose call is not here yet. */
const bodies = new Map<number, Uint8Array[]>();

function takeBody(id: number): PutBody {
  const pieces = bodies.get(id) ?? [];
  bodies.delete(id);
  const [only] = pieces;
  if (only !== undefined && pieces.length === 1) return only;
  let next = 0;
  return {
    byteLength: pieces.reduce((sum, { length }) => sum + length, 0),
    // In pieces of the same size as they were sent.
    read: () => pieces[next++] as Uint8Array,
  };
}

async function carryOut({
  id,
  operation,
  key,
  keys = [],
  options = {},
  bytes,
  byMs = 0,
}: ThreadCall): Promise<unknown> {
  switch (operation) {
    case "get":
      return await store.get(key, options);
    case "head":
      return await store.head(key);
    case "list":
      return await store.list(key, options);
    case "deleteMany":
      return await store.deleteMany(keys);
    case "put":
      return await store.put(key, takeBody(id), options);
    case "piece":
      bodies.set(id, [...(bodies.get(id) ?? []), bytes as Uint8Array]);
      return undefined;
    case "setForward":
      aheadMs += byMs;
      return undefined;
    case "serveUploads":
      return await serveUploads(store);
  }
}

parentPort?.on("message", (call: ThreadCall) => {
  void carryOut(call).then((answer) => {
    if (call.operation !== "piece") parentPort?.postMessage({ id: call.id, answer } satisfies ThreadAnswer);
  });
});
