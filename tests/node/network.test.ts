/** A node's part of the network (DESIGN §6). */
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Hono } from "hono";
import { describe, expect, it, onTestFinished } from "vitest";
import { LittleBigCluster, type Member, type NodeEnv } from "../../src/mod.ts";
import { signRequest } from "../../src/net/auth.ts";
import { codeOf, failureOf } from "../store/failure.ts";
import {
  createTable,
  FAST,
  isWalPut,
  join,
  lead,
  newStore,
  passSilence,
  QUIET,
  type Subject,
} from "../support/cluster.ts";
import { settle, until, within } from "../support/wait.ts";

const apps = () => ({
  app: new Hono<NodeEnv>()
    .get("/who", (c) => c.text(c.var.node.uuid))
    .post("/echo", async (c) => c.text(`${c.req.header("x-test")} ${await c.req.text()}`))
    .get("/proxy", async (c) => fetch(`http://${c.var.node.address}/who`))
    .get("/bad", (c) => c.json(c.var.node.transaction(() => {}).value)),
  leaderApp: new Hono<NodeEnv>()
    .get("/led", (c) => c.text(c.var.node.uuid))
    .post("/led/size", async (c) => c.text(String((await c.req.arrayBuffer()).byteLength))),
});

async function pair(
  settings = QUIET,
): Promise<{ leader: Subject; follower: Subject; url: (s: Subject, path: string) => string }> {
  const store = await newStore();
  const leader = await lead(store, { settings, join: apps() });
  await createTable(leader.node);
  const follower = await join("follower", store, {
    settings,
    join: { ...apps(), roles: { worker: new Hono().get("/work", (c) => c.text("working")), idle: null } },
  });
  return { leader, follower, url: ({ node }, path) => `http://${node.address}${path}` };
}

