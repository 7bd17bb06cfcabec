/** Epochs by the leader's stream (docs/architecture.md §6): what it spares, and what it must never be trusted for. */
import { describe, expect, it } from "vitest";
import { walKey } from "../../src/format/keys.ts";
import { FRAME_BODY_BYTES_MAX } from "../../src/format/stream-frames.ts";
import { MemoryStore } from "../../src/mod.ts";
import type { PutBody, PutOptions, PutOutcome } from "../../src/store/store.ts";
import type { StoreCall } from "../../src/testing/mod.ts";
import {
  bytesOf,
  createTable,
  insert,
  join,
  lead,
  namesIn,
  newStore,
  QUIET,
  type Subject,
} from "../support/cluster.ts";
import { forgeEpochAfter } from "../support/forge.ts";
import { parsePrometheus } from "../support/prometheus.ts";
import { freePort, TcpProxy } from "../support/tcp-proxy.ts";
import { settle, until, within } from "../support/wait.ts";
import { send, strangerOf, subscribe, urlOf } from "../support/wire.ts";

/** Only the stream tells of epochs: the store is asked again after minutes. */
const quiet = { settings: { ...QUIET, gossipIntervalMs: 60_000 } };

const isStreaming = ({ node }: Subject) => node.status().replica.is_streaming;

function countCalls(subject: Subject): StoreCall[] {
  const calls: StoreCall[] = [];
  subject.faults.onCall = (call) => {
    calls.push(call);
    return undefined;
  };
  return calls;
}

async function metric({ node }: Subject, family: string, label?: string): Promise<number> {
  const text = await (await fetch(urlOf(node, "/.lbc/metrics"))).text();
  const samples = parsePrometheus(text).get(family)?.samples ?? [];
  const found = samples.filter(({ labels }) => label === undefined || Object.values(labels).includes(label));
  if (found.length !== 1) throw new Error(`${found.length} samples of ${family} ${label}`);
  return found[0]?.value as number;
}

const applied = (subject: Subject, source: "push" | "store") => metric(subject, "lbc_epochs_applied_total", source);

async function leaderAndFollowers(count: number, join_: object = {}) {
  const store = await newStore();
  const leader = await lead(store, { ...quiet, join: join_ });
  await createTable(leader.node);
  const followers: Subject[] = [];
  for (let index = 0; index < count; index++) followers.push(await join("follower", store, quiet));
  return { store, leader, followers };
}

