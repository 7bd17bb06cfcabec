/** P9: no one gets in without the bucket. What is refused has done nothing. */
import { inspect } from "node:util";
import { Hono } from "hono";
import { describe, expect, it } from "vitest";
import { clusterAuth, type NodeEnv } from "../../src/mod.ts";
import { failureOf } from "../store/failure.ts";
import {
  createTable,
  insert,
  isWalPut,
  join,
  lead,
  newStore,
  passSilence,
  QUIET,
  type Subject,
} from "../support/cluster.ts";
import { settle, until } from "../support/wait.ts";
import { newNonce, type SignedPost, secretOf, send, signatureFor, strangerOf, urlOf } from "../support/wire.ts";

const quiet = { settings: { ...QUIET, gossipIntervalMs: 60_000, requestBytesMax: 20_000 } };
const isStreaming = ({ node }: Subject) => node.status().replica.is_streaming;

async function pair(options: object = {}) {
  const store = await newStore();
  const leader = await lead(store, { ...quiet, ...options });
  await createTable(leader.node);
  const follower = await join("follower", store, { ...quiet, ...options });
  await until("the stream", () => isStreaming(follower));
  await until("the members", () => leader.node.members.current.length === 2);
  await follower.node.sync({ atLeast: leader.node.epoch.current });
  return { store, leader, follower };
}

/** Requests that change something when they are let in. */
function internalRequests(leader: Subject): readonly SignedPost[] {
  const member = strangerOf(leader.node);
  const nobody = { uuid: "nobody", az: "AZ0", address: "127.0.0.1:1" };
  return [
    { path: "/.lbc/barrier" },
    { path: "/.lbc/gossip", body: JSON.stringify({ member, isLeaving: false, wantsRoster: true }) },
    { path: "/.lbc/epochs", body: JSON.stringify({ member, epoch: 0 }) },
    { path: "/.lbc/leading", body: JSON.stringify({ leader: nobody, epoch: 10 ** 6 }) },
    { path: "/.lbc/accept", body: JSON.stringify({ uuid: member.uuid }) },
    { path: "/.lbc/rollback", body: JSON.stringify({ point: 0 }) },
    { path: "/.lbc/members", method: "GET" },
  ];
}

/** Whatever an internal request could change. */
async function stateOf(subjects: readonly Subject[]): Promise<unknown> {
  await settle(30);
  return subjects.map(({ node, events }) => ({
    epoch: node.epoch.current,
    role: node.role.current,
    members: node.members.current.map(({ uuid }) => uuid),
    isStreaming: node.status().replica.is_streaming,
    streamsLost: events.filter(({ event }) => event === "stream_lost").length,
  }));
}

const attacks: [string, (request: SignedPost, leader: Subject, follower: Subject) => Partial<SignedPost>][] = [
  ["signed with another secret", () => ({ signed: { secret: "x".repeat(43) } })],
  ["signed a minute and more ago", () => ({ signed: { nowMs: Date.now() - 61_000 } })],
  ["signed for a minute and more from now", () => ({ signed: { nowMs: Date.now() + 62_000 } })],
  ["signed for another node", (_, __, follower) => ({ signed: { to: follower.node.uuid } })],
  ["signed for another path", () => ({ signed: { path: "/.lbc/status" } })],
  ["signed for another query", (request) => ({ signed: { path: `${request.path}?x=1` } })],
  ["signed for another method", () => ({ signed: { method: "PUT" } })],
  ["signed for another body", () => ({ signed: { body: '{"something":"else"}' } })],
  ["with a signature that was changed", () => ({ headers: { "x-lbc-signature": `v1=${"0".repeat(64)}` } })],
  ["with a signature of another kind", () => ({ headers: { "x-lbc-signature": "none" } })],
  ["with a time that was changed", () => ({ headers: { "x-lbc-date": String(Date.now() + 30_000) } })],
  ["with a nonce that was changed", () => ({ headers: { "x-lbc-nonce": "another-nonce-of-mine" } })],
];

