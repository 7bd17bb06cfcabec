import type { CallOptions, ObjectStore } from "../../store/store.ts";
import {
  check,
  expect,
  expectBytes,
  expectInvalid,
  expectSame,
  noise,
  partSource,
  type StoreCheck,
  utf8,
} from "./check.ts";

const BAD_KEYS: readonly string[] = [
  "",
  "/",
  "/a",
  "a/",
  "a//b",
  ".",
  "..",
  "../a",
  "a/../b",
  "a/./b",
  "a/..",
  "nul\0",
  "line\nfeed",
  "lone-\ud800-surrogate",
  "s".repeat(256),
  `${"1234567/".repeat(128)}x`,
];

const BAD_RANGES = [
  { offset: -1, length: 1 },
  { offset: 0, length: 0 },
  { offset: 0.5, length: 1 },
  { offset: 0, length: Number.NaN },
];

const BAD_LIMITS = [0, -1, 1_001, 1.5, Number.NaN];

/** Moments at which calls are aborted: from at once to when many stores have answered. */
const ABORT_AFTER_MS: readonly number[] = [0, 0, 1, 2, 5, 10, 20];

const ABORTED_BODY_BYTES = 3_000_000;

/** What deletes, signals and wrong arguments are promised to do. */
export const callChecks: readonly StoreCheck[] = [
  check("deleting what is not there is no error", async (store) => {
    await store.delete("missing");
    await store.delete("missing/below");
    await store.deleteMany(["missing", "also/missing"]);
    await store.deleteMany([]);
  }),

  check("a delete removes that object and no other", async (store) => {
    for (const key of ["dir/a", "dir/aa", "dir/b/c", "e"]) await store.put(key, utf8(key));
    await store.delete("dir/a");
    await store.delete("dir/b");
    await store.delete("dir");
    await store.deleteMany(["e", "missing"]);
    expectSame(
      (await store.list("")).objects.map(({ key }) => key),
      ["dir/aa", "dir/b/c"],
      "list",
    );
    await store.deleteMany(["dir/aa", "dir/b/c"]);
    expectSame((await store.list("")).objects, [], "list");
    expectSame(await store.put("dir/b/c", utf8("again"), { ifAbsent: true }), "created", "create after delete");
  }),

  check("wrong keys are refused by every call", async (store) => {
    for (const key of BAD_KEYS) {
      const name = JSON.stringify(key.slice(0, 20));
      await expectInvalid(() => store.get(key), "bad_key", `get of ${name}`);
      await expectInvalid(() => store.head(key), "bad_key", `head of ${name}`);
      await expectInvalid(() => store.put(key, utf8("x")), "bad_key", `put of ${name}`);
      await expectInvalid(() => store.delete(key), "bad_key", `delete of ${name}`);
      await expectInvalid(() => store.deleteMany(["ok", key]), "bad_key", `deleteMany of ${name}`);
    }
    for (const prefix of ["/a", "a//", "../", "a/../b", "a\0"]) {
      await expectInvalid(() => store.list(prefix), "bad_key", `list of ${JSON.stringify(prefix)}`);
    }
  }),

  check("wrong ranges and limits are refused", async (store) => {
    await store.put("key", utf8("bytes"));
    for (const range of BAD_RANGES) {
      await expectInvalid(() => store.get("key", { range }), "bad_range", `range ${range.offset}+${range.length}`);
    }
    for (const limit of BAD_LIMITS) {
      await expectInvalid(() => store.list("", { limit }), "bad_limit", `limit ${limit}`);
    }
  }),

  check("a signal that has aborted stops a call before it does anything", async (store) => {
    await store.put("kept", utf8("kept"));
    const reason = new Error("aborted before the call");
    for (const call of callsOf(store, "new", AbortSignal.abort(reason))) {
      expectSame(await outcomeOf(call, reason), "aborted", "call with an aborted signal");
    }
    expectSame(
      (await store.list("")).objects.map(({ key }) => key),
      ["kept"],
      "list after aborted calls",
    );
  }),

  check("a signal that aborts ends a call with its reason", async (store) => {
    await store.put("kept", noise(ABORTED_BODY_BYTES, 1));
    for (const [round, delayMs] of ABORT_AFTER_MS.entries()) {
      const reason = new Error("aborted during the call");
      const controller = new AbortController();
      const calls = callsOf(store, `new-${round}`, controller.signal).map((call) => outcomeOf(call, reason));
      const abort = async () => {
        if (round > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
        controller.abort(reason);
      };
      await Promise.all([abort(), ...calls]);
    }
    // An aborted put may still land, but never in part.
    for (const { key, size } of (await store.list("new")).objects) {
      expectSame(size, ABORTED_BODY_BYTES, `size of ${key}`);
    }
    expectBytes((await store.get("kept"))?.bytes, noise(ABORTED_BODY_BYTES, 1), "get after aborted calls");
  }),

  check("a signal that aborts after a call does nothing", async (store) => {
    const controller = new AbortController();
    await store.put("key", utf8("bytes"), { signal: controller.signal });
    const object = await store.get("key", { signal: controller.signal });
    controller.abort(new Error("aborted after the call"));
    expectBytes(object?.bytes, utf8("bytes"), "bytes after the abort");
    expectBytes((await store.get("key"))?.bytes, utf8("bytes"), "get after the abort");
  }),
];

type Call = () => Promise<unknown>;

/** One call of each kind, none of which touches an object that a check wants to keep. */
function callsOf(store: ObjectStore, key: string, signal: AbortSignal): Call[] {
  const options: CallOptions = { signal };
  const body = noise(ABORTED_BODY_BYTES, 2);
  return [
    () => store.get("kept", options),
    () => store.head("kept", options),
    () => store.put(`${key}-put`, body, options),
    () => store.put(`${key}-create`, body, { ...options, ifAbsent: true }),
    () => store.put(`${key}-source`, partSource(body), options),
    () => store.list("", options),
    () => store.delete("missing", options),
    () => store.deleteMany(["missing", "also/missing"], options),
  ];
}

/** How a call ended; any error but the signal's reason breaks the contract. */
async function outcomeOf(call: Call, reason: Error): Promise<"done" | "aborted"> {
  try {
    await call();
    return "done";
  } catch (error) {
    expect(error === reason, `an aborted call failed with ${error} instead of the signal's reason`);
    return "aborted";
  }
}
