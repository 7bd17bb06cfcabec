/** The frames of the leader's stream: what arrives in whatever pieces, damaged in whatever way. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeFrameHeader,
  FRAME_BODY_BYTES_MAX,
  FRAME_HEADER_BYTES,
  FRAME_MAC_BYTES,
  type Frame,
  type FrameKind,
  FrameParser,
} from "../../src/format/stream-frames.ts";
import { StreamMac } from "../../src/net/stream-mac.ts";
import { codeOf } from "../support/errors.ts";

const NAME = { nonce: "a-nonce-that-is-new", from: "leader", to: "follower" };
const SECRET = "the secret of the cluster";
const KINDS: readonly FrameKind[] = ["hello", "epoch", "told", "roster", "handover"];

interface Sent {
  readonly kind: FrameKind;
  readonly epoch: number;
  readonly body: Uint8Array;
}

/** The stream of these frames, and where each one ends. */
function streamOf(frames: readonly Sent[]): { readonly bytes: Uint8Array; readonly ends: readonly number[] } {
  const mac = new StreamMac(SECRET, NAME);
  const parts: Uint8Array[] = [];
  const ends: number[] = [];
  for (const { kind, epoch, body } of frames) {
    const header = encodeFrameHeader(kind, epoch, body.length);
    parts.push(header, body, mac.next(header, body));
    ends.push((ends.at(-1) ?? 0) + FRAME_HEADER_BYTES + body.length + FRAME_MAC_BYTES);
  }
  return { bytes: new Uint8Array(Buffer.concat(parts)), ends };
}

function cutAt(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.slice(at[index], end));
}

function parse(pieces: readonly Uint8Array[]): { readonly frames: Frame[]; readonly parser: FrameParser } {
  const parser = new FrameParser();
  return { frames: pieces.flatMap((piece) => parser.push(piece)), parser };
}

const plain = ({ kind, epoch, body }: Frame | Sent) => ({ kind, epoch, body: [...body] });

/** What a follower accepts of a stream: frames in order, until one is not authentic or cannot be read. */
function accepted(pieces: readonly Uint8Array[]): Frame[] {
  const mac = new StreamMac(SECRET, NAME);
  const parser = new FrameParser();
  const good: Frame[] = [];
  for (const piece of pieces) {
    let frames: Frame[];
    try {
      frames = parser.push(piece);
    } catch (error) {
      expect(error).toMatchObject({ kind: "corrupt", code: "bad_frame" });
      return good;
    }
    for (const frame of frames) {
      if (!mac.verifyNext(frame.header, frame.body, frame.mac)) return good;
      good.push(frame);
    }
  }
  return good;
}

const sent: fc.Arbitrary<Sent> = fc.record({
  kind: fc.constantFrom(...KINDS),
  epoch: fc.maxSafeNat(),
  body: fc.uint8Array({ maxLength: 300 }),
});
const several = fc.array(sent, { minLength: 1, maxLength: 8 });
const cuts = fc.array(fc.nat(5000), { maxLength: 20 });

describe("frames of a stream", () => {
  it("are as they were written, byte for byte", () => {
    const header = encodeFrameHeader("epoch", 0x01_0203_0405, 0x0102);
    expect([...header]).toEqual([0, 0, 1, 2, 2, 0, 0, 0, 1, 2, 3, 4, 5]);
    const first = ["hello", "epoch", "told", "roster"] as const;
    expect(first.map((kind) => encodeFrameHeader(kind, 0, 0)[4])).toEqual([1, 2, 3, 4]);
  });

  it("come out the same however the stream is cut", () => {
    fc.assert(
      fc.property(several, cuts, (frames, at) => {
        const { frames: found, parser } = parse(cutAt(streamOf(frames).bytes, at));
        expect(found.map(plain)).toEqual(frames.map(plain));
        expect(parser.isAtBoundary).toBe(true);
      }),
    );
  });

  it("come as soon as their last byte is there, and not before", () => {
    const frames: Sent[] = KINDS.map((kind, epoch) => ({ kind, epoch, body: new Uint8Array(epoch * 7) }));
    const { bytes, ends } = streamOf(frames);
    const parser = new FrameParser();
    let count = 0;
    for (let at = 0; at < bytes.length; at++) {
      count += parser.push(bytes.subarray(at, at + 1)).length;
      expect(count).toBe(ends.filter((end) => end <= at + 1).length);
      expect(parser.isAtBoundary).toBe(ends.includes(at + 1));
    }
    expect(count).toBe(frames.length);
  });

  it("of a later version are told apart, and do not disturb those after them", () => {
    const { bytes, ends } = streamOf([
      { kind: "hello", epoch: 1, body: new Uint8Array(3) },
      { kind: "told", epoch: 2, body: new Uint8Array(0) },
    ]);
    for (const kind of [0, 100, 255]) {
      const later = bytes.slice();
      later[4] = kind;
      expect(parse([later]).frames.map((frame) => [frame.kind, frame.epoch])).toEqual([
        [undefined, 1],
        ["told", 2],
      ]);
    }
    expect(ends.length).toBe(2);
  });

  it("that are longer than allowed are refused by their header, before their body is waited for", () => {
    const limit = encodeFrameHeader("epoch", 1, FRAME_BODY_BYTES_MAX);
    expect(new FrameParser().push(limit)).toEqual([]);
    for (const length of [FRAME_BODY_BYTES_MAX + 1, 0xffff_ffff]) {
      const parser = new FrameParser();
      const header = encodeFrameHeader("epoch", 1, length);
      expect(parser.push(header.subarray(0, 12))).toEqual([]);
      expect(codeOf(() => parser.push(header.subarray(12)))).toBe("corrupt/bad_frame");
    }
  });

  it("of an epoch that no number can hold are refused", () => {
    const { bytes } = streamOf([{ kind: "told", epoch: 0, body: new Uint8Array(0) }]);
    new DataView(bytes.buffer).setBigUint64(5, 2n ** 53n);
    expect(codeOf(() => new FrameParser().push(bytes))).toBe("corrupt/bad_frame");
  });

  it("of the longest body in small pieces cost time in proportion", () => {
    const body = new Uint8Array(FRAME_BODY_BYTES_MAX).fill(7);
    const { bytes } = streamOf([{ kind: "epoch", epoch: 9, body }]);
    const pieces = cutAt(
      bytes,
      Array.from({ length: 4000 }, (_, index) => index * 4096),
    );
    const { frames } = parse(pieces);
    expect(frames.map(({ epoch, body: { length } }) => [epoch, length])).toEqual([[9, FRAME_BODY_BYTES_MAX]]);
  });
});

