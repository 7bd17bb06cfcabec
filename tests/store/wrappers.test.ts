import { describe, expect, it } from "vitest";
import { ClusterError, type ErrorKind } from "../../src/errors.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { MeteredStore, type ObservedRequest, type RequestKind } from "../../src/store/metered-store.ts";
import { PrefixStore } from "../../src/store/prefix-store.ts";
import { RetryingStore } from "../../src/store/retrying-store.ts";
import type { ObjectStore, PutBody } from "../../src/store/store.ts";
import { FaultyStore, type StoreCall, type StoreFault } from "../../src/testing/faulty-store.ts";
import { partSource } from "../../src/testing/store-checks/check.ts";
import { codeOf } from "./failure.ts";
import { ManualClock } from "./manual-clock.ts";

const MIB = 1024 * 1024;
const BODY = new TextEncoder().encode("body");
const noJitter = { bytes: (length: number) => new Uint8Array(length), fraction: () => 1 };

describe("PrefixStore", () => {
  it("keeps to its part of the store", async () => {
    const whole = new MemoryStore();
    const part = new PrefixStore(whole, "a/b");
    await part.put("x", BODY);
    await whole.put("a/bc", BODY);
    await whole.put("a/b0/x", BODY);
    expect(await whole.get("a/b/x")).toBeDefined();
    expect((await part.list("")).objects).toEqual([{ key: "x", size: 4 }]);
    await part.deleteMany(["x", "c", "0/x"]);
    expect((await whole.list("")).objects.map(({ key }) => key)).toEqual(["a/b0/x", "a/bc"]);
  });

  it("cannot be left through a key or prefix", async () => {
    const part = new PrefixStore(new MemoryStore(), "a/");
    expect(await codeOf(part.get("../x"))).toBe("invalid/bad_key");
    expect(await codeOf(part.list("../"))).toBe("invalid/bad_key");
    expect(await codeOf(() => new PrefixStore(new MemoryStore(), ""))).toBe("invalid/bad_key");
    expect(await codeOf(() => new PrefixStore(new MemoryStore(), "/a"))).toBe("invalid/bad_key");
  });

  it("checks keys and prefixes itself: the store below might not", async () => {
    const careless = {
      ...new MemoryStore(),
      get: async () => undefined,
      list: async () => ({ objects: [], more: false }),
    } as unknown as ObjectStore;
    const part = new PrefixStore(careless, "a");
    expect(await codeOf(part.get("../x"))).toBe("invalid/bad_key");
    expect(await codeOf(part.list("../"))).toBe("invalid/bad_key");
  });

  it("has a URL of its own", () => {
    const at = (url: string) => new PrefixStore({ ...new MemoryStore(), url } as unknown as ObjectStore, "p q/r").url;
    expect(at("memory:")).toBe("memory:p%20q/r");
    expect(at("file:///data")).toBe("file:///data/p%20q/r");
    expect(at("s3://bucket?region=x")).toBe("s3://bucket/p%20q/r?region=x");
  });
});