describe("without the secret", () => {
  it("every internal endpoint answers 401 and does nothing", async () => {
    const { leader, follower } = await pair();
    const both = [leader, follower];
    for (const request of internalRequests(leader)) {
      const { path, method = "POST", body } = request;
      const before = await stateOf(both);
      for (const { node } of both) {
        const content = method === "GET" ? {} : { body: body ?? "" };
        const plain = await fetch(urlOf(node, path), { method, ...content });
        expect([path, plain.status]).toEqual([path, 401]);
        expect(await plain.json()).toMatchObject({ error: expect.any(String) });
      }
      for (const [what, attack] of attacks) {
        for (const { node } of both) {
          const other = node === leader.node ? follower : leader;
          const { status } = await send(node, { ...request, ...attack(request, leader, other) });
          expect([what, path, status]).toEqual([what, path, 401]);
        }
      }
      for (const variant of [`${path}/`, path.replace("/.lbc", "//.lbc"), `/x/..${path}`, path.replace("l", "%6c")]) {
        for (const { node } of both) {
          const { status } = await fetch(urlOf(node, variant), { method, ...(method === "GET" ? {} : { body: "{}" }) });
          expect([401, 404], variant).toContain(status);
        }
      }
      expect(await stateOf(both), path).toEqual(before);
    }
  });

  it("the same requests, signed, do something: the test above shows more than that nothing ever happens", async () => {
    const { leader, follower } = await pair();
    for (const request of internalRequests(leader)) {
      const to = request.path === "/.lbc/leading" ? follower : leader;
      const before = await stateOf([leader, follower]);
      const gone = new AbortController();
      const response = await send(to.node, { ...request, signal: gone.signal });
      expect([request.path, response.status]).toEqual([request.path, 200]);
      // A leader that offered nothing takes no acceptance: `handover.test.ts` shows what one does.
      if (request.path === "/.lbc/accept") continue;
      if (request.path === "/.lbc/members") {
        expect(((await response.json()) as unknown[]).length).toBeGreaterThanOrEqual(2);
        continue;
      }
      await until(`${request.path} has an effect`, async () => {
        return JSON.stringify(await stateOf([leader, follower])) !== JSON.stringify(before);
      });
      gone.abort();
      await until("the stream", () => isStreaming(follower));
      await until("the members", () => leader.node.members.current.length === 2 || request.path === "/.lbc/gossip");
      leader.node.members.current.some(({ uuid }) => uuid === "a-stranger") &&
        (await send(leader.node, {
          path: "/.lbc/gossip",
          body: JSON.stringify({ member: strangerOf(leader.node), isLeaving: true, wantsRoster: false }),
        }));
    }
  });

  it("a request that was seen before is refused: the same bytes, however often, and at whichever node", async () => {
    const { leader, follower } = await pair();
    const request = internalRequests(leader)[0] as SignedPost;
    const headers = signatureFor(leader.node, request);
    const epoch = leader.node.epoch.current;
    const again = (node = leader.node) => fetch(urlOf(node, request.path), { method: "POST", headers, body: "" });
    expect((await again()).status).toBe(200);
    for (let count = 0; count < 3; count++) expect((await again()).status).toBe(401);
    expect((await again(follower.node)).status).toBe(401);
    expect((await fetch(urlOf(leader.node, "/.lbc/gossip"), { method: "POST", headers, body: "" })).status).toBe(401);
    expect(leader.node.epoch.current).toBe(epoch + 1);
    const parallel = signatureFor(leader.node, request);
    const statuses = await Promise.all(
      Array.from({ length: 20 }, async () => {
        return (await fetch(urlOf(leader.node, request.path), { method: "POST", headers: parallel, body: "" })).status;
      }),
    );
    expect(statuses.filter((status) => status === 200).length, "one of many at once").toBe(1);
  });

  it("a body that is too long is refused with 413, announced or not; one that is no JSON, or no such, with 400", async () => {
    const { leader, follower } = await pair();
    const both = [leader, follower];
    const before = await stateOf(both);
    const long = JSON.stringify({ padding: "x".repeat(20_001) });
    for (const { path, method } of internalRequests(leader)) {
      if (method === "GET") continue;
      expect([path, (await send(leader.node, { path, body: long })).status]).toEqual([path, 413]);
      const headers = signatureFor(leader.node, { path, body: long });
      const body = new ReadableStream({
        start(controller) {
          for (const piece of long.match(/.{1,1000}/g) ?? []) controller.enqueue(new TextEncoder().encode(piece));
          controller.close();
        },
      });
      const init = { method: "POST", headers, body, duplex: "half" } as RequestInit;
      expect([path, (await fetch(urlOf(leader.node, path), init)).status]).toEqual([path, 413]);
      if (path === "/.lbc/barrier") continue;
      const [own] = leader.node.members.current;
      const bad = [
        "",
        "{",
        "null",
        "[]",
        "\u0000",
        "{}",
        JSON.stringify({ member: { ...own, uuid: "" }, epoch: 0, isLeaving: false, wantsRoster: true }),
        JSON.stringify({ member: { ...own, role: "king" }, epoch: 0, isLeaving: false, wantsRoster: true }),
        JSON.stringify({
          member: { ...own, roles: Array(101).fill("r") },
          epoch: 0,
          isLeaving: false,
          wantsRoster: true,
        }),
        JSON.stringify({ member: { ...own, address: "x".repeat(301) }, epoch: 0, isLeaving: false, wantsRoster: true }),
        JSON.stringify({ member: own, epoch: 1.5, isLeaving: "no", wantsRoster: true, leader: own }),
        JSON.stringify({ member: { ...own, lagMs: -1 }, epoch: -2, isLeaving: false, wantsRoster: true }),
        `${"[".repeat(5000)}${"]".repeat(5000)}`,
      ];
      for (const body of bad) {
        const response = await send(leader.node, { path, body });
        expect([path, body.slice(0, 50), response.status]).toEqual([path, body.slice(0, 50), 400]);
        expect(await response.json()).toMatchObject({ error: expect.stringContaining("not a") });
      }
    }
    expect(await stateOf(both)).toEqual(before);
    expect(JSON.stringify(leader.events)).not.toContain("http_handler_failed");
  });

  it("a request for an earlier run of a node, or for another one, is answered 421 and does nothing", async () => {
    const { leader, follower } = await pair();
    const both = [leader, follower];
    for (const request of [...internalRequests(leader), { path: "/.lbc/status", method: "GET" }]) {
      const before = await stateOf(both);
      for (const to of [follower.node.uuid, "an-earlier-run", ""]) {
        const response = await send(leader.node, { ...request, headers: { "x-lbc-to": to } });
        expect([request.path, response.status]).toEqual([request.path, 421]);
        expect(response.headers.get("x-lbc-misdirected")).toBe("1");
      }
      expect(await stateOf(both)).toEqual(before);
    }
    const response = await send(leader.node, { path: "/.lbc/barrier", headers: { "x-lbc-to": leader.node.uuid } });
    expect(response.status).toBe(200);
  });
});

