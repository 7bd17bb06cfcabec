import { describe, expect, it } from "vitest";
import type { Random } from "../../src/base/random.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { FaultyStore, randomFaults, type StoreCall, type StoreFault } from "../../src/testing/faulty-store.ts";
import { codeOf } from "./failure.ts";
import { ManualClock } from "./manual-clock.ts";

const BODY = new TextEncoder().encode("0123456789");

function faultyOnce(fault: StoreFault): { store: FaultyStore; inner: MemoryStore; clock: ManualClock } {
  const clock = new ManualClock();
  const inner = new MemoryStore({ clock });
  const store = new FaultyStore(inner, { clock, onCall: ({ number }) => (number === 1 ? fault : undefined) });
  return { store, inner, clock };
}

describe("FaultyStore", () => {
  it("fails before the effect", async () => {
    const { store, inner } = faultyOnce({ kind: "fail_before" });
    expect(await codeOf(store.put("a", BODY))).toBe("unavailable/store_timeout");
    expect(await inner.get("a")).toBeUndefined();
  });

  it("loses the answer after the effect", async () => {
    const error = new Error("an error of the test's own");
    const { store, inner } = faultyOnce({ kind: "fail_after", error });
    await expect(store.put("a", BODY, { ifAbsent: true })).rejects.toBe(error);
    expect(await inner.get("a")).toBeDefined();
    expect(await store.put("a", BODY, { ifAbsent: true })).toBe("exists");
  });

  it("lets a put land when its client has given up, as it was sent", async () => {
    const { store, inner, clock } = faultyOnce({ kind: "land_later", delayMs: 500 });
    const body = BODY.slice();
    expect(await codeOf(store.put("a", body, { ifAbsent: true }))).toBe("unavailable/store_timeout");
    body.fill(0);
    expect(await store.get("a")).toBeUndefined();
    clock.advance(500);
    await store.landed();
    expect((await inner.get("a"))?.bytes).toEqual(BODY);
  });

  it("delays the effect, and a signal ends the delay", async () => {
    const { store, inner, clock } = faultyOnce({ kind: "delay", delayMs: 70 });
    const put = store.put("a", BODY);
    await new Promise((resolve) => setImmediate(resolve));
    expect([clock.waitingMs, await inner.get("a")]).toEqual([[70], undefined]);
    clock.advance(70);
    expect(await put).toBe("created");

    store.onCall = () => ({ kind: "delay", delayMs: 70 });
    const controller = new AbortController();
    const reason = new Error("stop");
    const aborted = store.put("b", BODY, { signal: controller.signal });
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    expect(await inner.get("b")).toBeUndefined();
  });

  it("damages what a get gives, and nothing else", async () => {
    const store = new FaultyStore(new MemoryStore());
    await store.put("a", BODY);
    store.onCall = () => ({ kind: "truncate", length: 4 });
    expect(await store.get("a")).toMatchObject({ bytes: BODY.slice(0, 4), size: 10 });
    store.onCall = () => ({ kind: "flip", offset: 12 });
    const flipped = BODY.slice();
    flipped[2] = (flipped[2] as number) ^ 1;
    expect((await store.get("a"))?.bytes).toEqual(flipped);
    store.onCall = () => undefined;
    expect((await store.get("a"))?.bytes).toEqual(BODY);
  });

  it("adds its latency to every call, half of it before the effect", async () => {
    const clock = new ManualClock();
    const inner = new MemoryStore({ clock });
    const store = new FaultyStore(inner, { clock, latencyMs: 20 });
    const begunMs = clock.nowMs;
    const put = clock.runUntil(store.put("a", BODY));
    await put;
    expect(clock.nowMs - begunMs).toBe(20);
    expect((await inner.head("a"))?.lastModifiedMs).toBe(begunMs + 10);
    for (const call of [
      () => store.get("a"),
      () => store.head("a"),
      () => store.list(""),
      () => store.delete("a"),
      () => store.deleteMany([]),
    ]) {
      const beforeMs = clock.nowMs;
      await clock.runUntil(call() as Promise<unknown>);
      expect(clock.nowMs - beforeMs).toBe(20);
    }
  });

  it("shows every call to the script", async () => {
    const calls: StoreCall[] = [];
    const store = new FaultyStore(new MemoryStore(), { onCall: (call) => void calls.push(call) });
    await store.put("a", BODY, { ifAbsent: true });
    await store.list("p");
    await store.deleteMany(["x", "y"]);
    expect(calls).toEqual([
      { operation: "put", key: "a", ifAbsent: true, number: 1 },
      { operation: "list", key: "p", ifAbsent: false, number: 2 },
      { operation: "deleteMany", key: "x", ifAbsent: false, number: 3 },
    ]);
  });
});

describe("randomFaults", () => {
  const rates = { failBefore: 0.1, failAfter: 0.1, delay: 0.1, landLater: 0.1, flip: 0.1, delayMsMax: 100 };

  function seeded(seed: number): Random {
    let state = seed;
    const fraction = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    return { bytes: (length) => new Uint8Array(length), fraction };
  }

  function faultsOf(seed: number, operation: StoreCall["operation"]): (StoreFault | undefined)[] {
    const onCall = randomFaults(seeded(seed), rates);
    return Array.from({ length: 500 }, (_, index) => onCall({ operation, key: "a", ifAbsent: false, number: index }));
  }

  it("are the same for the same seed", () => {
    expect(faultsOf(1, "put")).toEqual(faultsOf(1, "put"));
    expect(faultsOf(1, "put")).not.toEqual(faultsOf(2, "put"));
  });

  it("are of all kinds that suit the call", () => {
    const kinds = (operation: StoreCall["operation"]) =>
      [...new Set(faultsOf(3, operation).map((fault) => fault?.kind))].sort();
    expect(kinds("put")).toEqual(["delay", "fail_after", "fail_before", "land_later", undefined]);
    expect(kinds("get")).toEqual(["delay", "fail_after", "fail_before", "flip", undefined]);
    expect(kinds("list")).toEqual(["delay", "fail_after", "fail_before", undefined]);
  });
});