describe("RetryingStore", () => {
  /** A store of which the first calls fail, and how often it is called. */
  function failing(failures: number, kind: ErrorKind = "unavailable", details: Record<string, unknown> = {}) {
    const calls: StoreCall[] = [];
    const clock = new ManualClock();
    const faulty = new FaultyStore(new MemoryStore({ clock }), {
      clock,
      onCall: (call) => {
        calls.push(call);
        const error = new ClusterError(kind, "store_failed", "failed on purpose", details);
        return calls.length <= failures ? { kind: "fail_before", error } : undefined;
      },
    });
    return { calls, clock, store: new RetryingStore(faulty, { clock, random: noJitter }) };
  }

  const repeated: [string, (store: ObjectStore) => Promise<unknown>][] = [
    ["get", (store) => store.get("a")],
    ["head", (store) => store.head("a")],
    ["put", (store) => store.put("a", BODY)],
    ["put of a small source", (store) => store.put("a", partSource(new Uint8Array(MIB)))],
    ["list", (store) => store.list("")],
    ["delete", (store) => store.delete("a")],
    ["deleteMany", (store) => store.deleteMany(["a"])],
  ];

  it.each(repeated)("%s is repeated until it succeeds", async (_name, call) => {
    const { calls, clock, store } = failing(3);
    await clock.runUntil(call(store));
    expect(calls.length).toBe(4);
  });

  it.each(repeated)("%s is repeated a bounded number of times", async (_name, call) => {
    const { calls, clock, store } = failing(Number.POSITIVE_INFINITY);
    expect(await clock.runUntil(codeOf(call(store)))).toBe("unavailable/store_failed");
    expect(calls.length).toBe(4);
  });

  it("a create is never repeated", async () => {
    const { calls, store } = failing(1);
    expect(await codeOf(store.put("a", BODY, { ifAbsent: true }))).toBe("unavailable/store_failed");
    expect(calls.length).toBe(1);
  });

  it("a large source, which can be read once, is not repeated", async () => {
    const { calls, store } = failing(1);
    const source = partSource(new Uint8Array(16 * MIB + 1));
    expect(await codeOf(store.put("a", source))).toBe("unavailable/store_failed");
    expect([calls.length, source.bytesRead()]).toEqual([1, 0]);
  });

  it("what a repetition cannot mend is not repeated", async () => {
    const { calls, store } = failing(1, "invalid");
    expect(await codeOf(store.get("a"))).toBe("invalid/store_failed");
    expect(calls.length).toBe(1);
  });

  it("pauses double, up to a limit, and obey the store within reason", async () => {
    const pauses = async (details: Record<string, unknown>, fraction: number) => {
      const clock = new ManualClock();
      const error = new ClusterError("unavailable", "store_failed", "failed on purpose", details);
      const faulty = new FaultyStore(new MemoryStore(), { onCall: () => ({ kind: "fail_before", error }) });
      const random = { ...noJitter, fraction: () => fraction };
      const store = new RetryingStore(faulty, { clock, random, attemptsMax: 5, backoffMs: 100, backoffMaxMs: 300 });
      const outcome = codeOf(store.get("a"));
      const seen: number[] = [];
      while (seen.length < 4) {
        await new Promise((resolve) => setImmediate(resolve));
        const [pauseMs] = clock.waitingMs;
        if (pauseMs === undefined) continue;
        seen.push(pauseMs);
        clock.advance(pauseMs);
      }
      await outcome;
      return seen;
    };
    expect(await pauses({}, 1)).toEqual([100, 200, 300, 300]);
    expect(await pauses({}, 0)).toEqual([50, 100, 150, 150]);
    expect(await pauses({ retryAfterMs: 250 }, 1)).toEqual([250, 250, 300, 300]);
    expect(await pauses({ retryAfterMs: 1e9 }, 1)).toEqual([30_000, 30_000, 30_000, 30_000]);
  });

  it("a signal ends a pause with its reason", async () => {
    const { calls, clock, store } = failing(Number.POSITIVE_INFINITY);
    const controller = new AbortController();
    const reason = new Error("stop");
    const outcome = store.get("a", { signal: controller.signal }).catch((error: unknown) => error);
    await expect.poll(() => clock.waitingMs.length).toBe(1);
    controller.abort(reason);
    expect(await outcome).toBe(reason);
    expect([calls.length, clock.waitingMs]).toEqual([1, []]);
  });

  it("wrong settings are refused", async () => {
    expect(await codeOf(() => new RetryingStore(new MemoryStore(), { attemptsMax: 0 }))).toBe(
      "invalid/bad_store_option",
    );
  });
});

