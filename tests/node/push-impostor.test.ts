/** Who serves a leader's stream in its stead (docs/architecture.md §6): the follower believes the secret, and the store. */
import { describe, expect, it } from "vitest";
import { StreamMac } from "../../src/net/stream-mac.ts";
import { createTable, insert, join, lead, namesIn, newStore, QUIET, type Subject } from "../support/cluster.ts";
import { forgeEpochAfter } from "../support/forge.ts";
import { settle, until } from "../support/wait.ts";
import { FakeLeader, type FakeStream, secretOf, strangerOf } from "../support/wire.ts";

/** Only the stream tells of epochs: the store is asked again after minutes. */
const quiet = { settings: { ...QUIET, gossipIntervalMs: 60_000 } };

const isStreaming = ({ node }: Subject) => node.status().replica.is_streaming;

describe("P9: who does not hold the secret pushes nothing", () => {
  /** A leader whose stream somebody else serves, and its follower, which has all there is. */
  async function impostor() {
    const store = await newStore();
    const fake = await FakeLeader.start();
    const leader = await lead(store, { ...quiet, join: { advertise: fake.address } });
    await createTable(leader.node);
    fake.play = { secret: secretOf(leader.node), uuid: leader.node.uuid };
    const follower = await join("follower", store, quiet);
    await until("the stream", () => fake.streams.length > 0);
    const epoch = leader.node.epoch.current;
    await follower.node.sync({ atLeast: epoch });
    const sql = "INSERT INTO items(name) VALUES ('evil')";
    const evil = await forgeEpochAfter(store, epoch, {}, (tx) => tx.run(sql));
    return { store, fake, leader, follower, epoch, evil };
  }

  it("in this set-up a true frame is applied: what is refused below is refused for its authenticator", async () => {
    const { fake, follower, epoch, evil } = await impostor();
    fake.streams.at(-1)?.send("epoch", epoch + 1, evil);
    await until("the epoch", () => follower.node.epoch.current === epoch + 1);
    expect(namesIn(follower.node)).toEqual(["evil"]);
  });

  const other = (stream: FakeStream, change: object) =>
    new StreamMac("another secret that is long enough", { ...stream.name, ...change });
  const attacks: [string, (stream: FakeStream, epoch: number, evil: Uint8Array, secret: string) => Uint8Array[]][] = [
    ["signed with another secret", (stream, epoch, evil) => [stream.frame("epoch", epoch, evil, other(stream, {}))]],
    [
      "of another request's stream",
      (stream, epoch, evil, secret) => {
        const name = { ...stream.name, nonce: "another-nonce-1234" };
        return [stream.frame("epoch", epoch, evil, new StreamMac(secret, name))];
      },
    ],
    [
      "of another follower's stream",
      (stream, epoch, evil, secret) => {
        const name = { ...stream.name, to: "another-follower" };
        return [stream.frame("epoch", epoch, evil, new StreamMac(secret, name))];
      },
    ],
    [
      "of another leader's stream",
      (stream, epoch, evil, secret) => {
        const name = { ...stream.name, from: "another-leader" };
        return [stream.frame("epoch", epoch, evil, new StreamMac(secret, name))];
      },
    ],
    [
      "after one that was dropped",
      (stream, epoch, evil) => {
        stream.frame("hello", epoch - 1);
        return [stream.frame("epoch", epoch, evil)];
      },
    ],
    [
      "before the one that it follows",
      (stream, epoch, evil) => {
        const hello = stream.frame("hello", epoch - 1);
        return [stream.frame("epoch", epoch, evil), hello];
      },
    ],
    [
      "whose epoch was changed",
      (stream, epoch, evil) => {
        const frame = stream.frame("epoch", epoch + 1, evil);
        frame[12] = (frame[12] as number) - 1;
        return [frame];
      },
    ],
    [
      "whose kind was changed",
      (stream, epoch, evil) => {
        const frame = stream.frame("roster", epoch, evil);
        frame[4] = 2;
        return [frame];
      },
    ],
    [
      "whose body was changed",
      (stream, epoch, evil) => {
        const frame = stream.frame("epoch", epoch, evil.slice().fill(0));
        frame.set(evil, 13);
        return [frame];
      },
    ],
    ["without an authenticator", (stream, epoch, evil) => [stream.frame("epoch", epoch, evil).fill(0, -32)]],
    ["that is no frame", () => [new Uint8Array(64).fill(255)]],
  ];
  for (const [what, attack] of attacks) {
    it(`a frame ${what} is not applied, ends the stream, and the follower goes on by the store`, async () => {
      const { fake, leader, follower, epoch, evil } = await impostor();
      const stream = fake.streams.at(-1) as FakeStream;
      fake.refusal = 503;
      stream.write(...attack(stream, epoch + 1, evil, secretOf(leader.node)));
      await until("the end of the stream", () => follower.events.some(({ event }) => event === "stream_lost"));
      expect(isStreaming(follower)).toBe(false);
      expect([follower.node.epoch.current, namesIn(follower.node)]).toEqual([epoch, []]);
      expect(follower.events.filter(({ event }) => event === "epoch_refused")).toEqual([]);
      for (const name of ["true", "truer"]) {
        const { epoch: next } = await insert(leader.node, name);
        await until("the true epoch", () => follower.node.epoch.current === next);
      }
      expect(namesIn(follower.node)).toEqual(["true", "truer"]);
      fake.refusal = undefined;
      await until("the stream again", () => fake.streams.length > 1);
      fake.streams.at(-1)?.send("hello", leader.node.epoch.current);
      await until("the stream is relied on again", () => isStreaming(follower));
    });
  }

  it("a frame that comes a second time is not taken: not its epoch, not its roster", async () => {
    const { fake, follower, epoch, evil } = await impostor();
    const stream = fake.streams.at(-1) as FakeStream;
    fake.refusal = 503;
    const roster = (...members: unknown[]) => new TextEncoder().encode(JSON.stringify(members));
    const empty = stream.frame("roster", epoch, roster());
    stream.write(empty);
    stream.send("roster", epoch, roster(strangerOf(follower.node)));
    await until("the roster", () => follower.node.members.current.some(({ uuid }) => uuid === "a-stranger"));
    stream.write(empty);
    await until("the end of the stream", () => follower.events.some(({ event }) => event === "stream_lost"));
    expect(follower.node.members.current.some(({ uuid }) => uuid === "a-stranger")).toBe(true);
    expect(evil.length).toBeGreaterThan(0);
  });

  it("a stream that ends in the middle of a frame gives nothing of it", async () => {
    const { fake, follower, epoch, evil } = await impostor();
    const stream = fake.streams.at(-1) as FakeStream;
    fake.refusal = 503;
    stream.send("hello", epoch);
    await until("the stream", () => isStreaming(follower));
    stream.write(stream.frame("epoch", epoch + 1, evil).subarray(0, -1));
    stream.end();
    await until("the end of the stream", () => !isStreaming(follower));
    await settle();
    expect([follower.node.epoch.current, namesIn(follower.node)]).toEqual([epoch, []]);
  });

  it("P7: with the secret it can mislead until the next epoch, which finds it out", async () => {
    const { fake, leader, follower, epoch, evil } = await impostor();
    fake.streams.at(-1)?.send("epoch", epoch + 1, evil);
    await until("the epoch of the impostor", () => namesIn(follower.node).includes("evil"));
    fake.refusal = 503;
    fake.streams.at(-1)?.end();
    await insert(leader.node, "true");
    const { epoch: next } = await insert(leader.node, "truer");
    await until("the repair", () => namesIn(follower.node).join() === "true,truer");
    expect(follower.node.epoch.current).toBe(next);
    expect(follower.events.find(({ event }) => event === "epoch_refused")).toMatchObject({ code: "diverged" });
    expect(follower.node.status().replica.trouble).toBeNull();
  });

  it("P7: what it pushes and is no epoch is refused, and the store's is taken", async () => {
    const { fake, leader, follower, epoch, evil } = await impostor();
    const damaged = evil.slice();
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1;
    const stream = fake.streams.at(-1) as FakeStream;
    stream.send("epoch", epoch + 1, damaged);
    stream.send("epoch", epoch + 2, new Uint8Array(0));
    await until("the refusal", () => follower.events.some(({ event }) => event === "epoch_refused"));
    expect(follower.node.epoch.current).toBe(epoch);
    await insert(leader.node, "true");
    const { epoch: last } = await insert(leader.node, "truer");
    stream.send("told", last);
    await until("the true epochs", () => follower.node.epoch.current === last);
    expect(namesIn(follower.node)).toEqual(["true", "truer"]);
  });

  it("P10: a flood of epochs of the future costs no more than its bound", async () => {
    const { fake, leader, follower, epoch } = await impostor();
    const stream = fake.streams.at(-1) as FakeStream;
    const body = new Uint8Array(1024);
    for (let nth = 100; nth < 2100; nth++) stream.send("epoch", epoch + nth, body);
    const { epoch: next } = await insert(leader.node, "true");
    await until("the true epoch", () => follower.node.epoch.current === next);
  });
});
