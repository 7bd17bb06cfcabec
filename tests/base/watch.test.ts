import { expect, test } from "vitest";
import { WatchSource } from "../../src/platform/watch.ts";

const newWatch = (): WatchSource<number> => new WatchSource(0, () => new Error("closed"));
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("changed gives the next value, not the present one", async () => {
  const watch = newWatch();
  watch.set(1);
  const next = watch.changed();
  watch.set(2);
  expect(await next).toBe(2);
});

test("who waits and wakes late gets the newest value", async () => {
  const watch = newWatch();
  const next = watch.changed();
  watch.set(1);
  watch.set(2);
  expect(await next).toBe(2);
});

test("iteration: the value now, then every later one; a slow consumer skips to the newest", async () => {
  const watch = newWatch();
  const seen: number[] = [];
  const done = (async () => {
    for await (const value of watch) {
      seen.push(value);
      if (value === 1) await turn();
    }
  })();
  await turn();
  watch.set(1);
  await Promise.resolve();
  await Promise.resolve();
  watch.set(2);
  watch.set(3);
  await turn();
  await turn();
  watch.close();
  await done;
  expect(seen).toEqual([0, 1, 3]);
});

test("an equal value set again is a change", async () => {
  const watch = newWatch();
  const next = watch.changed();
  watch.set(0);
  expect(await next).toBe(0);
});

test("a last value set just before close still reaches who waits and who iterates", async () => {
  const watch = newWatch();
  const next = watch.changed();
  const iterator = watch[Symbol.asyncIterator]();
  expect(await iterator.next()).toEqual({ value: 0, done: false });
  const later = iterator.next();
  watch.set(1);
  watch.close();
  expect(await next).toBe(1);
  expect(await later).toEqual({ value: 1, done: false });
  expect(await iterator.next()).toEqual({ value: undefined, done: true });
});

test("close ends waits with the closed error and iterations without one; twice is safe; set is dropped", async () => {
  const watch = newWatch();
  const waiting = watch.changed();
  watch.close();
  watch.close();
  watch.set(9);
  await expect(waiting).rejects.toThrow("closed");
  await expect(watch.changed()).rejects.toThrow("closed");
  expect(watch.current).toBe(0);
  const seen: number[] = [];
  for await (const value of watch) seen.push(value);
  expect(seen).toEqual([0]);
});

test("a signal ends one wait with its reason and no other", async () => {
  const watch = newWatch();
  const abort = new AbortController();
  const given = watch.changed({ signal: abort.signal });
  const other = watch.changed();
  const reason = new Error("enough");
  abort.abort(reason);
  await expect(given).rejects.toBe(reason);
  await expect(watch.changed({ signal: abort.signal })).rejects.toBe(reason);
  watch.set(5);
  expect(await other).toBe(5);
});

test("P10: many waits with one long-lived signal leave no listener behind", async () => {
  const watch = newWatch();
  const { signal } = new AbortController();
  let listeners = 0;
  const counted = new Proxy(signal, {
    get(target, name) {
      if (name === "addEventListener") listeners++;
      if (name === "removeEventListener") listeners--;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  for (let i = 0; i < 50; i++) {
    const next = watch.changed({ signal: counted });
    watch.set(i);
    await next;
  }
  expect(listeners).toBe(0);
});