describe("the stream brings every epoch", () => {
  it("to every follower, each once and in order, and no store is asked for it", async () => {
    const { leader, followers } = await leaderAndFollowers(2);
    await until("the streams", () => followers.every(isStreaming));
    for (const { node } of followers) await node.sync({ atLeast: leader.node.epoch.current });
    await until("nobody asks the store", async () => {
      const calls = followers.map(countCalls);
      await insert(leader.node, `warm-up ${leader.node.epoch.current}`);
      await until("the epoch", () => followers.every(({ node }) => node.epoch.current === leader.node.epoch.current));
      await settle();
      return calls.every(({ length }) => length === 0);
    });
    const calls = followers.map(countCalls);
    const before = await Promise.all(followers.map((follower) => applied(follower, "push")));
    const from = leader.node.epoch.current;
    const seen = followers.map(() => [] as number[]);
    for (const [index, { node }] of followers.entries()) {
      void (async () => {
        for await (const epoch of node.epoch) seen[index]?.push(epoch);
      })();
    }
    for (let count = 0; count < 40; count++) {
      if (count % 4 === 0) await insert(leader.node, `one ${count}`);
      else await Promise.all([insert(leader.node, `one ${count}`), insert(leader.node, `two ${count}`)]);
    }
    const to = leader.node.epoch.current;
    await until("the last epoch", () => followers.every(({ node }) => node.epoch.current === to));
    for (const [index, follower] of followers.entries()) {
      expect(namesIn(follower.node)).toEqual(namesIn(leader.node));
      expect((await applied(follower, "push")) - (before[index] as number), "each once").toBe(to - from);
      expect(seen[index]).toEqual([...new Set(seen[index])].sort((a, b) => a - b));
      expect(calls[index], "no request to the store").toEqual([]);
    }
  });

  it("that a late subscriber has missed, from memory, before what comes next", async () => {
    const { leader, store } = await leaderAndFollowers(0);
    const first = leader.node.epoch.current;
    for (let count = 0; count < 5; count++) await insert(leader.node, `${count}`);
    const calls = countCalls(leader);
    const stream = await subscribe(leader.node, strangerOf(leader.node), first);
    await until("what was missed", () => stream.frames.length >= 7);
    expect(calls, "nothing was read back").toEqual([]);
    await insert(leader.node, "next");
    await until("the next", () => stream.frames.some(({ epoch }) => epoch === first + 6));
    const kinds = stream.frames.filter(({ kind }) => kind !== "roster").map(({ kind, epoch }) => `${kind} ${epoch}`);
    expect(kinds).toEqual([`hello ${first + 5}`, ...[1, 2, 3, 4, 5, 6].map((nth) => `epoch ${first + nth}`)]);
    for (const { kind, epoch, body } of stream.frames) {
      if (kind === "epoch") expect(Buffer.from(await bytesOf(store, walKey(epoch))).equals(body)).toBe(true);
    }
  });

  it("to nobody with a hole: who is too far behind is only told how far", async () => {
    const store = await newStore();
    await (async () => {
      // Epochs of a leadership before: this leader does not hold them.
      const old = await lead(store, quiet);
      await createTable(old.node);
      await old.node.shutdown();
    })();
    const leader = await lead(store, quiet);
    await insert(leader.node, "a");
    const stream = await subscribe(leader.node, strangerOf(leader.node), 0);
    await until("its roster", () => stream.frames.some(({ kind }) => kind === "roster"));
    expect(stream.frames.map(({ kind }) => kind)).not.toContain("epoch");
    expect(stream.frames[0]).toMatchObject({ kind: "hello", epoch: leader.node.epoch.current });
  });

  it("but one that is too long, of which it only tells: that is fetched", async () => {
    const { leader, followers } = await leaderAndFollowers(1);
    const [follower] = followers as [Subject];
    await until("the stream", () => isStreaming(follower));
    const stream = await subscribe(leader.node, strangerOf(leader.node), leader.node.epoch.current);
    await until("its roster", () => stream.frames.some(({ kind }) => kind === "roster"));
    const calls = countCalls(follower);
    const { epoch } = await insert(leader.node, "long", new Uint8Array(FRAME_BODY_BYTES_MAX));
    await until("the long one", () => follower.node.epoch.current === epoch);
    const { epoch: next } = await insert(leader.node, "short");
    await until("the next", () => follower.node.epoch.current === next);
    const gets = calls.filter(({ operation }) => operation === "get").map(({ key }) => key);
    expect(gets).toContain(walKey(epoch));
    await until("both frames", () => stream.frames.some((frame) => frame.epoch === next));
    const told = stream.frames.filter((frame) => frame.kind !== "roster" && frame.epoch >= epoch);
    expect(told.map((frame) => [frame.kind, frame.epoch, frame.body.length > 0])).toEqual([
      ["told", epoch, false],
      ["epoch", next, true],
    ]);
  });

  it("and a member that asks again has one stream: the older one ends", async () => {
    const { leader } = await leaderAndFollowers(0);
    const stranger = strangerOf(leader.node);
    const first = await subscribe(leader.node, stranger, 0);
    const second = await subscribe(leader.node, stranger, 0);
    expect(await within("the end of the first", first.ended)).toBe(true);
    const { epoch } = await insert(leader.node, "a");
    await until("the epoch", () => second.frames.some((frame) => frame.epoch === epoch && frame.kind === "epoch"));
    expect(await metric(leader, "lbc_push_subscribers")).toBe(1);
  });
});

