import { expect, test } from "vitest";
import { decodeSystemRows, encodeChain, encodeLeader, encodeRollback, FORMAT } from "../../src/format/system-rows.ts";
import { clusterErrorOf, codeOf } from "../support/errors.ts";

const LEADER = { uuid: "u", az: "a", address: "h:1" };
const ROLLBACK = { epoch: 5, from: 4, to: 0 };
const CHAIN = { epoch: 4, wal: "a".repeat(64), state: "0123456789abcdef" };

function decode(rows: Record<string, unknown>): ReturnType<typeof decodeSystemRows> {
  return decodeSystemRows(new Map(Object.entries(rows)), "epoch 5");
}

test("what is encoded is decoded", () => {
  const rows = {
    cluster_id: "c",
    last_update: "t",
    secret: "s",
    format: FORMAT,
    leader: encodeLeader(LEADER),
    chain: encodeChain(CHAIN),
    rollback: encodeRollback(ROLLBACK),
  };
  expect(decode(rows)).toEqual({
    clusterId: "c",
    lastUpdate: "t",
    secret: "s",
    format: 1,
    leader: LEADER,
    chain: CHAIN,
    rollback: ROLLBACK,
  });
});

test("a database of the original, which has fewer rows, is accepted", () => {
  const original = { cluster_id: "c", last_update: "2026-01-01T00:00:00Z", leader: encodeLeader(LEADER) };
  const decoded = decode(original);
  const { chain, secret, format, rollback } = decoded;
  expect([chain, secret, format, rollback]).toEqual([undefined, undefined, undefined, undefined]);
  expect(decode({ cluster_id: "c", leader: "null", secret: null })).toMatchObject({
    leader: undefined,
    secret: undefined,
  });
});

test("rows of a later version that we do not know are ignored", () => {
  expect(decode({ cluster_id: "c", something: Uint8Array.of(1) }).clusterId).toBe("c");
});

test.each([2, 0, "1", null, 1n])("format %s is refused with advice", (format) => {
  const error = clusterErrorOf(() => decode({ cluster_id: "c", format }));
  expect([error.kind, error.code]).toEqual(["invalid", "unknown_format"]);
  expect(error.message).toContain("upgrade");
});

test.each([
  ["no cluster_id", {}],
  ["cluster_id NULL", { cluster_id: null }],
  ["cluster_id a number", { cluster_id: 1 }],
  ["secret a blob", { secret: Uint8Array.of(1) }],
  ["leader cut off", { leader: encodeLeader(LEADER).slice(0, -1) }],
  ["leader an array", { leader: "[]" }],
  ["leader a text", { leader: '"u"' }],
  ["leader without address", { leader: '{"uuid":"u","az":"a"}' }],
  ["leader with a number", { leader: '{"uuid":1,"az":"a","address":"x"}' }],
  ["chain not JSON", { chain: "{" }],
  ["chain without epoch", { chain: JSON.stringify({ ...CHAIN, epoch: undefined }) }],
  ["chain with half an epoch", { chain: JSON.stringify({ ...CHAIN, epoch: 0.5 }) }],
  ["chain with a short hash", { chain: JSON.stringify({ ...CHAIN, wal: "ab" }) }],
  ["chain with upper case", { chain: JSON.stringify({ ...CHAIN, wal: "A".repeat(64) }) }],
  ["chain with a hash in an array", { chain: JSON.stringify({ ...CHAIN, wal: [CHAIN.wal] }) }],
  ["rollback not JSON", { rollback: "{" }],
  ["rollback without an end", { rollback: JSON.stringify({ ...ROLLBACK, to: undefined }) }],
  ["rollback with half an epoch", { rollback: JSON.stringify({ ...ROLLBACK, to: 0.5 }) }],
  ["rollback with a text", { rollback: JSON.stringify({ ...ROLLBACK, to: "0" }) }],
  ["rollback before the first epoch", { rollback: JSON.stringify({ ...ROLLBACK, to: -1 }) }],
  ["rollback to the future", { rollback: JSON.stringify({ ...ROLLBACK, to: 5 }) }],
  ["rollback over a gap", { rollback: JSON.stringify({ ...ROLLBACK, from: 3 }) }],
  ["chain with a number as state", { chain: JSON.stringify({ ...CHAIN, state: 1234567890123456 }) }],
])("damaged: %s is refused, naming object and row", (_name, rows) => {
  const error = clusterErrorOf(() => decode(_name.startsWith("no cl") ? rows : { cluster_id: "c", ...rows }));
  expect([error.kind, error.code]).toEqual(["corrupt", "system_rows_corrupt"]);
  expect(error.details).toMatchObject({ object: "epoch 5", where: expect.stringMatching(/^_lbc\./) });
});

test("a format we do not know is told before rows that we then cannot read", () => {
  expect(codeOf(() => decode({ format: 9 }))).toBe("invalid/unknown_format");
});