describe("a node serves", () => {
  it("the leader's application while it leads, and says who does elsewhere", async () => {
    const { leader, follower, url } = await pair();
    expect(await (await fetch(url(leader, "/led"))).text()).toBe(leader.node.uuid);
    const refused = await fetch(url(follower, "/led"));
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(await refused.json()).toMatchObject({ error: expect.any(String), leader: { uuid: leader.node.uuid } });
    expect((await fetch(url(follower, "/nowhere"))).status).toBe(404);
    await leader.node.stepDown();
    const after = await fetch(url(leader, "/led"));
    expect([after.status, ((await after.json()) as { leader: unknown }).leader]).toEqual([503, null]);
  });

  it("the application on every node, roles where they are, and its epoch on every answer, also a passed-on one", async () => {
    const { leader, follower, url } = await pair();
    for (const subject of [leader, follower]) {
      for (const path of ["/who", "/proxy", "/led", "/nowhere", "/.lbc/status", "/.lbc/gossip"]) {
        const response = await fetch(url(subject, path));
        expect(response.headers.get("x-lbc-epoch"), path).toBe(String(subject.node.epoch.current));
        expect(response.status, path).toBeLessThan(504);
        expect(response.status, path).not.toBe(500);
      }
      expect(await (await fetch(url(subject, "/proxy"))).text()).toBe(subject.node.uuid);
    }
    expect(await (await fetch(url(follower, "/work"))).text()).toBe("working");
    expect((await fetch(url(leader, "/work"))).status).toBe(404);
    const bad = await fetch(url(follower, "/bad"));
    expect([bad.status, await bad.json()]).toMatchObject([503, { kind: "not_leader" }]);
  });

  it("a status without the secret", async () => {
    const { leader, follower, url } = await pair();
    const secret = leader.node.db.get<{ value: string }>("SELECT value FROM _lbc WHERE key = 'secret'")?.value ?? "";
    expect(secret.length).toBeGreaterThan(40);
    for (const subject of [leader, follower]) {
      const text = await (await fetch(url(subject, "/.lbc/status"))).text();
      expect(text).not.toContain(secret);
      expect(JSON.stringify(subject.events)).not.toContain(secret);
      expect(JSON.parse(text)).toMatchObject({
        cluster_id: "test",
        this: { uuid: subject.node.uuid, az: "AZ0", address: subject.node.address },
        is_leader: subject === leader,
        leader: { uuid: leader.node.uuid },
        members: expect.any(Array),
        replica: { epoch: subject.node.epoch.current, last_update: expect.any(String), snapshot_epoch: 0 },
        db: { pages: expect.any(Number), size: expect.any(Number) },
        store: expect.any(Object),
      });
    }
  });

  it("nothing internal without the cluster's secret, nor the same request twice (P9)", async () => {
    const { leader, url } = await pair();
    const value = leader.node.db.get<{ value: string }>("SELECT value FROM _lbc WHERE key = 'secret'")?.value ?? "";
    const send = (path: string, signedPath: string, secret: string, nonce: string, ageMs = 0, body = "") =>
      fetch(url(leader, path), {
        method: "POST",
        body,
        headers: {
          ...signRequest({
            method: "POST",
            path: signedPath,
            to: leader.node.uuid,
            body,
            secret,
            nowMs: Date.now() - ageMs,
            nonce,
          }),
        },
      });
    const before = leader.node.epoch.current;
    for (const path of ["/.lbc/barrier", "/.lbc/gossip"]) {
      expect((await fetch(url(leader, path), { method: "POST" })).status).toBe(401);
      expect((await send(path, path, "x".repeat(43), "nonce-nonce-nonce-0")).status).toBe(401);
      expect((await send(path, path, value, "nonce-nonce-nonce-1", 61_000)).status).toBe(401);
      expect((await send(path, "/.lbc/other", value, "nonce-nonce-nonce-2")).status).toBe(401);
    }
    expect(leader.node.epoch.current).toBe(before);
    const path = "/.lbc/barrier";
    expect((await send(path, path, value, "nonce-nonce-nonce-3")).status).toBe(200);
    expect((await send(path, path, value, "nonce-nonce-nonce-3")).status).toBe(401);
    expect(leader.node.epoch.current).toBe(before + 1);
    const nonsense = JSON.stringify({ member: { uuid: 7 }, leaving: false });
    expect((await send("/.lbc/gossip", "/.lbc/gossip", value, "nonce-nonce-nonce-4", 0, nonsense)).status).toBe(400);
    expect(leader.node.members.current.every(({ uuid }) => typeof uuid === "string")).toBe(true);
  });

  it("no body over the limit", async () => {
    const { leader, follower, url } = await pair({ ...QUIET, requestBytesMax: 1000 });
    const post = (size: number) => fetch(url(leader, "/led/size"), { method: "POST", body: new Uint8Array(size) });
    expect(await (await post(1000)).text()).toBe("1000");
    expect((await post(1001)).status).toBe(413);
    const sent = await follower.node.leaderClient.fetch("/led/size", { method: "POST", body: new Uint8Array(1001) });
    expect(sent.status).toBe(413);
  });

  it("nothing on an address that is in use: the join fails and says so", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const address = `127.0.0.1:${(server.address() as { port: number }).port}`;
    const cluster = new LittleBigCluster({ id: "test", store: await newStore(), ...FAST });
    const error = await failureOf(cluster.joinAsLeader({ address }));
    expect(error).toMatchObject({ kind: "invalid", code: "address_in_use" });
    expect(error.message).toContain(address);
  });

  it("nothing with options that are wrong: every problem at once", async () => {
    const cluster = new LittleBigCluster({ id: "test", store: await newStore(), ...FAST });
    const bad = { az: "", app: {}, onProgress: 3, adress: "x" } as never;
    const error = await failureOf(() => cluster.joinAsLeader(bad));
    expect(error.code).toBe("bad_configuration");
    for (const name of ["az", "app", "onProgress", "adress"]) expect(error.message).toContain(name);
    expect(await codeOf(() => cluster.joinAsLeader({ address: "nonsense" }))).toMatch(/^invalid\//);
    expect(await codeOf(() => cluster.joinAsLeader({ roles: { "a b": null } }))).toBe("invalid/bad_role");
  });
});