describe("openEndpoints", () => {
  const paths = ["/.lbc/status", "/.lbc/health/live", "/.lbc/health/ready", "/.lbc/metrics"];
  const open = async ({ node }: Subject) => {
    const statuses = await Promise.all(paths.map(async (path) => (await fetch(urlOf(node, path))).status));
    return paths.filter((_, index) => statuses[index] !== 401).map((path) => path.split("/")[2]);
  };

  it("are all three if nothing is said, and those that are named else", async () => {
    const cases: [object, string[]][] = [
      [{}, ["status", "health", "health", "metrics"]],
      [{ openEndpoints: ["metrics"] }, ["metrics"]],
      [{ openEndpoints: ["health", "status"] }, ["status", "health", "health"]],
    ];
    for (const [options, expected] of cases) {
      const subject = await join("follower", await newStore(), { settings: { ...quiet.settings, ...options } });
      expect(await open(subject)).toEqual(expected);
    }
  });

  it("of none: everything asks for a signature, by whatever name and method, and tells nothing without", async () => {
    const settings = { ...quiet.settings, openEndpoints: [] };
    const leader = await lead(await newStore(), { settings });
    const { node } = leader;
    expect(await open(leader)).toEqual([]);
    for (const path of paths) {
      expect((await fetch(urlOf(node, path), { method: "HEAD" })).status).toBe(401);
      for (const variant of [`${path}/`, `/${path}`, path.replace("s", "%73"), path.toUpperCase(), `${path}?x=1`]) {
        const response = await fetch(urlOf(node, variant));
        expect([401, 404], variant).toContain(response.status);
        expect(await response.text()).not.toContain(node.uuid);
      }
      const signed = await send(node, { path, method: "GET" });
      expect([path, signed.status]).toEqual([path, 200]);
    }
  });
});