describe("a damaged stream", () => {
  /** Whatever is accepted is what was sent, from the first frame on, and nothing at or after the damage. */
  function expectPrefix(frames: readonly Sent[], found: readonly Frame[], countMax: number): void {
    expect(found.length).toBeLessThanOrEqual(countMax);
    expect(found.map(plain)).toEqual(frames.slice(0, found.length).map(plain));
  }

  it("that was cut short gives the frames before the cut", () => {
    fc.assert(
      fc.property(several, cuts, fc.nat(5000), (frames, at, end) => {
        const { bytes, ends } = streamOf(frames);
        const length = end % bytes.length;
        const found = accepted(cutAt(bytes.slice(0, length), at));
        expect(found.map(plain)).toEqual(frames.slice(0, ends.filter((one) => one <= length).length).map(plain));
      }),
    );
  });

  it("with a bit flipped gives nothing from there on, wherever it is", () => {
    fc.assert(
      fc.property(several, cuts, fc.nat(5000), fc.nat(7), (frames, at, where, bit) => {
        const { bytes, ends } = streamOf(frames);
        const offset = where % bytes.length;
        bytes[offset] = (bytes[offset] as number) ^ (1 << bit);
        expectPrefix(frames, accepted(cutAt(bytes, at)), ends.filter((end) => end <= offset).length);
      }),
    );
  });

  it("with bytes left out, put in, or repeated gives nothing from there on", () => {
    fc.assert(
      fc.property(several, cuts, fc.nat(5000), fc.nat(400), fc.uint8Array(), (frames, at, where, left, extra) => {
        const { bytes, ends } = streamOf(frames);
        const from = where % bytes.length;
        const to = Math.min(bytes.length, from + left);
        const piece = bytes.slice(from, to);
        const spliced = new Uint8Array(Buffer.concat([bytes.slice(0, from), extra, bytes.slice(to)]));
        const repeated = new Uint8Array(Buffer.concat([bytes.slice(0, to), piece, bytes.slice(to)]));
        // What was put in may happen to be what was there: then more is right.
        if (!Buffer.from(extra).equals(piece)) {
          const same = commonPrefix(bytes, spliced);
          expectPrefix(frames, accepted(cutAt(spliced, at)), ends.filter((end) => end <= same).length);
        }
        const same = commonPrefix(bytes, repeated);
        expectPrefix(frames, accepted(cutAt(repeated, at)), ends.filter((end) => end <= same).length);
      }),
    );
  });

  it("of frames in another order, twice, or with one missing gives nothing from there on", () => {
    fc.assert(
      fc.property(several, fc.nat(), fc.nat(), (frames, a, b) => {
        const { bytes, ends } = streamOf(frames);
        const pieces: Uint8Array[] = ends.map((end, index) => bytes.slice(ends[index - 1] ?? 0, end));
        const [from, to] = [a % pieces.length, b % pieces.length];
        const moved = pieces.toSpliced(from, 1).toSpliced(to, 0, pieces[from] as Uint8Array);
        if (from !== to) expectPrefix(frames, accepted(moved), Math.min(from, to));
        expectPrefix(frames, accepted(pieces.toSpliced(from, 0, pieces[from] as Uint8Array)), from + 1);
        expectPrefix(frames, accepted(pieces.toSpliced(from, 1)), from);
      }),
    );
  });

  it("of whatever bytes ends, and gives nothing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), cuts, (bytes, at) => {
        expect(accepted(cutAt(bytes, at))).toEqual([]);
      }),
    );
  });
});

function commonPrefix(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) if (a[at] !== b[at]) return at;
  return length;
}
