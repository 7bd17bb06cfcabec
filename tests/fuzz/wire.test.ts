/** What leaders push to their followers and write into the system table, damaged in whatever way. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  encodeFrameHeader,
  FRAME_BODY_BYTES_MAX,
  type Frame,
  type FrameKind,
  FrameParser,
} from "../../src/format/stream-frames.ts";
import {
  decodeSystemRows,
  encodeChain,
  encodeLeader,
  encodeRollback,
  FORMAT,
  type SystemRows,
} from "../../src/format/system-rows.ts";
import { StreamMac } from "../../src/net/stream-mac.ts";
import { bytesAskedFor, decoded, mutated, mutatedText, mutations, refusalOf, runs } from "../support/fuzz-mutations.ts";

describe("the leader's stream", () => {
  const NAME = { nonce: "a-nonce-that-is-new", from: "leader", to: "follower" };
  const SECRET = "the secret of the cluster";
  const kind = fc.constantFrom<FrameKind[]>("hello", "epoch", "told", "roster", "offer", "handover");
  const frame = fc.record({ kind, epoch: fc.maxSafeNat(), body: fc.uint8Array({ maxLength: 400 }) });
  type Sent = typeof frame extends fc.Arbitrary<infer T> ? T : never;
  const stream = fc.array(frame, { minLength: 1, maxLength: 6 });

  function bytesOf(frames: readonly Sent[], nonce = NAME.nonce): Uint8Array {
    const mac = new StreamMac(SECRET, { ...NAME, nonce });
    const parts = frames.flatMap(({ kind, epoch, body }) => {
      const header = encodeFrameHeader(kind, epoch, body.length);
      return [header, body, mac.next(header, body)];
    });
    return new Uint8Array(Buffer.concat(parts));
  }

  /** What a follower takes of it, in pieces of these lengths: frames, until one is refused or not authentic. */
  function taken(bytes: Uint8Array, lengths: readonly number[]): Frame[] {
    const mac = new StreamMac(SECRET, NAME);
    const parser = new FrameParser();
    const frames: Frame[] = [];
    for (let at = 0, turn = 0; at < bytes.length; turn++) {
      const piece = bytes.slice(at, at + 1 + (lengths[turn % lengths.length] ?? bytes.length));
      at += piece.length;
      const outcome = decoded(() => parser.push(piece));
      if ("refusal" in outcome) {
        expect(refusalOf(outcome)).toBe("corrupt/bad_frame");
        return frames;
      }
      for (const frame of outcome.value) {
        if (!mac.verifyNext(frame.header, frame.body, frame.mac)) return frames;
        frames.push(frame);
      }
    }
    return frames;
  }

  const plain = ({ kind, epoch, body }: Frame | Sent) => ({ kind, epoch, body: [...body] });

  test("with any fault, spliced with another stream, in whatever pieces, gives the frames before the fault and no other", () => {
    fc.assert(
      fc.property(
        stream,
        stream,
        mutations,
        fc.array(fc.nat(600), { maxLength: 5 }),
        (sent, other, faults, lengths) => {
          const whole = bytesOf(sent);
          const damaged = mutated(whole, faults, bytesOf(other, "another nonce"));
          const found = taken(damaged, lengths);
          const firstFault = whole.findIndex((byte, at) => byte !== damaged[at]);
          const before = firstFault === -1 ? sent.length : countEndingBefore(sent, firstFault);
          // A good frame in the same piece as a bad one may be lost with it: the store has it.
          expect(found.length).toBeLessThanOrEqual(before);
          expect(found.map(plain)).toEqual(sent.slice(0, found.length).map(plain));
        },
      ),
      runs(1500),
    );
  });

  test("with a frame twice, left out or at another place gives the frames before it and no other", () => {
    fc.assert(
      fc.property(stream, fc.nat(), fc.nat(), (sent, one, other) => {
        const mac = new StreamMac(SECRET, NAME);
        const frames = sent.map(({ kind, epoch, body }): Uint8Array => {
          const header = encodeFrameHeader(kind, epoch, body.length);
          return new Uint8Array(Buffer.concat([header, body, mac.next(header, body)]));
        });
        const [at, to] = [one % frames.length, other % frames.length];
        const frame = frames[at] as Uint8Array;
        const countOf = (pieces: readonly Uint8Array[]) => taken(new Uint8Array(Buffer.concat(pieces)), []).length;
        expect(countOf(frames.toSpliced(at, 0, frame))).toBe(at + 1);
        expect(countOf(frames.toSpliced(at, 1))).toBe(at);
        if (at !== to) expect(countOf(frames.toSpliced(at, 1).toSpliced(to, 0, frame))).toBe(Math.min(at, to));
      }),
      runs(200),
    );
  });

  function countEndingBefore(sent: readonly Sent[], offset: number): number {
    let [end, count] = [0, 0];
    for (const { body } of sent) {
      end += 13 + body.length + 32;
      if (end <= offset) count++;
    }
    return count;
  }

  test("P10: takes no memory for a length that it only claims", () => {
    const header = encodeFrameHeader("epoch", 1, FRAME_BODY_BYTES_MAX);
    expect(bytesAskedFor(() => new FrameParser().push(header))).toBeLessThan(2 ** 20);
  });
});

