import { describe, expect, it } from "vitest";
import { SimulatedBucket } from "../../../src/testing/simulator/bucket.ts";
import { type CallFate, SimulatedStore } from "../../../src/testing/simulator/store.ts";
import { VirtualTime } from "../../../src/testing/simulator/virtual-time.ts";
import { newProcess, watch } from "./world.ts";

const BYTES = new Uint8Array([1, 2, 3, 4]);

function newStore() {
  const time = new VirtualTime();
  const bucket = new SimulatedBucket(time, 0, {});
  const process = newProcess(time, "a");
  const fate: { next: Partial<CallFate> } = { next: {} };
  const weather = () => ({ thereMs: 10, backMs: 10, ...fate.next });
  const store = new SimulatedStore({ time, bucket, process, weather, timeoutMs: 1000 });
  const stored = async () => (await bucket.objects.get("k"))?.bytes;
  return { time, process, store, fate, stored };
}

describe("a simulated store", () => {
  it("does what it is asked half way, and answers after that", async () => {
    const { time, store, stored } = newStore();
    const put = watch(store.put("k", BYTES, { ifAbsent: true }));
    await time.run(5);
    expect(await stored()).toBeUndefined();
    await time.run(15);
    expect([await stored(), put]).toEqual([BYTES, {}]);
    await time.run(25);
    expect(put).toEqual({ value: "created" });
  });

  it("loses a request, or its answer: the caller cannot tell which", async () => {
    for (const [next, expected] of [
      [{ isLost: true }, undefined],
      [{ isAnswerLost: true }, BYTES],
    ] as const) {
      const { time, store, fate, stored } = newStore();
      fate.next = next;
      const put = watch(store.put("k", BYTES));
      await time.run(2000);
      expect(put.error).toMatchObject({ kind: "unavailable", code: "store_timeout" });
      expect(await stored()).toEqual(expected);
    }
  });

  it("lands a request long after its caller gave up, or is dead, with the bytes of then", async () => {
    const { time, process, store, fate, stored } = newStore();
    fate.next = { thereMs: 60_000 };
    const body = BYTES.slice();
    const put = watch(store.put("k", body));
    await time.run(2000);
    body.fill(0);
    process.end();
    expect([put.error !== undefined, await stored()]).toEqual([true, undefined]);
    await time.run(61_000);
    expect(await stored()).toEqual(BYTES);
  });

  it("refuses before it does something, or after", async () => {
    for (const [after, expected] of [
      [false, undefined],
      [true, BYTES],
    ] as const) {
      const { time, store, fate, stored } = newStore();
      fate.next = { refused: { status: 503, after } };
      const put = watch(store.put("k", BYTES));
      await time.run(100);
      expect(put.error).toMatchObject({ kind: "unavailable", details: { status: 503 } });
      expect(await stored()).toEqual(expected);
    }
  });

  it("cuts what is read, or gets a bit wrong, and tells the true size", async () => {
    const { time, store, fate } = newStore();
    watch(store.put("k", BYTES));
    await time.run(100);
    for (const [kind, bytes] of [
      ["truncate", [1, 2]],
      ["flip", [1, 2, 2, 4]],
    ] as const) {
      fate.next = { damage: { kind, share: 0.5 } };
      const get = watch(store.get("k"));
      await time.run(time.nowMs + 100);
      expect(get.value).toMatchObject({ size: 4, bytes: new Uint8Array(bytes) });
    }
  });

  it("answers nobody who is paused before he goes on, and ends a call whose signal aborts", async () => {
    const { time, process, store } = newStore();
    const get = watch(store.get("k"));
    process.pause();
    await time.run(100);
    expect(get).toEqual({});
    process.resume();
    await time.run(200);
    expect("value" in get).toBe(true);
    const abort = new AbortController();
    const head = watch(store.head("k", { signal: abort.signal }));
    abort.abort(new Error("enough"));
    await time.run(201);
    expect(head.error).toMatchObject({ message: "enough" });
    expect(store.pendingCount).toBe(0);
  });
});