describe("MeteredStore", () => {
  it("counts requests, bytes and failures by kind, and what they cost", async () => {
    let fails = false;
    const inParts = Object.assign(new MemoryStore(), {
      requestsOfPut: ({ byteLength }: PutBody) => (byteLength > 100 ? 5 : 1),
    });
    const faulty = new FaultyStore(inParts, { onCall: () => (fails ? { kind: "fail_before" } : undefined) });
    // However deep the store is that takes several requests for one put.
    const store = new MeteredStore(new PrefixStore(new RetryingStore(faulty, { attemptsMax: 1 }), "p"), {
      prices: { get: 1, head: 10, put: 100, list: 1_000, delete: 10_000 },
    });
    await store.put("a", BODY);
    await store.put("a", BODY, { ifAbsent: true });
    await store.put("b", new Uint8Array(101));
    await store.get("a");
    await store.get("b", { range: { offset: 1, length: 2 } });
    await store.get("missing");
    await store.head("a");
    await store.list("");
    await store.delete("a");
    await store.deleteMany(Array.from({ length: 1_001 }, (_, index) => `k${index}`));
    fails = true;
    await store.get("b").catch(() => {});
    await store.put("c", BODY).catch(() => {});
    const counts = (requests: number, errors: number, bytesIn: number, bytesOut: number) => {
      return { requests, errors, bytesIn, bytesOut };
    };
    expect(JSON.parse(JSON.stringify(store.snapshot()))).toEqual({
      get: counts(4, 1, 6, 0),
      head: counts(1, 0, 0, 0),
      put: counts(8, 1, 0, 113),
      list: counts(1, 0, 0, 0),
      delete: counts(3, 0, 0, 0),
      total: counts(17, 2, 6, 113),
      estimatedUsd: (4 * 1 + 10 + 8 * 100 + 1_000 + 3 * 10_000) / 1_000_000,
    });
  });

  describe("with an observer", () => {
    function observed(fault: (call: StoreCall) => StoreFault | undefined = () => undefined) {
      const clock = new ManualClock();
      const seen: [RequestKind, ObservedRequest][] = [];
      const onRequest = (kind: RequestKind, request: ObservedRequest) => void seen.push([kind, request]);
      const onCall = (call: StoreCall) => {
        clock.advance(7);
        return fault(call);
      };
      const below = new FaultyStore(new MemoryStore({ clock }), { clock, onCall });
      return { seen, store: new MeteredStore(below, { clock, onRequest }) };
    }
    const answered = (bytesIn: number, bytesOut: number) => ({ durationMs: 7, failed: false, bytesIn, bytesOut });

    it("it is told of every call, how long it took and what it moved", async () => {
      const { seen, store } = observed();
      await store.put("a", BODY);
      await store.put("a", BODY, { ifAbsent: true });
      await store.get("a", { range: { offset: 1, length: 2 } });
      await store.get("missing");
      await store.head("a");
      await store.list("");
      await store.delete("a");
      await store.deleteMany(["a", "b"]);
      expect(seen).toEqual([
        ["put", answered(0, 4)],
        ["put", answered(0, 4)],
        ["get", answered(2, 0)],
        ["get", answered(0, 0)],
        ["head", answered(0, 0)],
        ["list", answered(0, 0)],
        ["delete", answered(0, 0)],
        ["delete", answered(0, 0)],
      ]);
    });

    it("it is told of failures, which reach the caller as they are", async () => {
      const { seen, store } = observed(() => ({ kind: "fail_before" }));
      expect(await codeOf(store.put("a", BODY))).toBe("unavailable/store_timeout");
      expect(await codeOf(store.get("a"))).toBe("unavailable/store_timeout");
      expect(seen).toEqual([
        ["put", { durationMs: 7, failed: true, bytesIn: 0, bytesOut: 4 }],
        ["get", { durationMs: 7, failed: true, bytesIn: 0, bytesOut: 0 }],
      ]);
    });

    it("one that throws changes no outcome", async () => {
      const onRequest = () => {
        throw new Error("the observer is broken");
      };
      const store = new MeteredStore(new MemoryStore(), { onRequest });
      expect(await store.put("a", BODY, { ifAbsent: true })).toBe("created");
      expect(await store.put("a", BODY, { ifAbsent: true })).toBe("exists");
      expect((await store.get("a"))?.bytes).toEqual(BODY);
      expect(store.snapshot().total).toMatchObject({ requests: 3, errors: 0, bytesIn: 4, bytesOut: 8 });
    });
  });

  it("costs what S3 costs", async () => {
    const store = new MeteredStore(new MemoryStore());
    const before = store.snapshot();
    for (let i = 0; i < 10; i++) await store.put("a", BODY);
    for (let i = 0; i < 10; i++) await store.get("a");
    expect(store.snapshot().estimatedUsd).toBeCloseTo((10 * 5 + 10 * 0.4) / 1_000_000, 12);
    expect(before.estimatedUsd).toBe(0);
  });
});