describe("the system table", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 });
  const epoch = fc.maxSafeNat();
  const hex = (length: number) =>
    fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: length, maxLength: length });
  const leader = fc.record({ uuid: text, az: text, address: text });
  const chain = fc.record({ epoch, wal: hex(64), state: hex(16) });
  const rollback = fc
    .tuple(fc.nat(2 ** 50), fc.nat(2 ** 50))
    .map(([a, b]) => ({ epoch: Math.max(a, b) + 1, from: Math.max(a, b), to: Math.min(a, b) }));
  const rows = fc.record({ clusterId: text, lastUpdate: text, leader, chain, secret: text, rollback });
  const MEMBERS = {
    leader: ["uuid", "az", "address"],
    chain: ["epoch", "wal", "state"],
    rollback: ["epoch", "from", "to"],
  };
  type Rows = typeof rows extends fc.Arbitrary<infer T> ? T : never;

  function stored({ clusterId, lastUpdate, leader, chain, secret, rollback }: Rows): Map<string, unknown> {
    return new Map<string, unknown>([
      ["cluster_id", clusterId],
      ["last_update", lastUpdate],
      ["leader", encodeLeader(leader)],
      ["chain", encodeChain(chain)],
      ["secret", secret],
      ["format", FORMAT],
      ["rollback", encodeRollback(rollback)],
    ]);
  }

  test("is read as it was written", () => {
    fc.assert(
      fc.property(rows, (written) => {
        expect(decodeSystemRows(stored(written), "epoch 7")).toEqual({ ...written, format: FORMAT });
      }),
      runs(200),
    );
  });

  // The rows carry no checksum of their own: another letter in the secret is another secret. That the rows are those that
  // were written is for the WAL to say, and for the epoch after it (`wal.test.ts`, `chain.test.ts`).
  test("with any row damaged, gone, or another's is refused, or says what its rows say", () => {
    const foreign = fc.constantFrom<unknown[]>(
      null,
      1,
      1.5,
      2n ** 60n,
      new Uint8Array(3),
      '{"epoch":2,"from":1,"to":5}',
      '{"epoch":9,"from":1,"to":0}',
      "null",
      "{}",
      "[]",
      '"x"',
      "1",
      "{",
    );
    // Most faults in JSON leave none; these do.
    const member = fc.oneof(text, fc.nat(9), epoch, hex(16), hex(64), fc.constantFrom(null, -1, 0.5, [], {}));
    const damage = fc.oneof(
      { arbitrary: mutations.map((faults) => ({ kind: "faults" as const, faults })), weight: 5 },
      { arbitrary: foreign.map((value) => ({ kind: "foreign" as const, value })), weight: 2 },
      {
        arbitrary: fc.tuple(fc.nat(2), member).map(([at, value]) => ({ kind: "member" as const, at, value })),
        weight: 3,
      },
      fc.constant({ kind: "gone" as const }),
    );
    let [acceptedCount, acceptedObjects] = [0, 0];
    const campaign = runs(2500);
    fc.assert(
      fc.property(rows, rows, fc.nat(6), damage, (written, other, which, fault) => {
        const table = stored(written);
        const key = [...table.keys()][which] as string;
        if (fault.kind === "gone") table.delete(key);
        else if (fault.kind === "foreign") table.set(key, fault.value);
        else if (fault.kind === "member") table.set(key, withMember(table, key, fault));
        else table.set(key, mutatedText(String(table.get(key)), fault.faults, String(stored(other).get(key))));
        const outcome = decoded(() => decodeSystemRows(table, "epoch 7"));
        if ("refusal" in outcome) {
          const { where } = outcome.refusal.details;
          if (key === "format") expect(refusalOf(outcome)).toBe("invalid/unknown_format");
          else expect([refusalOf(outcome), where]).toEqual(["corrupt/system_rows_corrupt", `_lbc.${key}`]);
          return;
        }
        acceptedCount++;
        if (fault.kind === "member" && isObjectRow(key)) acceptedObjects++;
        expectTold(outcome.value, table);
      }),
      campaign,
    );
    // Or what is told of them was hardly looked at.
    expect(acceptedCount / campaign.numRuns).toBeGreaterThan(0.2);
    expect(acceptedObjects / campaign.numRuns).toBeGreaterThan(0.01);
  });

  /** The text of the row with another value at one place of its object; of a row without one the value itself. */
  function withMember(table: ReadonlyMap<string, unknown>, key: string, { at, value }: { at: number; value: unknown }) {
    if (!isObjectRow(key)) return value;
    const name = MEMBERS[key][at] as string;
    return JSON.stringify({ ...JSON.parse(table.get(key) as string), [name]: value });
  }

  function isObjectRow(key: string): key is keyof typeof MEMBERS {
    return key in MEMBERS;
  }

  /** Each row says what its text says, or nothing where there is none. */
  function expectTold(found: SystemRows, table: ReadonlyMap<string, unknown>): void {
    const told = (key: string) => table.get(key) ?? undefined;
    const { clusterId, lastUpdate, secret, format } = found;
    expect({ clusterId, lastUpdate, secret, format }).toStrictEqual({
      clusterId: told("cluster_id"),
      lastUpdate: told("last_update"),
      secret: told("secret"),
      format: told("format"),
    });
    expect(typeof clusterId).toBe("string");
    for (const text of [lastUpdate, secret]) expect(["string", "undefined"]).toContain(typeof text);
    for (const key of ["leader", "chain", "rollback"] as const) {
      const json = JSON.parse((told(key) as string | undefined) ?? "null") as Record<string, unknown> | null;
      const members: Readonly<Record<string, unknown>> | undefined = found[key] && { ...found[key] };
      expect(members === undefined).toBe(json === null);
      for (const name of MEMBERS[key]) expect(members?.[name], `${key}.${name}`).toBe(json?.[name]);
    }
    const { leader = { uuid: "", az: "", address: "" } } = found;
    for (const text of [leader.uuid, leader.az, leader.address]) expect(typeof text).toBe("string");
    if (found.chain !== undefined) {
      expect([found.chain.wal, found.chain.state].join(" ")).toMatch(/^[0-9a-f]{64} [0-9a-f]{16}$/);
      expect(Number.isSafeInteger(found.chain.epoch)).toBe(true);
    }
    if (found.rollback !== undefined) {
      const { epoch, from, to } = found.rollback;
      expect([epoch, to <= from, to >= 0]).toEqual([from + 1, true, true]);
    }
  }
});