describe("clusterAuth() on a user's route", () => {
  it("lets on what another node signed, and runs no handler for anything else", async () => {
    const handled: string[] = [];
    const app = new Hono<NodeEnv>()
      .use("/admin/*", clusterAuth())
      .post("/admin/drain", async (c) => {
        handled.push(await c.req.text());
        return c.text(`drained ${c.var.node.uuid}`);
      })
      .post("/free", (c) => c.text("free"));
    const { leader, follower } = await pair({ join: { app } });
    const drain = { method: "POST", body: "now" };
    for (const { node } of [leader, follower]) {
      const plain = await node.leaderClient.fetch("/admin/drain", drain);
      expect(plain.status).toBe(401);
      expect((await fetch(urlOf(node, "/admin/drain"), drain)).status).toBe(401);
      for (const [what, attack] of attacks) {
        const request = { path: "/admin/drain", body: "now" };
        const other = node === leader.node ? follower : leader;
        const { status } = await send(node, { ...request, ...attack(request, leader, other) });
        expect([what, status]).toEqual([what, 401]);
      }
      expect((await send(node, { path: "/admin/drain", body: "x".repeat(20_001) })).status).toBe(413);
      expect((await fetch(urlOf(node, "/free"), { method: "POST" })).status).toBe(200);
    }
    expect(handled).toEqual([]);
    for (const { node } of [leader, follower]) {
      const response = await node.leaderClient.fetch("/admin/drain", { ...drain, authenticate: true });
      expect(await response.text()).toBe(`drained ${leader.node.uuid}`);
    }
    expect(handled).toEqual(["now", "now"]);
  });

  it("says what is wrong where no node serves the application", async () => {
    const app = new Hono<NodeEnv>().use(clusterAuth()).get("/", (c) => c.text("in"));
    app.onError((error, c) => c.text(error.message, 500));
    const response = await app.request("/");
    expect([response.status, await response.text()]).toEqual([500, expect.stringContaining("a node serves")]);
  });
});

describe("the secret", () => {
  it("is in no event, status, metric, answer or error, whatever goes wrong", async () => {
    const app = new Hono<NodeEnv>().get("/boom", () => {
      throw new Error("boom");
    });
    const { store, leader, follower } = await pair({ join: { app } });
    const standby = await join("leader", store, quiet);
    const secret = secretOf(leader.node);
    expect(secret.length).toBeGreaterThan(40);
    const seen: string[] = [];
    const note = (what: unknown) =>
      void seen.push(inspect(what, { depth: 12, showHidden: true, maxStringLength: null }));
    for (const { node } of [leader, follower, standby]) {
      for (const path of ["/.lbc/status", "/.lbc/metrics", "/.lbc/health/ready", "/boom", "/nowhere", "/.lbc/gossip"]) {
        const response = await fetch(urlOf(node, path));
        note([...response.headers]);
        seen.push(await response.text());
      }
      note([node.status(), node.members.current, node.leader.current]);
      note(await failureOf(node.sync({ atLeast: 10 ** 9 }, { timeoutMs: 10 })));
      note(
        await failureOf(node.leaderClient.fetch("/", { body: 7 as never, method: "GET", timeoutMs: 10 })).catch(
          (e) => e,
        ),
      );
    }
    for (const request of internalRequests(leader)) {
      const response = await send(leader.node, { ...request, signed: { secret: `${secret}x` } });
      note([...response.headers]);
      seen.push(await response.text());
      const { signal, ...mild } = request;
      seen.push(await (await send(follower.node, { ...mild, body: "{", signed: { nonce: newNonce() } })).text());
      expect(signal).toBeUndefined();
    }
    // Failures of the store, of the stream, of the leadership.
    leader.faults.onCall = (call) => (isWalPut(call) ? { kind: "fail_before" } : undefined);
    const lost = insert(leader.node, "lost").catch(note);
    follower.faults.onCall = () => ({ kind: "fail_before" });
    note(await failureOf(follower.node.sync({ maxStalenessMs: 0 }, { timeoutMs: 50 })));
    passSilence(standby);
    await standby.node.waitForLeadership({ timeoutMs: 10_000 });
    leader.faults.onCall = () => undefined;
    await lost;
    await leader.node.shutdown();
    note(await failureOf(() => leader.node.transaction(() => {})));
    for (const { events } of [leader, follower, standby]) note(events);
    expect(seen.join("\n").length).toBeGreaterThan(10_000);
    for (const text of seen) expect(text.includes(secret), text.slice(0, 200)).toBe(false);
    note(leader.node);
    note(follower.node);
    expect(seen.at(-1)?.includes(secret), "not even in what inspect() shows of a node").toBe(false);
    expect(seen.at(-2)?.includes(secret)).toBe(false);
  });
});
