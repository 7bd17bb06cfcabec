/** Rule 4 (docs/architecture.md §5): a leader whose address refuses is replaced at once, and seldom for nothing. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ClusterOptions } from "../../src/mod.ts";
import { makeAuthority } from "../support/certificates.ts";
import {
  createTable,
  insert,
  isWalPut,
  join,
  lead,
  namesIn,
  newStore,
  QUIET,
  type Subject,
} from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { freePort, TcpProxy } from "../support/tcp-proxy.ts";
import { settle, until, within } from "../support/wait.ts";
import { FakeLeader, secretOf, send } from "../support/wire.ts";

/** Nobody is missed for minutes: whoever claims does so by rule 4. */
const quiet: Partial<ClusterOptions> = { ...QUIET, gossipIntervalMs: 60_000 };
const SESSION_MS = QUIET.sessionTimeoutMs as number;
/** Attempts after which rule 4 would have struck long ago. */
const ATTEMPTS = 4;

const isStreaming = ({ node }: Subject) => node.status().replica.is_streaming;
const reasons = ({ events }: Subject) => events.filter(({ event }) => event === "claiming").map(({ reason }) => reason);
const attempts = ({ events }: Subject) => events.filter(({ event }) => event === "stream_lost").length;
const leads = ({ node }: Subject) => node.role.current === "leader";

/** Options of a node behind a proxy that can refuse in its stead. */
async function proxied(): Promise<{ readonly proxy: TcpProxy; readonly join: { address: string; advertise: string } }> {
  const address = `127.0.0.1:${await freePort()}`;
  const proxy = await TcpProxy.start(address);
  return { proxy, join: { address, advertise: proxy.address } };
}

/** A leader that can be made to look dead: its address refuses, and nothing of it reaches the store. */
async function mortalLeader(settings: Partial<ClusterOptions> = quiet) {
  const store = await newStore();
  const { proxy, join } = await proxied();
  const leader = await lead(store, { settings, join });
  await createTable(leader.node);
  const die = async (): Promise<void> => {
    leader.faults.onCall = () => ({ kind: "fail_before" });
    await proxy.refuse();
  };
  return { store, proxy, leader, die };
}

async function untilAttempts(subject: Subject, count: number): Promise<void> {
  const before = attempts(subject);
  await until(`${count} more attempts to reach the leader`, () => attempts(subject) >= before + count, 30_000);
}

