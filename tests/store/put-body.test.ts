/** Large bodies are read a little at a time: whoever else lives in the process gets its turn. */
import { expect, it } from "vitest";
import { collectBody, PartReader } from "../../src/store/put-body.ts";
import type { PartSource } from "../../src/store/store.ts";

const MIB = 1024 * 1024;

function sourceOf(bytes: Uint8Array): PartSource & { readonly reads: [number, number][]; readonly turns: Set<number> } {
  const reads: [number, number][] = [];
  const turns = new Set<number>();
  let turn = 0;
  const nextTurn = () => {
    turn++;
    if (turn < 10_000) setImmediate(nextTurn);
  };
  setImmediate(nextTurn);
  return {
    reads,
    turns,
    byteLength: bytes.length,
    read: (offset, length) => {
      reads.push([offset, length]);
      turns.add(turn);
      return bytes.slice(offset, offset + length);
    },
  };
}

function noise(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 2_654_435_761) >>> 24);
}

it("parts are whole, in order, each byte read once, no more than a MiB in a turn", async () => {
  const bytes = noise(11 * MIB + 5);
  const source = sourceOf(bytes);
  const reader = new PartReader(source, 5 * MIB);
  // Several ask at once, as the workers of an upload do.
  const parts = await Promise.all([reader.next(), reader.next(), reader.next(), reader.next()]);
  expect(parts.map((part) => part?.number)).toEqual([1, 2, 3, undefined]);
  expect(parts.map((part) => part?.bytes.length)).toEqual([5 * MIB, 5 * MIB, MIB + 5, undefined]);
  expect(Buffer.compare(Buffer.concat(parts.map((part) => part?.bytes ?? new Uint8Array())), bytes)).toBe(0);
  let offset = 0;
  for (const [start, length] of source.reads) {
    expect(start).toBe(offset);
    expect(length).toBeLessThanOrEqual(MIB);
    offset += length;
  }
  expect(source.turns.size).toBe(source.reads.length);
});

it("a body in memory is not copied; an empty one is empty", async () => {
  const bytes = noise(10);
  expect(await collectBody(bytes)).toBe(bytes);
  expect(await collectBody(sourceOf(bytes))).toEqual(bytes);
  expect(await collectBody(sourceOf(new Uint8Array()))).toEqual(new Uint8Array());
});

it("a source that fails fails the part, and the next is not read from where it broke off as if nothing had been", async () => {
  const source = { byteLength: 3 * MIB, read: () => new Uint8Array(5) };
  const reader = new PartReader(source, 2 * MIB);
  await expect(reader.next()).rejects.toMatchObject({ code: "bad_part" });
});