describe("a follower whose stream breaks", () => {
  it("goes on by the store, and returns to the stream", async () => {
    const store = await newStore();
    const address = `127.0.0.1:${await freePort()}`;
    const proxy = await TcpProxy.start(address);
    const leader = await lead(store, { ...quiet, join: { address, advertise: proxy.address } });
    await createTable(leader.node);
    const follower = await join("follower", store, quiet);
    await until("the stream", () => isStreaming(follower));
    for (let round = 0; round < 3; round++) {
      await proxy.refuse();
      await until("the end of the stream", () => !isStreaming(follower));
      const { epoch } = await insert(leader.node, `without ${round}`);
      await until("the epoch from the store", () => follower.node.epoch.current === epoch);
      await proxy.heal();
      await until("the stream again", () => isStreaming(follower));
      await until("an epoch without the store", async () => {
        await settle();
        const calls = countCalls(follower);
        const { epoch: next } = await insert(leader.node, `with ${leader.node.epoch.current}`);
        await until("the epoch", () => follower.node.epoch.current === next);
        return calls.length === 0;
      });
    }
    expect(namesIn(follower.node)).toEqual(namesIn(leader.node));
    expect(follower.events.filter(({ event }) => event === "epoch_refused")).toEqual([]);
  });
});

/** A store that holds what is put to it until the test lets go. */
class HoldingStore extends MemoryStore {
  held: { readonly released: Promise<void>; arrived: number } | undefined;

  override async put(key: string, body: PutBody, options?: PutOptions): Promise<PutOutcome> {
    const { held } = this;
    if (held !== undefined && key.endsWith(".wal")) {
      held.arrived++;
      await held.released;
    }
    return await super.put(key, body, options);
  }
}

describe("P4: nothing is pushed before it is durable", () => {
  it("while its PUT is under way", async () => {
    const store = new HoldingStore();
    await newStore(store);
    const leader = await lead(store, quiet);
    await createTable(leader.node);
    const follower = await join("follower", store, quiet);
    await until("the stream", () => isStreaming(follower));
    const stream = await subscribe(leader.node, strangerOf(leader.node), leader.node.epoch.current);
    await until("its roster", () => stream.frames.some(({ kind }) => kind === "roster"));
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    store.held = { released, arrived: 0 };
    const before = leader.node.epoch.current;
    const ack = insert(leader.node, "undurable");
    await until("the PUT", () => (store.held?.arrived ?? 0) > 0);
    await settle(200);
    expect(stream.frames.every(({ epoch }) => epoch <= before)).toBe(true);
    expect([leader, follower].map(({ node }) => [node.epoch.current, namesIn(node)])).toEqual([
      [before, []],
      [before, []],
    ]);
    release();
    const { epoch } = await ack;
    await until("the epoch", () => follower.node.epoch.current === epoch);
    await until("its frame", () => stream.frames.some((frame) => frame.epoch === epoch));
  });

  it("and never if its PUT failed and another node wrote that epoch", async () => {
    const { leader, followers, store } = await leaderAndFollowers(1);
    const [follower] = followers as [Subject];
    await until("the stream", () => isStreaming(follower));
    const epoch = leader.node.epoch.current + 1;
    leader.faults.onCall = ({ operation }) => (operation === "put" ? { kind: "fail_before" } : undefined);
    const ack = insert(leader.node, "lost");
    ack.catch(() => {});
    const other = await forgeEpochAfter(store, epoch - 1, {}, (tx) => tx.run("INSERT INTO items(name) VALUES ('won')"));
    await store.put(walKey(epoch), other);
    await expect(within("the ack", ack)).rejects.toMatchObject({ kind: "fenced" });
    await until("the other's epoch", () => follower.node.epoch.current === epoch);
    expect(namesIn(follower.node)).toEqual(["won"]);
  });
});

describe("P10: a subscriber that does not read", () => {
  it("is dropped by a node, which serves the others on", async () => {
    const { leader, followers } = await leaderAndFollowers(1);
    const [follower] = followers as [Subject];
    await until("the stream", () => isStreaming(follower));
    const member = strangerOf(leader.node);
    const gone = new AbortController();
    const body = JSON.stringify({ member, epoch: leader.node.epoch.current });
    const unread = await send(leader.node, { path: "/.lbc/epochs", body, signal: gone.signal });
    expect(unread.status).toBe(200);
    await until("two streams", async () => (await metric(leader, "lbc_push_subscribers")) === 2);
    let written = 0;
    await until("one stream", async () => {
      const { epoch } = await insert(leader.node, `${written++}`, new Uint8Array(8 * 1024 * 1024));
      await until("the other one's epoch", () => follower.node.epoch.current === epoch);
      return (await metric(leader, "lbc_push_subscribers")) === 1;
    });
    expect(isStreaming(follower)).toBe(true);
    gone.abort();
  });
});
