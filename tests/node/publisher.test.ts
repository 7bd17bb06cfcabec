/** What both ends of a stream keep in memory is bounded (P10). */
import { describe, expect, it } from "vitest";
import { FRAME_BODY_BYTES_MAX, FrameParser } from "../../src/format/stream-frames.ts";
import { StreamMac } from "../../src/net/stream-mac.ts";
import { Publisher } from "../../src/node/publisher.ts";
import { PushBuffer } from "../../src/node/push-buffer.ts";
import { settle } from "../support/wait.ts";

describe("P10: a subscriber that does not read", () => {
  const name = { nonce: "a-nonce-that-is-new", from: "leader", to: "slow" };
  const epochOf = (epoch: number, bytes: number) => ({ epoch, wal: new Uint8Array(bytes), hash: "00".repeat(32) });

  it("is dropped when too much waits for it; the others are not", async () => {
    const publisher = new Publisher();
    const lost: string[] = [];
    const subscriber = (member: string) =>
      publisher.subscribe({ member, epoch: 0, mac: new StreamMac("secret", name), onLost: () => lost.push(member) });
    const slow = subscriber("slow").getReader();
    const quick = subscriber("quick").getReader();
    let read = 0;
    const reading = (async () => {
      for (let piece = await quick.read(); !piece.done; piece = await quick.read()) read += piece.value.length;
    })();
    let epoch = 0;
    while (lost.length === 0 && epoch < 20) {
      publisher.publish(epochOf(++epoch, 8 * 1024 * 1024));
      await settle();
    }
    expect(lost).toEqual(["slow"]);
    expect(epoch, "within twice the longest frame and one more").toBeLessThanOrEqual(5);
    expect([...publisher.subscribers]).toEqual(["quick"]);
    expect((await slow.read()).done, "nothing is kept for it").toBe(true);
    publisher.end();
    await reading;
    expect(read).toBeGreaterThan(epoch * 8 * 1024 * 1024);
  });

  it("is dropped sooner when many do not read: what waits for all of them is bounded too, and the slowest go first", async () => {
    const publisher = new Publisher();
    const lost: string[] = [];
    const open = (member: string) =>
      publisher.subscribe({ member, epoch: 0, mac: new StreamMac("secret", name), onLost: () => lost.push(member) });
    for (let count = 0; count < 20; count++) open(`m${count}`);
    let epoch = 0;
    // 20 times 12 MiB are within the 256, though not 20 times 16.
    for (; epoch < 3; epoch++) publisher.publish(epochOf(epoch, 4 * 1024 * 1024));
    expect(lost).toEqual([]);
    open("late");
    publisher.publish(epochOf(epoch, 4 * 1024 * 1024));
    expect(lost.length).toBeGreaterThanOrEqual(4);
    expect(lost.length).toBeLessThan(8);
    expect(publisher.subscribers.has("late")).toBe(true);
    expect(lost.length + publisher.subscribers.size).toBe(21);
  });

  it("and the epochs kept for late ones are bounded, by bytes and by number", async () => {
    const kept = async (epochs: readonly [count: number, bytes: number]): Promise<number[]> => {
      const publisher = new Publisher();
      for (let epoch = 1; epoch <= epochs[0]; epoch++) publisher.publish(epochOf(epoch, epochs[1]));
      const parser = new FrameParser();
      const seen: number[] = [];
      // Too far behind for what is kept: only told; from the middle: all of it.
      for (const from of [0, epochs[0] - 3]) {
        const mac = new StreamMac("secret", name);
        const stream = publisher.subscribe({ member: "m", epoch: from, mac, onLost: () => {} });
        publisher.drop("m");
        let frames = 0;
        for await (const chunk of stream as unknown as AsyncIterable<Uint8Array>) {
          frames += parser.push(chunk).filter(({ kind }) => kind === "epoch").length;
        }
        seen.push(frames);
      }
      return seen;
    };
    expect(await kept([4, 100])).toEqual([4, 3]);
    expect(await kept([1100, 100])).toEqual([0, 3]);
    // More than is kept, less than may wait for one subscriber.
    expect(await kept([20, 1024 * 1024])).toEqual([0, 3]);
    expect(await kept([15, 1024 * 1024])).toEqual([15, 3]);
  });

  it("and the streams themselves are bounded: a flood of subscribers is refused, and those known stay", async () => {
    const publisher = new Publisher();
    const open = (member: string) =>
      publisher.subscribe({ member, epoch: 0, mac: new StreamMac("secret", name), onLost: () => {} });
    let refused = 0;
    for (let count = 0; count < 10_000; count++) {
      try {
        open(`m${count}`);
      } catch (error) {
        expect(error).toMatchObject({ kind: "overloaded", code: "too_many_streams" });
        refused++;
      }
    }
    expect([publisher.subscribers.size, refused]).toEqual([1024, 10_000 - 1024]);
    open("m7");
    publisher.drop("m8");
    open("another");
    expect(publisher.subscribers.has("m7")).toBe(true);
    publisher.publish(epochOf(1, 100));
    publisher.end();
    expect(publisher.subscribers.size).toBe(0);
  });
});

it("P10: the epochs that a follower was sent and has not applied are bounded, by bytes and by number", () => {
  const body = new Uint8Array(1024);
  const buffer = new PushBuffer();
  for (let nth = 0; nth < 2000; nth++) buffer.put(nth, body);
  expect([buffer.has(1023), buffer.has(1024)]).toEqual([true, false]);
  const large = new PushBuffer();
  for (let nth = 0; nth < 6; nth++) large.put(nth, new Uint8Array(FRAME_BODY_BYTES_MAX));
  expect([large.has(3), large.has(4)]).toEqual([true, false]);
  expect(large.take(2)?.length).toBe(FRAME_BODY_BYTES_MAX);
  large.put(4, new Uint8Array(FRAME_BODY_BYTES_MAX));
  expect([large.has(1), large.has(2), large.has(3), large.has(4)]).toEqual([false, false, true, true]);
});
