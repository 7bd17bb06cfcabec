import { describe, expect, it } from "vitest";
import { LittleBigCluster } from "../../src/cluster.ts";
import { ClusterError } from "../../src/errors.ts";
import { FileSystemStore } from "../../src/store/file-system-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ListOptions, ObjectStore, PutBody, PutOptions, PutOutcome } from "../../src/store/store.ts";
import { FaultyStore, type StoreCall } from "../../src/testing/faulty-store.ts";
import { ManualClock } from "../store/manual-clock.ts";
import { temporaryDirectory } from "../store/temporary-directory.ts";
import { complaintsOf, examine, findingOf, keysOf, verdictsOf } from "./doctor-support.ts";

const denied = new ClusterError("invalid", "store_denied", "access denied");
const few = { withManyKeys: false };

describe("a good store", () => {
  it("has nothing to complain of, in memory and as files", async () => {
    const directory = temporaryDirectory();
    for (const [store, secondHandle] of [
      [new MemoryStore(), undefined],
      [new FileSystemStore(directory), new FileSystemStore(directory)],
    ] as const) {
      const report = await examine(store, { secondHandle });
      expect(complaintsOf(report)).toEqual([]);
      expect(report.verdict).toBe("ok");
      expect(new Set(report.findings.map(({ check }) => check))).toEqual(
        new Set([
          "provider",
          "access",
          "create_race",
          "read_after_write",
          "list",
          "parts",
          "clock",
          "latency",
          "cost",
          "cleanup",
        ]),
      );
      expect(findingOf(report, "create_race").measured).toMatchObject({ races: 20, creators: 32, proven: 20 });
      expect(findingOf(report, "read_after_write").measured).toMatchObject({
        secondHandle: secondHandle !== undefined,
      });
      expect(findingOf(report, "list").measured).toMatchObject({ objects: 1062 });
      expect(await keysOf(store), "nothing is left").toEqual([]);
    }
  });

  it("keeps a cluster that is in it as it is", async () => {
    const store = new FileSystemStore(temporaryDirectory());
    await new LittleBigCluster({ id: "test", store }).init();
    await store.put("data/of/the/application", new Uint8Array(10));
    const before = await contentsOf(store);
    expect(before.length).toBeGreaterThan(2);
    expect((await examine(store, few)).verdict).toBe("ok");
    expect(await contentsOf(store)).toEqual(before);
  });

  it("is written to only below one name of the doctor's own", async () => {
    const written = new Set<string>();
    const store = new FaultyStore(new MemoryStore(), {
      onCall: ({ operation, key }) => {
        if (operation === "put" || operation === "delete" || operation === "deleteMany") written.add(key);
        return undefined;
      },
    });
    await examine(store, few);
    const prefixes = new Set([...written].map((key) => /^\.lbc\/\.doctor-[0-9a-f]{16}\//.exec(key)?.[0]));
    expect(prefixes.size).toBe(1);
    expect(prefixes).not.toContain(undefined);
  });

  it("is asked a bounded number of times", async () => {
    const { requests } = await examine(new MemoryStore());
    expect(requests.requests).toBeLessThan(2500);
    expect(requests.bytesOut).toBeLessThan(25 * 1024 * 1024);
    expect((await examine(new MemoryStore(), few)).requests.requests).toBeLessThan(1300);
  });
});

describe("a store that does something wrong", () => {
  it("by telling several creators that they won is bad", async () => {
    const store = new (class extends MemoryStore {
      override put(key: string, body: PutBody): Promise<PutOutcome> {
        return super.put(key, body);
      }
    })();
    const report = await examine(store, few);
    expect(report.verdict).toBe("bad");
    expect(findingOf(report, "create_race")).toMatchObject({
      verdict: "bad",
      found: expect.stringContaining("32 of 32"),
      meaning: expect.stringContaining("two nodes"),
      advice: expect.stringContaining("If-None-Match"),
    });
    expect(await keysOf(store)).toEqual([]);
  });

  it("only in the last of the races is found all the same", async () => {
    let races = 0;
    const store = new (class extends MemoryStore {
      override put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
        const isRace = key.includes("/race/19");
        if (isRace) races++;
        return super.put(key, body, isRace ? {} : options);
      }
    })();
    expect(findingOf(await examine(store, few), "create_race")).toMatchObject({ verdict: "bad" });
    expect(races).toBe(32);
  });

  it("by showing new objects late is bad, overwritten and deleted ones late is a warning", async () => {
    for (const [situation, verdict] of [
      ["created", "bad"],
      ["overwritten", "warning"],
      ["deleted", "warning"],
    ] as const) {
      const report = await examine(new Stale(situation), few);
      const finding = findingOf(report, "read_after_write");
      expect(finding).toMatchObject({ verdict, measured: { situation, stale: 20 } });
      expect(finding.meaning).toBeTypeOf("string");
      expect(finding.advice).toBeTypeOf("string");
    }
  });

  it("only for who asks another way is found through the second handle", async () => {
    const store = new MemoryStore();
    const cache = new Cached(store);
    expect(verdictsOf(await examine(store, { ...few, secondHandle: store }), "read_after_write")).toEqual(["ok"]);
    const report = await examine(store, { ...few, secondHandle: cache });
    expect(verdictsOf(report, "read_after_write")).toContain("bad");
  });

  it("by damaging what it gives is bad", async () => {
    for (const fault of [{ kind: "flip", offset: 3 } as const, { kind: "truncate", length: 4 } as const]) {
      const store = new FaultyStore(new MemoryStore(), {
        onCall: ({ operation, key }) => (operation === "get" && key.includes("/reads/7") ? fault : undefined),
      });
      expect(verdictsOf(await examine(store, few), "read_after_write")).toContain("bad");
    }
  });

  it.each([
    ["order", "bad", (keys: string[]) => keys.sort(), {}],
    ["order", "bad", (keys: string[]) => keys.reverse(), {}],
    ["missing", "bad", (keys: string[]) => keys.slice(0, -1), {}],
    ["start_after", "bad", (keys: string[]) => keys, { startAfter: undefined }],
  ] as const)("in its listings, %s, is %s", async (fault, verdict, change, options) => {
    const store = new (class extends MemoryStore {
      override async list(prefix: string, given: ListOptions = {}) {
        const page = await super.list(prefix, { ...given, ...(given.limit === undefined ? options : {}) });
        if (!prefix.includes("/list/") || given.startAfter === "") return page;
        const size = new Map(page.objects.map((object) => [object.key, object.size]));
        const keys = change([...size.keys()]);
        return { ...page, objects: keys.map((key) => ({ key, size: size.get(key) ?? 0 })) };
      }
    })();
    const { findings } = await examine(store, few);
    const found = findings.filter(({ check }) => check === "list");
    expect(found.map(({ verdict: each, measured }) => [measured.fault, each])).toContainEqual([fault, verdict]);
  });

  it("with listings of more than a page is bad, and not noticed if that is not tried", async () => {
    const store = new (class extends MemoryStore {
      override async list(prefix: string, options: ListOptions = {}) {
        const page = await super.list(prefix, options);
        return page.objects.length === 1000 ? { ...page, more: false } : page;
      }
    })();
    const report = await examine(store);
    expect(findingOf(report, "list")).toMatchObject({ verdict: "bad", measured: { fault: "paging" } });
    expect(await keysOf(store)).toEqual([]);
    expect(verdictsOf(await examine(store, few), "list")).toEqual(["ok"]);
  });

  it("by listing what was deleted is a warning", async () => {
    const gone = new Map<string, number>();
    const store = new (class extends MemoryStore {
      override async delete(key: string, options = {}) {
        if (key.includes("/list/")) gone.set(key, 0);
        await super.delete(key, options);
      }
      override async list(prefix: string, options: ListOptions = {}) {
        const page = await super.list(prefix, options);
        const late = [...gone].flatMap(([key, times]) => (times === 0 ? [{ key, size: 1 }] : []));
        for (const { key } of late) gone.set(key, 1);
        return { ...page, objects: [...late, ...page.objects] };
      }
    })();
    expect(findingOf(await examine(store, few), "list")).toMatchObject({
      verdict: "warning",
      measured: { fault: "gone" },
    });
  });
});

describe("a store that fails", () => {
  const failing = (isFailing: (call: StoreCall) => boolean, error?: unknown, store = new MemoryStore()) =>
    new FaultyStore(store, {
      onCall: (call) => (isFailing(call) ? { kind: "fail_before", error } : undefined),
    });

  it.each(["list", "put", "get", "head", "delete", "deleteMany"])("at every %s has one finding", async (operation) => {
    const store = new MemoryStore();
    const report = await examine(failing((call) => call.operation === operation, denied, store));
    expect(await keysOf(store)).toEqual([]);
    expect(complaintsOf(report)).toEqual(["access: bad"]);
    expect(findingOf(report, "access")).toMatchObject({
      found: "access denied",
      advice: expect.stringContaining("s3:ListBucket"),
      measured: { code: "store_denied" },
    });
  });

  it("at the conditional create alone, as one that answers 501, is bad", async () => {
    const unsupported = new ClusterError("invalid", "store_unsupported", "HTTP 501");
    const report = await examine(
      failing((call) => call.ifAbsent, unsupported),
      few,
    );
    expect(findingOf(report, "create_race")).toMatchObject({ verdict: "bad", found: "HTTP 501" });
  });

  it("now and then is asked again, and always in a race is not proven", async () => {
    const store = new MemoryStore();
    let lost = 0;
    const sometimes = new FaultyStore(store, {
      onCall: ({ ifAbsent, key }) => {
        if (!ifAbsent || !/race\/[37]$/.test(key)) return undefined;
        lost++;
        return lost % 10 === 0 ? { kind: "fail_after" } : undefined;
      },
    });
    const report = await examine(sometimes, few);
    expect(findingOf(report, "create_race")).toMatchObject({ verdict: "ok", measured: { proven: 20, unproven: 2 } });
    expect(await keysOf(store)).toEqual([]);
    const always = failing(({ ifAbsent, number }) => ifAbsent && number % 20 === 0);
    expect(findingOf(await examine(always, few), "create_race")).toMatchObject({
      verdict: "bad",
      meaning: expect.stringContaining("not proven"),
    });
  });

  it("in the middle of a check gets that check a finding, and the others go on", async () => {
    const report = await examine(
      failing(({ operation, key }) => operation === "put" && key.includes("/latency/3")),
      few,
    );
    expect(complaintsOf(report)).toEqual(["latency: warning"]);
    expect(findingOf(report, "latency").measured).toMatchObject({ code: "store_timeout" });
    const listing = await examine(
      failing(({ operation, key }) => operation === "put" && key.endsWith("/many/000700")),
      {},
    );
    expect(complaintsOf(listing)).toEqual(["list: bad"]);
  });

  it("by never answering ends the check after two minutes", async () => {
    const clock = new ManualClock();
    const store = new FaultyStore(new MemoryStore({ clock }), {
      clock,
      onCall: ({ key }) => (key.includes("/reads/5") ? { kind: "delay", delayMs: 1e9 } : undefined),
    });
    const report = await clock.runUntil(examine(store, { ...few, clock }));
    expect(findingOf(report, "read_after_write")).toMatchObject({
      verdict: "bad",
      measured: { code: "doctor_timeout", timeoutMs: 120_000 },
    });
    expect(complaintsOf(report)).toEqual(["read_after_write: bad"]);
  });

  it("at deleting many is cleaned up one by one", async () => {
    const store = new MemoryStore();
    let calls = 0;
    const faulty = new FaultyStore(store, {
      // The first is that of the check whether it works at all.
      onCall: ({ operation }) =>
        operation === "deleteMany" && ++calls > 1 ? { kind: "fail_before", error: denied } : undefined,
    });
    expect(complaintsOf(await examine(faulty, few))).toEqual([]);
    expect(calls).toBeGreaterThan(1);
    expect(await keysOf(store)).toEqual([]);
  });

  it("an error that is none of a store's is thrown, after cleaning up", async () => {
    const store = new MemoryStore();
    const bug = new TypeError("a bug");
    const faulty = new FaultyStore(store, {
      onCall: ({ operation, key }) =>
        operation === "put" && key.endsWith("/many/000700") ? { kind: "fail_before", error: bug } : undefined,
    });
    const clock = new ManualClock();
    await expect(clock.runUntil(examine(faulty, { clock }))).rejects.toBe(bug);
    expect(await keysOf(store)).toEqual([]);
  });
});

describe("a doctor who is interrupted", () => {
  it.each(["/access/", "/race/3", "/reads/4", "/list/A", "/many/000500", "/clock/1", "/latency/20", "/latency/mib"])(
    "at %s deletes what was written, and gives the reason",
    async (place) => {
      const store = new MemoryStore();
      const controller = new AbortController();
      const reason = new Error("Ctrl-C");
      let writes = 0;
      const watched = new FaultyStore(store, {
        onCall: ({ operation, key }) => {
          if (operation === "put") writes++;
          if (operation === "put" && key.includes(place)) controller.abort(reason);
          return undefined;
        },
      });
      const clock = new ManualClock();
      await expect(clock.runUntil(examine(watched, { signal: controller.signal, clock }))).rejects.toBe(reason);
      expect(writes).toBeGreaterThan(0);
      expect(await keysOf(store)).toEqual([]);
    },
  );

  it("waits for what still lands", async () => {
    const store = new MemoryStore();
    const clock = new ManualClock();
    const controller = new AbortController();
    const reason = new Error("Ctrl-C");
    const late = new FaultyStore(store, {
      clock,
      onCall: ({ operation, key }) => {
        if (operation !== "put" || !key.endsWith("/reads/4")) return undefined;
        controller.abort(reason);
        return { kind: "land_later", delayMs: 500 };
      },
    });
    await expect(clock.runUntil(examine(late, { signal: controller.signal, clock }))).rejects.toBe(reason);
    await late.landed();
    expect(await keysOf(store)).toEqual([]);
  });

  it("by a consumer that stops deletes what was written", async () => {
    const { runDoctor } = await import("../../src/cli/doctor/run-doctor.ts");
    const store = new MemoryStore();
    for await (const { check } of runDoctor(store)) if (check === "create_race") break;
    expect(await keysOf(store)).toEqual([]);
  });

  it("and cannot delete tells what is left", async () => {
    const store = new MemoryStore();
    const controller = new AbortController();
    const left: string[] = [];
    const faulty = new FaultyStore(store, {
      onCall: ({ operation, key }) => {
        if (key.includes("/reads/4")) controller.abort(new Error("Ctrl-C"));
        const isDelete = operation === "delete" || operation === "deleteMany";
        return controller.signal.aborted && isDelete ? { kind: "fail_before", error: denied } : undefined;
      },
    });
    const onLeftBehind = ({ prefix, keys }: { prefix: string; keys: readonly string[] }) => {
      expect(keys.every((key) => key.startsWith(prefix))).toBe(true);
      left.push(...keys);
    };
    await expect(examine(faulty, { signal: controller.signal, onLeftBehind })).rejects.toThrow("Ctrl-C");
    expect(left).toEqual(await keysOf(store));
    expect(left.length).toBeGreaterThan(0);
  });
});

/** Shows what happened to an object in one situation only from the second look on. */
class Stale extends MemoryStore {
  readonly #situation: string;
  readonly #before = new Map<string, Awaited<ReturnType<MemoryStore["get"]>>>();

  constructor(situation: "created" | "overwritten" | "deleted") {
    super();
    this.#situation = situation;
  }

  override async put(key: string, body: PutBody, options: PutOptions = {}): Promise<PutOutcome> {
    const before = await super.get(key);
    const outcome = await super.put(key, body, options);
    const situation = before === undefined ? "created" : "overwritten";
    if (situation === this.#situation && key.includes("/reads/")) this.#before.set(key, before);
    return outcome;
  }

  override async delete(key: string, options = {}): Promise<void> {
    const before = await super.get(key);
    if (this.#situation === "deleted" && key.includes("/reads/")) this.#before.set(key, before);
    await super.delete(key, options);
  }

  override async get(key: string, options = {}) {
    if (!this.#before.has(key)) return await super.get(key, options);
    const before = this.#before.get(key);
    this.#before.delete(key);
    return before;
  }
}

/** A cache that remembers what was not there. */
class Cached extends FaultyStore {
  readonly #absent = new Set<string>();

  override async get(key: string, options = {}) {
    const object = this.#absent.has(key) ? undefined : await super.get(key, options);
    if (object === undefined) this.#absent.add(key);
    return object;
  }
}

async function contentsOf(store: ObjectStore): Promise<[string, Uint8Array | undefined][]> {
  const keys = await keysOf(store);
  return await Promise.all(
    keys.map(async (key): Promise<[string, Uint8Array | undefined]> => [key, (await store.get(key))?.bytes]),
  );
}
