import { Hono } from "hono";
import { hc } from "hono/client";
import { describe, expect, it, onTestFinished } from "vitest";
import { PEER_LIMITS } from "../../src/net/peer.ts";
import { RoleClient, type RoleClientOptions } from "../../src/node/role-client.ts";
import { WatchSource } from "../../src/platform/watch.ts";
import type { Member } from "../../src/protocol/roster.ts";
import { failureOf } from "../store/failure.ts";
import { clientParts, memberAt, SELF, startDead, startMember } from "../support/members.ts";
import { settle, until, within } from "../support/wait.ts";

function clientOf(members: readonly Member[], options: RoleClientOptions = {}, parts = clientParts()) {
  const watch = new WatchSource<readonly Member[]>(members, () => new Error("closed"));
  let closes = 0;
  const client = new RoleClient({ ...parts, members: watch, az: "A", onClosed: () => closes++ }, "worker", options);
  onTestFinished(() => client.close());
  const ask = async (init: Parameters<typeof client.fetch>[1] = {}) => (await client.fetch("/", init)).text();
  /** Who answers so many requests, sorted. */
  const askers = async (count: number) => {
    const answers: string[] = [];
    for (let i = 0; i < count; i++) answers.push(await ask({ method: "POST", body: `${i}` }));
    return answers;
  };
  return { client, members: watch, ask, askers, closes: () => closes };
}

describe("a role client", () => {
  it("asks the members with the role in turn, this node included", async () => {
    const [a, b, other] = [
      await startMember("a"),
      await startMember("b"),
      await startMember("c", { roles: ["other"] }),
    ];
    const self = memberAt(SELF, "127.0.0.1:1");
    const { askers, client } = clientOf([a.member, other.member, self, b.member]);
    expect(client.members.map(({ uuid }) => uuid)).toEqual(["a", SELF, "b"]);
    expect(await askers(6)).toEqual(["a", SELF, "b", "a", SELF, "b"]);
    expect(other.arrived).toEqual([]);
  });

  it("prefers its own zone, and asks the others when nobody there answers", async () => {
    const [near, far] = [await startMember("near"), await startMember("far", { az: "B" })];
    const members = [near.member, far.member];
    expect(await clientOf(members).askers(4)).toEqual(["near", "near", "near", "near"]);
    expect((await clientOf(members, { sameAz: false }).askers(4)).sort()).toEqual(["far", "far", "near", "near"]);
    const { askers, members: watch } = clientOf([await startDead("dead"), far.member]);
    expect(await askers(3)).toEqual(["far", "far", "far"]);
    watch.set(members);
    expect(await askers(2)).toEqual(["near", "near"]);
  });

  it("skips a dead member, asks it again when it is back, and no longer when it has left", async () => {
    const alive = await startMember("alive");
    const dead = await startDead("dead");
    const { askers, ask, members } = clientOf([dead, alive.member]);
    expect(await askers(6)).toEqual(Array(6).fill("alive"));
    const back = await startMember("dead", { port: Number(dead.address.split(":")[1]) });
    await until("it is asked again", async () => (await ask()) === "dead");
    members.set([alive.member]);
    const before = back.arrived.length;
    expect(await askers(4)).toEqual(Array(4).fill("alive"));
    expect(back.arrived).toHaveLength(before);
    const joined = await startMember("joined");
    members.set([alive.member, joined.member]);
    expect((await askers(4)).sort()).toEqual(["alive", "alive", "joined", "joined"]);
  });

  it("does not wait long for a member that takes connections and never speaks", async () => {
    const { createServer } = await import("node:net");
    const silent = createServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void silent.close());
    const frozen = memberAt("frozen", `127.0.0.1:${(silent.address() as { port: number }).port}`);
    const alive = await startMember("alive");
    const { ask } = clientOf([frozen, alive.member]);
    // Less than the peer itself gives a connection.
    const timeoutMs = PEER_LIMITS.connectTimeoutMs - 500;
    for (let i = 0; i < 4; i++) expect(await ask({ method: "POST", timeoutMs })).toBe("alive");
  });

  it("sends to the next what another node refused as not meant for it", async () => {
    const moved = await startMember("moved", {
      fetch: () => new Response("no", { status: 421, headers: { "x-lbc-misdirected": "1" } }),
    });
    const alive = await startMember("alive");
    expect(await clientOf([moved.member, alive.member]).askers(3)).toEqual(Array(3).fill("alive"));
    expect(moved.arrived).toHaveLength(1);
  });

  it("repeats with the next what was lost, if that is safe", async () => {
    const drops = () =>
      startMember("drops", {
        fetch: (_request, { incoming }) => {
          incoming.socket?.destroy();
          return new Promise<Response>(() => {});
        },
      });
    const alive = await startMember("alive");
    expect(await clientOf([(await drops()).member, alive.member]).ask()).toBe("alive");
    const error = await failureOf(clientOf([(await drops()).member, alive.member]).ask({ method: "POST" }));
    expect(error).toMatchObject({ kind: "outcome_unknown", code: "peer_lost" });
  });

  it("waits for somebody with the role, up to the limit", async () => {
    const { ask, members } = clientOf([memberAt("other", "127.0.0.1:1", "A", ["other"])]);
    expect(await failureOf(ask({ timeoutMs: 50 }))).toMatchObject({ kind: "unavailable", code: "no_member" });
    const waiting = ask();
    await settle();
    members.set([(await startMember("late")).member]);
    expect(await within("the answer", waiting)).toBe("late");
    members.set([await startDead("dead")]);
    const error = await failureOf(ask({ method: "POST", timeoutMs: 300 }));
    expect(error).toMatchObject({ kind: "unavailable", code: "no_member", cause: { code: "peer_unreachable" } });
    const reason = new Error("enough");
    const abort = new AbortController();
    const asking = ask({ signal: abort.signal });
    asking.catch(() => {});
    abort.abort(reason);
    await expect(within("the request", asking)).rejects.toBe(reason);
  });

  it("serves typed clients of Hono", async () => {
    const app = new Hono().get("/double", (c) => c.json({ doubled: Number(c.req.query("n")) * 2 }));
    const { member } = await startMember("a", { fetch: (request) => app.fetch(request) });
    const typed = hc<typeof app>("http://worker", { fetch: clientOf([member]).client.fetch });
    const answer = await typed.double.$get({ query: { n: "21" } });
    const { doubled }: { doubled: number } = await answer.json();
    expect(doubled).toBe(42);
  });

  it("closes once, and ends who waits", async () => {
    const { ask, client, closes } = clientOf([]);
    const waiting = failureOf(ask());
    await settle();
    await client.close();
    await client.close();
    expect(closes()).toBe(1);
    expect(await within("the request", waiting)).toMatchObject({ kind: "closed", code: "client_closed" });
    expect(await failureOf(ask())).toMatchObject({ kind: "closed" });
  });
});
