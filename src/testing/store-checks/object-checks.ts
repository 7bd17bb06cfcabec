import { check, expect, expectBytes, expectSame, noise, partSource, type StoreCheck, utf8 } from "./check.ts";

const MIB = 1024 * 1024;

/** Longer than what any store of ours sends as one part. */
const LARGE_BYTES = 20 * MIB + 12_345;

/** Clocks of stores have whole seconds; between two machines of one store they may differ a little. */
const AGE_MIN_MS = -2_000;
const AGE_MAX_MS = 60_000;

/** Keys that are legal and that something on the way might mistake for something else. */
const ODD_KEYS: readonly string[] = [
  "space in key",
  " leading and trailing ",
  "plus+sign",
  "a+b c%20d%2Fe%",
  "question?mark=1&b=2#hash",
  "quotes'\"`",
  "xml<tag>&amp;&#38;;",
  "back\\slash",
  "brackets[]{}()",
  "marks!*~^|$@,;:=",
  ".hidden",
  "...",
  "deep/.../x",
  "_underscore",
  "-dash",
  "ends.",
  "über/größe",
  "\u65e5\u672c\u8a9e/\u30ad\u30fc",
  "emoji-\u{1f600}",
  "high-\uffee",
  `long/${"n".repeat(255)}/${"m".repeat(255)}`,
];