describe("the leader client", () => {
  it("reaches the leader from every node, with method, headers, query and body", async () => {
    const { leader, follower } = await pair();
    for (const { node } of [leader, follower]) {
      expect(await (await node.leaderClient.fetch("/led?x=1")).text()).toBe(leader.node.uuid);
      const response = await node.leaderClient.fetch("/echo", {
        method: "POST",
        headers: { "x-test": "here" },
        body: "body ä",
      });
      expect(await response.text()).toBe("here body ä");
      expect((await node.leaderClient.fetch("/nowhere")).status).toBe(404);
      const size = 3_000_000;
      const large = await node.leaderClient.fetch("/led/size", { method: "POST", body: new Uint8Array(size) });
      expect(await large.text()).toBe(String(size));
    }
  });

  it("follows a failover, waiting for the next leader", async () => {
    const { leader, follower } = await pair();
    const { node } = await join("leader", follower.node.store, { settings: QUIET, join: apps() });
    expect(await (await follower.node.leaderClient.fetch("/led")).text()).toBe(leader.node.uuid);
    const stepping = leader.node.stepDown();
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        await stepping;
        return (await follower.node.leaderClient.fetch("/led")).text();
      }),
    );
    expect(new Set(answers)).toEqual(new Set([node.uuid]));
  });

  it("repeats with the next leader what waited for a connection to one that is gone, whatever its method", async () => {
    const store = await newStore();
    // The old leader's address takes connections and never speaks: requests wait.
    const sockets = new Set<{ destroy(): void }>();
    const silent = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const advertise = `127.0.0.1:${(silent.address() as { port: number }).port}`;
    const old = await lead(store, { settings: QUIET, join: { ...apps(), advertise } });
    const next = await join("leader", store, { settings: QUIET, join: apps() });
    const follower = await join("follower", store, { settings: QUIET });
    const waiting = follower.node.leaderClient.fetch("/echo", { method: "POST", body: "once", timeoutMs: 20_000 });
    waiting.catch(() => {});
    await until("the connection", () => sockets.size > 0);
    old.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    passSilence(next);
    await next.node.waitForLeadership({ timeoutMs: 10_000 });
    await until("the new leader", () => follower.node.leader.current?.uuid === next.node.uuid);
    expect(await (await follower.node.leaderClient.fetch("/led")).text()).toBe(next.node.uuid);
    expect((await within("the one that waited", waiting)).status).toBe(200);
  });

  it("ends by its time-out and its signal when nobody leads", async () => {
    const follower = await join("follower", await newStore(), { settings: QUIET });
    const error = await failureOf(follower.node.leaderClient.fetch("/", { timeoutMs: 50 }));
    expect(error).toMatchObject({ kind: "unavailable", code: "no_leader" });
    const abort = new AbortController();
    const reason = new Error("enough");
    const call = follower.node.leaderClient.fetch("/", { signal: abort.signal });
    call.catch(() => {});
    await settle();
    abort.abort(reason);
    await expect(within("the call", call, 3000)).rejects.toBe(reason);
  });
});

