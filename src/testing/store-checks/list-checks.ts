import { check, expect, expectSame, listAll, listKeys, putAll, type StoreCheck, utf8 } from "./check.ts";

/** In the order of their UTF-8 bytes; UTF-16 and "directories last" would order them otherwise. */
const ORDERED: readonly string[] = [
  "A",
  "a!",
  "a-b",
  "a.b",
  "a/b",
  "a/c!",
  "a/c/d",
  "a/c/e/f",
  "a/c0",
  "a/d",
  "a0",
  "aa/b",
  "ab",
  "b",
  "\u00e9/x",
  "\ud7ff",
  "\uffee",
  "\u{1f600}",
];

const MANY = 1_005;

/** What `list` promises. */
export const listChecks: readonly StoreCheck[] = [
  check("an empty store lists nothing", async (store) => {
    expectSame(await store.list(""), { objects: [], more: false }, "list of all");
    expectSame(await store.list("a/b"), { objects: [], more: false }, "list of a prefix");
    expectSame(await store.list("", { startAfter: "x", limit: 1 }), { objects: [], more: false }, "list after a key");
  }),

  check("keys are listed in the order of their bytes, with sizes", async (store) => {
    await putAll(store, [...ORDERED].reverse());
    const expected = ORDERED.map((key) => ({ key, size: utf8(key).length }));
    expectSame(await listAll(store, ""), expected, "list of all");
  }),

  check("a prefix may end anywhere", async (store) => {
    await putAll(store, ORDERED);
    for (const prefix of ["a", "a/", "a/c", "a/c/", "a/c/e/", "a/c/d", "aa", "\u00e9", "\u00e9/", "z", "a/x/", "a!!"]) {
      const expected = ORDERED.filter((key) => key.startsWith(prefix));
      expectSame(await listKeys(store, prefix), expected, `list of "${prefix}"`);
    }
  }),

  check("startAfter is any text and is itself not listed", async (store) => {
    await putAll(store, ORDERED);
    for (const prefix of ["", "a", "a/", "a/c"]) {
      const matching = ORDERED.filter((key) => key.startsWith(prefix));
      for (const [index, key] of ORDERED.entries()) {
        const expected = matching.filter((other) => ORDERED.indexOf(other) > index);
        expectSame(await listKeys(store, prefix, { startAfter: key }), expected, `"${prefix}" after "${key}"`);
      }
    }
    expectSame(await listKeys(store, "a/", { startAfter: "a/c/" }), ["a/c/d", "a/c/e/f", "a/c0", "a/d"], "after a/c/");
    expectSame(await listKeys(store, "a/", { startAfter: "a/c/dd" }), ["a/c/e/f", "a/c0", "a/d"], "after a/c/dd");
    expectSame(await listKeys(store, "a/", { startAfter: "a/c/e" }), ["a/c/e/f", "a/c0", "a/d"], "after a/c/e");
    expectSame(await listKeys(store, "a/", { startAfter: "a/cc" }), ["a/d"], "after a/cc");
    expectSame(await listKeys(store, "b", { startAfter: "a/b" }), ["b"], "after a key before the prefix");
    expectSame(await listKeys(store, "a/", { startAfter: "b" }), [], "after a key behind the prefix");
  }),

  check("pages put together are the whole listing", async (store) => {
    await putAll(store, ORDERED);
    for (const limit of [1, 2, 5, ORDERED.length - 1, ORDERED.length, 1_000]) {
      expectSame(await listKeys(store, "", { limit }), ORDERED, `pages of ${limit}`);
    }
    const first = await store.list("", { limit: 3 });
    expectSame([first.objects.map(({ key }) => key), first.more], [ORDERED.slice(0, 3), true], "first page of 3");
    const last = await store.list("", { startAfter: ORDERED.at(-2), limit: 3 });
    expectSame([last.objects.map(({ key }) => key), last.more], [ORDERED.slice(-1), false], "last page");
  }),

  check("a page has up to 1000 objects, and deleteMany takes more", async (store) => {
    const keys = Array.from({ length: MANY }, (_, index) => `many/${String(index).padStart(6, "0")}`);
    await putAll(store, keys);
    const page = await store.list("many/");
    expect(page.objects.length <= 1_000 && page.more, `the first page has ${page.objects.length} of ${MANY} objects`);
    expectSame(await listKeys(store, "many/"), keys, "all pages");
    await store.put("other", utf8("stays"));
    await store.deleteMany(["many/missing", ...keys]);
    expectSame(await listKeys(store, ""), ["other"], "list after deleteMany");
  }),
];