/** What `get`, `head` and `put` promise. */
export const objectChecks: readonly StoreCheck[] = [
  check("what is not there is undefined", async (store) => {
    expect((await store.get("missing")) === undefined, "get of a missing object is not undefined");
    expect((await store.head("missing")) === undefined, "head of a missing object is not undefined");
    expect((await store.get("missing/below")) === undefined, "get of a missing object is not undefined");
    const ranged = await store.get("missing", { range: { offset: 3, length: 5 } });
    expect(ranged === undefined, "a ranged get of a missing object is not undefined");
  }),

  check("an object comes back as it was put, with its size", async (store) => {
    const bytes = noise(5_000, 1);
    expectSame(await store.put("dir/object", bytes), "created", "put");
    const object = await store.get("dir/object");
    expectBytes(object?.bytes, bytes, "get");
    expectSame([object?.key, object?.size], ["dir/object", 5_000], "get");
    const stat = await store.head("dir/object");
    expectSame([stat?.key, stat?.size], ["dir/object", 5_000], "head");
  }),

  check("an object may be empty", async (store) => {
    await store.put("empty", new Uint8Array(0));
    await store.put("empty-created", new Uint8Array(0), { ifAbsent: true });
    await store.put("empty-source", partSource(new Uint8Array(0)));
    for (const key of ["empty", "empty-created", "empty-source"]) {
      expectBytes((await store.get(key))?.bytes, new Uint8Array(0), key);
      expectSame((await store.head(key))?.size, 0, `size of ${key}`);
    }
    const ranged = await store.get("empty", { range: { offset: 0, length: 10 } });
    expectBytes(ranged?.bytes, new Uint8Array(0), "ranged get of an empty object");
  }),

  check("a put replaces the object", async (store) => {
    expectSame(await store.put("key", utf8("the first, longer one")), "created", "first put");
    expectSame(await store.put("key", utf8("second")), "created", "second put");
    expectBytes((await store.get("key"))?.bytes, utf8("second"), "get");
    expectSame((await store.head("key"))?.size, 6, "head");
  }),

  check("a put with ifAbsent never replaces", async (store) => {
    expectSame(await store.put("key", utf8("first"), { ifAbsent: true }), "created", "first create");
    expectSame(await store.put("key", utf8("second"), { ifAbsent: true }), "exists", "second create");
    expectBytes((await store.get("key"))?.bytes, utf8("first"), "get");
    await store.delete("key");
    expectSame(await store.put("key", utf8("third"), { ifAbsent: true }), "created", "create after delete");
    expectBytes((await store.get("key"))?.bytes, utf8("third"), "get");
  }),

  check("large bodies arrive whole", async (store) => {
    const bytes = noise(LARGE_BYTES, 2);
    expectSame(await store.put("large", bytes, { ifAbsent: true }), "created", "put");
    expectBytes((await store.get("large"))?.bytes, bytes, "get");
    const range = { offset: 16 * MIB - 10, length: 20 };
    const middle = (await store.get("large", { range }))?.bytes;
    expectBytes(middle, bytes.subarray(range.offset, range.offset + range.length), "ranged get");
  }),

  check("a body is read part by part, once and in order", async (store) => {
    for (const length of [1, 100_000, LARGE_BYTES]) {
      const bytes = noise(length, length);
      const source = partSource(bytes);
      await store.put("source", source);
      expectSame(source.bytesRead(), length, "bytes read");
      expectBytes((await store.get("source"))?.bytes, bytes, `get of ${length} bytes`);
    }
    expectSame(await store.put("create", partSource(utf8("a")), { ifAbsent: true }), "created", "create");
    expectSame(await store.put("create", partSource(utf8("b")), { ifAbsent: true }), "exists", "create again");
    expectBytes((await store.get("create"))?.bytes, utf8("a"), "get");
  }),

  check("a body that breaks off leaves nothing", async (store) => {
    const broken = { byteLength: LARGE_BYTES, read: breakingRead };
    const failure = await store.put("broken", broken).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure !== undefined, "a put whose body broke off was accepted");
    expect((await store.head("broken")) === undefined, "a put whose body broke off left an object");
  }),

  check("a ranged get gives those bytes, cut short at the end", async (store) => {
    const bytes = noise(1_000, 3);
    await store.put("key", bytes);
    for (const [offset, length] of [
      [0, 1],
      [0, 1_000],
      [10, 90],
      [999, 1],
      [990, 100],
      [0, 5_000],
      [1_000, 1],
      [5_000, 7],
    ] as const) {
      const object = await store.get("key", { range: { offset, length } });
      expectBytes(object?.bytes, bytes.subarray(offset, offset + length), `range ${offset}+${length}`);
      expectSame(object?.size, 1_000, "size of the whole object");
    }
  }),

  check("bytes in and out are copies", async (store) => {
    const body = utf8("unchanged");
    await store.put("key", body);
    body.fill(0);
    const whole = await store.get("key");
    expectBytes(whole?.bytes, utf8("unchanged"), "get after the body was changed");
    whole?.bytes.fill(0);
    const part = await store.get("key", { range: { offset: 2, length: 3 } });
    part?.bytes.fill(0);
    expectBytes((await store.get("key"))?.bytes, utf8("unchanged"), "get after the answer was changed");
  }),

  check("a view into a larger buffer is put without its surroundings", async (store) => {
    const buffer = noise(300, 4);
    await store.put("view", buffer.subarray(100, 200));
    expectBytes((await store.get("view"))?.bytes, buffer.slice(100, 200), "get");
  }),

  check("age is measured by the store's own clock", async (store) => {
    await store.put("key", utf8("x"));
    for (const stat of [await store.head("key"), await store.get("key")]) {
      const ageMs = (stat?.nowMs ?? Number.NaN) - (stat?.lastModifiedMs ?? Number.NaN);
      expect(ageMs >= AGE_MIN_MS && ageMs <= AGE_MAX_MS, `a new object is ${ageMs} ms old`);
    }
  }),

  check("odd but legal keys work", async (store) => {
    for (const key of ODD_KEYS) {
      expectSame(await store.put(key, utf8(key), { ifAbsent: true }), "created", key);
    }
    for (const key of ODD_KEYS) {
      expectBytes((await store.get(key))?.bytes, utf8(key), key);
      expectSame((await store.head(key))?.key, key, "key of head");
      const { objects } = await store.list(key);
      expectSame(objects, [{ key, size: utf8(key).length }], "listing with the key as prefix");
    }
    await store.delete(ODD_KEYS[0] as string);
    await store.deleteMany(ODD_KEYS.slice(1));
    expectSame((await store.list("")).objects, [], "listing after deleting all");
  }),
];

function breakingRead(offset: number, length: number): Uint8Array {
  if (offset > 0) throw new Error("the body broke off");
  return new Uint8Array(length);
}