describe("rule 4", () => {
  it("a leader whose address refuses is replaced by a standby, never by a follower; all acknowledged is there", async () => {
    const { store, leader, die } = await mortalLeader();
    const follower = await join("follower", store, { settings: quiet });
    const standby = await join("leader", store, { settings: quiet });
    await until("the streams", () => isStreaming(standby) && isStreaming(follower));
    for (const name of ["a", "b", "c"]) await insert(leader.node, name);
    await die();
    await until("the new leader", () => leads(standby));
    expect(reasons(standby)).toEqual(["refused"]);
    const { epoch } = await insert(standby.node, "d");
    await until("the follower", () => follower.node.epoch.current === epoch);
    expect(namesIn(follower.node)).toEqual(["a", "b", "c", "d"]);
    expect(reasons(follower)).toEqual([]);
  });

  it("a follower alone waits for another leader, however often the address refuses", async () => {
    const { store, die } = await mortalLeader();
    const follower = await join("follower", store, { settings: quiet });
    await until("the stream", () => isStreaming(follower));
    await die();
    await untilAttempts(follower, ATTEMPTS);
    expect(reasons(follower)).toEqual([]);
    expect(follower.node.role.current).toBe("follower");
  });

  it("is not used with fastFailover: false", async () => {
    const { store, die } = await mortalLeader();
    const standby = await join("leader", store, { settings: { ...quiet, fastFailover: false } });
    await until("the stream", () => isStreaming(standby));
    await die();
    await untilAttempts(standby, ATTEMPTS);
    expect(reasons(standby)).toEqual([]);
    standby.clock.pass(SESSION_MS + 1);
    await until("rule 2", () => leads(standby));
    expect(reasons(standby)).toEqual(["silent"]);
  });

  it("is not used for a leader that breaks streams but still accepts", async () => {
    const store = await newStore();
    const fake = await FakeLeader.start();
    const leader = await lead(store, { settings: quiet, join: { advertise: fake.address } });
    const standby = await join("leader", store, { settings: quiet });
    fake.refusal = 500;
    await untilAttempts(standby, ATTEMPTS);
    fake.refusal = undefined;
    fake.play = { secret: secretOf(leader.node), uuid: leader.node.uuid };
    for (let count = 0; count < 3; count++) {
      const before = fake.streams.length;
      await until("a stream", () => fake.streams.length > before);
      fake.streams.at(-1)?.send("hello", leader.node.epoch.current);
      await until("it is open", () => isStreaming(standby));
      fake.streams.at(-1)?.end();
      await until("its end", () => !isStreaming(standby));
    }
    expect(reasons(standby)).toEqual([]);
  });

  it("is not used for a leader that refuses and is heard of through the store", async () => {
    const { store, leader, proxy } = await mortalLeader({ ...quiet, heartbeatIntervalMs: 30 });
    const standby = await join("leader", store, { settings: quiet });
    await until("the stream", () => isStreaming(standby));
    await proxy.refuse();
    await untilAttempts(standby, ATTEMPTS);
    expect(reasons(standby)).toEqual([]);
    expect(leads(leader)).toBe(true);
  });

  /** Time passes in pieces in which the node hears of epochs, so that it does not find the leader silent. */
  async function passSession(subject: Subject, leader: Subject): Promise<void> {
    for (let passedMs = 0; passedMs <= SESSION_MS; passedMs += SESSION_MS / 4) {
      subject.clock.pass(SESSION_MS / 4);
      const { epoch } = await insert(leader.node, `after ${leader.node.epoch.current}`);
      await until("the epoch", () => subject.node.epoch.current === epoch);
    }
  }

  it("is not used within a session time-out of having been fenced, and is used after", async () => {
    const store = await newStore();
    const [a, b] = [await proxied(), await proxied()];
    const first = await lead(store, { settings: quiet, join: a.join });
    await createTable(first.node);
    const second = await join("leader", store, { settings: quiet, join: b.join });
    await until("the stream", () => isStreaming(second));
    // Both live, but neither can reach the other: they must not take turns.
    await a.proxy.refuse();
    await b.proxy.refuse();
    await until("the second leads", () => leads(second));
    const fenced = await insert(first.node, "lost").catch((error: unknown) => error);
    expect(fenced).toMatchObject({ kind: "fenced" });
    await until("the first follows", () => first.node.leader.current?.uuid === second.node.uuid);
    await untilAttempts(first, ATTEMPTS);
    await insert(second.node, "kept");
    expect([leads(first), leads(second)]).toEqual([false, true]);
    expect(reasons(first).slice(1)).toEqual([]);
    await passSession(first, second);
    await until("the first leads again", () => leads(first), 30_000);
    expect(reasons(first).slice(1)).toEqual(["refused"]);
  });

  it("is not used twice by one node within a session time-out", async () => {
    const { store, die } = await mortalLeader();
    const second = await join("leader", store, { settings: quiet });
    const { proxy, join: joinOptions } = await proxied();
    const third = await join("leader", store, { settings: { ...quiet, fastFailover: false }, join: joinOptions });
    await until("the streams", () => isStreaming(second) && isStreaming(third));
    await die();
    await until("the second leads", () => leads(second));
    expect(reasons(second)).toEqual(["refused"]);
    await until("the stream of the second", () => isStreaming(third));
    await second.node.stepDown();
    await until("the third leads", () => leads(third));
    await until("the stream of the third", () => isStreaming(second));
    await proxy.refuse();
    await untilAttempts(second, ATTEMPTS);
    expect(reasons(second)).toEqual(["refused"]);
    expect(leads(third)).toBe(true);
    await passSession(second, third);
    await until("the second leads again", () => leads(second), 30_000);
    expect(reasons(second)).toEqual(["refused", "refused"]);
  });
});