describe("members", () => {
  const uuids = (members: readonly Member[]) => members.map(({ uuid }) => uuid).sort();
  const agree = (expected: readonly Subject[]) =>
    expected.every(({ node }) => {
      const want = expected.map((subject) => subject.node.uuid).sort();
      return JSON.stringify(uuids(node.members.current)) === JSON.stringify(want);
    });

  it("tells everyone who joins and who leaves, by the stream: nothing else would for minutes", async () => {
    const store = await newStore();
    const settings = { ...QUIET, gossipIntervalMs: 60_000 };
    const leader = await lead(store, { settings, join: { az: "AZ1" } });
    const a = await join("follower", store, { settings, join: { az: "AZ2", roles: { worker: null } } });
    const b = await join("leader", store, { settings });
    await until("everyone knows everyone", () => agree([leader, a, b]));
    expect(b.node.members.current.find(({ uuid }) => uuid === a.node.uuid)).toMatchObject({
      az: "AZ2",
      address: a.node.address,
      role: "follower",
      roles: ["worker"],
      runtime: expect.stringMatching(/^(node|deno|bun) /),
      version: expect.any(String),
      epoch: expect.any(Number),
      lagMs: expect.any(Number),
    });
    expect(a.node.members.current.map(({ role }) => role).sort()).toEqual(["follower", "leader", "standby"]);
    await a.node.shutdown();
    await until("who left is gone", () => agree([leader, b]));
  });

  it("tells how far each is, once an interval, and wakes nobody for it", async () => {
    const store = await newStore();
    const leader = await lead(store, { settings: FAST });
    const follower = await join("follower", store, { settings: FAST });
    await until("both", () => agree([leader, follower]));
    const woken: number[] = [];
    void (async () => {
      for await (const members of leader.node.members) woken.push(members.length);
    })();
    const epoch = leader.node.epoch.current + 10;
    for (const { node } of [leader, follower]) {
      await until("their epochs", () => node.members.current.every((member) => member.epoch >= epoch));
    }
    expect(woken).toEqual([2]);
  });

  /** Speaks to the leader as a member would; nobody listens at its address unless another is given. */
  async function stranger(
    leader: Subject,
    address = "127.0.0.1:1",
  ): Promise<{
    readonly isKnown: (to: Subject) => boolean;
    readonly post: (path: string, request: object, signal?: AbortSignal) => Promise<Response>;
    readonly member: Member;
  }> {
    const uuid = "a-stranger";
    const [own] = leader.node.members.current as [Member];
    const member: Member = { ...own, uuid, address, role: "follower" };
    const secret = leader.node.db.get<{ value: string }>("SELECT value FROM _lbc WHERE key = 'secret'")?.value ?? "";
    let count = 0;
    const post = (path: string, request: object, signal?: AbortSignal) => {
      const body = JSON.stringify(request);
      const signed = { method: "POST", path, to: leader.node.uuid, body, secret, nowMs: Date.now() };
      const headers = { ...signRequest({ ...signed, nonce: `nonce-of-a-stranger-${count++}` }) };
      return fetch(`http://${leader.node.address}${path}`, { method: "POST", body, headers, signal: signal ?? null });
    };
    return { isKnown: ({ node }) => node.members.current.some((one) => one.uuid === uuid), post, member };
  }

  it("forgets who is silent for a session time-out; an open stream is a sign of life", async () => {
    const store = await newStore();
    const leader = await lead(store, { settings: { ...FAST, sessionTimeoutMs: 800 } });
    const follower = await join("follower", store, { settings: FAST });
    // Somebody answers there, so only its silence counts.
    const { isKnown, post, member } = await stranger(leader, follower.node.address);
    const answer = await post("/.lbc/gossip", { member, isLeaving: false, wantsRoster: true });
    expect(await answer.json()).toMatchObject({ members: expect.arrayContaining([member]) });
    await until("the stranger", () => isKnown(follower));
    await until("the end of the silent one", () => !isKnown(follower));
    const stream = await post("/.lbc/epochs", { member, epoch: 0 });
    expect(stream.status).toBe(200);
    await until("the stranger again", () => isKnown(follower));
    await sleep(1600);
    expect(isKnown(follower)).toBe(true);
    await stream.body?.cancel();
  });

  it("forgets who is silent for two intervals and whose address refuses, long before the session time-out", async () => {
    const store = await newStore();
    const settings = { ...QUIET, gossipIntervalMs: 500 };
    const leader = await lead(store, { settings });
    const { isKnown, post, member } = await stranger(leader);
    expect((await post("/.lbc/gossip", { member, isLeaving: false, wantsRoster: false })).status).toBe(200);
    expect(isKnown(leader)).toBe(true);
    await until("its end", () => !isKnown(leader));
  });

  it("forgets at once whose stream breaks and whose address refuses", async () => {
    const store = await newStore();
    const leader = await lead(store, { settings: QUIET });
    const follower = await join("follower", store, { settings: QUIET });
    const { isKnown, post, member } = await stranger(leader);
    const gone = new AbortController();
    expect((await post("/.lbc/epochs", { member, epoch: 0 }, gone.signal)).status).toBe(200);
    await until("the stranger", () => isKnown(follower));
    gone.abort();
    await until("the end of who was killed", () => !isKnown(follower));
    expect(follower.node.members.current.length).toBe(2);
  });
});