/** Forwards to a port; can refuse while what is open goes on. */
class HalfOpenProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  port = 0;

  constructor(port: number) {
    this.#server = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.setNoDelay(true);
        socket.on("error", () => {});
        socket.on("close", () => {
          near.destroy();
          far.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.port = (this.#server.address() as { port: number }).port;
    onTestFinished(() => {
      this.refuse();
      for (const socket of this.#sockets) socket.destroy();
    });
  }

  /** Refuses what is new. */
  refuse(): void {
    this.#server.close(() => {});
  }
}

describe("a leader that lives and is out of reach for one standby only", () => {
  it("is replaced at most once, and nothing acknowledged is lost", async () => {
    const store = await newStore();
    const port = await freePort();
    const proxy = new HalfOpenProxy(port);
    await proxy.listen();
    const advertise = `127.0.0.1:${proxy.port}`;
    const leader = await lead(store, { settings: quiet, join: { address: `127.0.0.1:${port}`, advertise } });
    await createTable(leader.node);
    const near = await join("leader", store, { settings: quiet });
    const follower = await join("follower", store, { settings: quiet });
    await until("the streams", () => [near, follower].every(isStreaming));
    proxy.refuse();
    const lonely = await join("leader", store, { settings: quiet });
    const all = [leader, near, follower, lonely];
    const acknowledged: string[] = [];
    const problems: unknown[] = [];
    let isOver = false;
    let isQuiet = false;
    let number = 0;
    const writing = (async () => {
      while (!isOver) {
        const name = `w${number++}`;
        const leading = all.find(leads);
        if (leading !== undefined && !isQuiet) {
          await Promise.resolve()
            .then(() => insert(leading.node, name))
            .then(
              () => void acknowledged.push(name),
              (error: { kind?: string }) => {
                if (error.kind !== "fenced" && error.kind !== "not_leader") problems.push(error);
              },
            );
        }
        await settle(1);
      }
    })();
    await until("attempts while the leader writes", () => attempts(lonely) >= ATTEMPTS || leads(lonely));
    // Who hears nothing of the leader from the store either has no reason to wait.
    isQuiet = true;
    await until("the lonely one leads", () => leads(lonely));
    isQuiet = false;
    const after = acknowledged.length;
    await until("writes to it", () => acknowledged.length > after + 20);
    isOver = true;
    await within("the writer", writing);
    expect(problems).toEqual([]);
    // A claim that the leader's next epoch forestalled changed nothing.
    expect(all.map(({ events }) => events.filter(({ event }) => event === "leading").length)).toEqual([1, 0, 0, 1]);
    for (const { node } of all) {
      await node.sync({ atLeast: lonely.node.epoch.current });
      expect(node.leader.current?.uuid).toBe(lonely.node.uuid);
      const names = new Set(namesIn(node));
      expect(acknowledged.filter((name) => !names.has(name))).toEqual([]);
    }
  });
});

describe("a new leader", () => {
  it("makes itself known: who would ask the store only after a minute has its stream at once", async () => {
    const { store, leader, die } = await mortalLeader();
    const slow = { ...quiet, pollIntervalMs: 60_000 };
    const followers = [
      await join("follower", store, { settings: slow }),
      await join("follower", store, { settings: slow }),
    ];
    const standby = await join("leader", store, { settings: quiet });
    await until("the streams", () => [standby, ...followers].every(isStreaming));
    await insert(leader.node, "a");
    await until("the members", () => standby.node.members.current.length === 4);
    await die();
    await until("the new leader", () => leads(standby));
    for (const { node } of followers) {
      await until("it is known", () => node.leader.current?.uuid === standby.node.uuid);
      await until("its roster", () => !node.members.current.some(({ uuid }) => uuid === leader.node.uuid));
    }
    await until("its streams", () => followers.every(isStreaming));
    const { epoch } = await insert(standby.node, "b");
    await until("the epoch", () => followers.every(({ node }) => node.epoch.current === epoch));
  });

  it("that is none is not followed for long: the true leader's stream comes back", async () => {
    const store = await newStore();
    const leader = await lead(store, { settings: quiet });
    await createTable(leader.node);
    const follower = await join("follower", store, { settings: quiet });
    await until("the stream", () => isStreaming(follower));
    const announce = (address: string, epoch: number) =>
      send(follower.node, {
        path: "/.lbc/leading",
        body: JSON.stringify({ leader: { uuid: "nobody", az: "AZ0", address }, epoch }),
      });
    const lost = () => attempts(follower);
    expect((await announce("127.0.0.1:1", follower.node.epoch.current)).status).toBe(200);
    await settle(50);
    expect([lost(), isStreaming(follower)], "what is no news changes nothing").toEqual([0, true]);
    expect((await announce("127.0.0.1:1", 1000)).status).toBe(200);
    await until("the attempt", () => lost() > 0);
    await until("the stream", () => isStreaming(follower));
    expect(follower.node.leader.current?.uuid).toBe(leader.node.uuid);
    const { epoch } = await insert(leader.node, "a");
    await until("the epoch", () => follower.node.epoch.current === epoch);
    expect((await announce("127.0.0.1:1", 1000)).status).toBe(200);
    expect((await announce(leader.node.address, 1000)).status).toBe(200);
    const { epoch: next } = await insert(leader.node, "b");
    await until("the next epoch", () => follower.node.epoch.current === next);
  });

  it("that cannot be written is none: a claim that fails leaves no leader's mark, and no refusal counts twice", async () => {
    const { store, die } = await mortalLeader();
    const standby = await join("leader", store, { settings: quiet });
    await until("the stream", () => isStreaming(standby));
    standby.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    await die();
    await until("the claim", () => reasons(standby).length > 0);
    await until("it could not be written", () => standby.events.some(({ event }) => event === "put_failed"));
    expect(leads(standby)).toBe(false);
    standby.faults.onCall = () => undefined;
    await until("it leads", () => leads(standby));
    expect(reasons(standby)).toEqual(["refused"]);
  });

  it("is not for who never spoke with the leader and is cut off: it may not speak its language", async () => {
    const directory = testDirectory();
    const authority = makeAuthority(directory, "ca");
    const tls = { ...authority.issue("leader"), ca: authority.cert };
    const store = await newStore();
    const leader = await lead(store, { settings: quiet, join: { tls } });
    const standby = await join("leader", store, { settings: quiet });
    await untilAttempts(standby, ATTEMPTS);
    expect(reasons(standby)).toEqual([]);
    expect(leads(leader)).toBe(true);
  });
});
