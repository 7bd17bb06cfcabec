import { Hono } from "hono";
import { hc } from "hono/client";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Leader } from "../../src/format/system-rows.ts";
import { LeaderClient } from "../../src/node/leader-client.ts";
import { MEMBER_REQUEST_BYTES_MAX } from "../../src/node/member-request.ts";
import { WatchSource } from "../../src/platform/watch.ts";
import { failureOf } from "../store/failure.ts";
import { clientParts, SELF, startDead, startMember } from "../support/members.ts";
import { settle, until, within } from "../support/wait.ts";

function clientOf(
  leader: Leader | undefined,
  parts = clientParts(),
): { client: LeaderClient; leader: WatchSource<Leader | undefined> } {
  const watch = new WatchSource<Leader | undefined>(leader, () => new Error("closed"));
  const client = new LeaderClient({ ...parts, leader: watch });
  onTestFinished(() => client.close());
  return { client, leader: watch };
}

const echo = async (request: Request): Promise<Response> =>
  Response.json({
    method: request.method,
    path: request.url.slice(request.url.indexOf("/", 8)),
    type: request.headers.get("content-type"),
    headers: Object.fromEntries(request.headers),
    body: await request.text(),
  });

interface Echo {
  method: string;
  path: string;
  type: string | null;
  headers: Record<string, string>;
  body: string;
}

describe("the leader client understands the arguments of fetch", () => {
  it("path, URL, Request, and every kind of body, for the leader elsewhere and here", async () => {
    const { leader } = await startMember("a", { fetch: echo });
    for (const target of [leader, { ...leader, uuid: SELF }]) {
      const { fetch } = clientOf(target, clientParts(echo)).client;
      const ask = async (...args: Parameters<typeof fetch>): Promise<Echo> =>
        (await (await fetch(...args)).json()) as Echo;
      expect(await ask("/a b/../c?x=1#hash")).toMatchObject({ method: "GET", path: "/c?x=1", body: "" });
      expect(await ask(new URL("http://anybody:1/p?q=%20"))).toMatchObject({ path: "/p?q=%20" });
      expect(await ask("http://leader?x=/")).toMatchObject({ path: "/?x=/" });
      const request = new Request("http://leader/r", {
        method: "PUT",
        body: "of the request",
        headers: { "x-own": "1" },
      });
      expect(await ask(request)).toMatchObject({ method: "PUT", body: "of the request", headers: { "x-own": "1" } });
      const post = (body: BodyInit, headers: HeadersInit = {}) => ask("/", { method: "post", body, headers });
      expect(await post("tëxt")).toMatchObject({ method: "POST", body: "tëxt", type: "text/plain;charset=UTF-8" });
      expect(await post("{}", { "Content-Type": "application/json" })).toMatchObject({ type: "application/json" });
      expect(await post("{}", new Headers({ "Content-Type": "a/b" }))).toMatchObject({ type: "a/b" });
      expect(await post(new TextEncoder().encode("bytes").subarray(1))).toMatchObject({ body: "ytes", type: null });
      expect(await post(new TextEncoder().encode("buffer").buffer)).toMatchObject({ body: "buffer" });
      expect((await post(new URLSearchParams({ a: "b" }))).type).toMatch(/^application\/x-www-form-urlencoded/);
      expect(await post(new Blob(["a stream"]).stream())).toMatchObject({ body: "a stream" });
      expect((await post(new FormData())).type).toMatch(/^multipart\/form-data/);
      expect((await ask("/")).headers).toMatchObject({ "x-lbc-from": SELF, "x-lbc-to": target.uuid });
    }
  });

  it("and refuses what cannot be sent", async () => {
    const { leader, arrived } = await startMember("a", { fetch: echo });
    const { client } = clientOf(leader);
    const codeOf = async (...args: Parameters<LeaderClient["fetch"]>) =>
      ((await failureOf(client.fetch(...args))) as { code?: string }).code;
    expect(await codeOf("no-slash")).toBe("bad_path");
    expect(await codeOf("/", { method: "G T" })).toBe("bad_method");
    expect(await codeOf("/", { headers: { "bad name": "" } })).toBe("bad_header");
    expect(await codeOf("/", { headers: { name: "bad\nvalue" } })).toBe("bad_header");
    expect(await codeOf("/", { body: "of a GET" })).toBe("bad_body");
    const large = new Uint8Array(MEMBER_REQUEST_BYTES_MAX + 1);
    expect(await codeOf("/", { method: "POST", body: large })).toBe("body_too_large");
    expect(await codeOf("/", { method: "POST", body: new Blob([large]).stream() })).toBe("body_too_large");
    expect(arrived).toEqual([]);
  });

  it("as a typed client of Hono", async () => {
    const app = new Hono()
      .get("/jobs/:id", (c) => c.json({ id: c.req.param("id"), some: 1 }))
      .get("/jobs", (c) => c.json({ tags: c.req.queries("tag") ?? [] }))
      .post("/jobs", async (c) => c.json({ accepted: await c.req.json<{ name: string }>() }, 201));
    const { leader } = await startMember("a", { fetch: (request) => app.fetch(request) });
    const { client } = clientOf(leader);
    const typed = hc<typeof app>("http://leader", { fetch: client.fetch });
    const found = await typed.jobs[":id"].$get({ param: { id: "7" } });
    const job: { id: string; some: number } = await found.json();
    expect(job).toEqual({ id: "7", some: 1 });
    const tagged = await typed.jobs.$get({ query: { tag: ["a b", "c"] } });
    const { tags }: { tags: string[] } = await tagged.json();
    expect(tags).toEqual(["a b", "c"]);
    const posted = await typed.jobs.$post({ json: { name: "first" } });
    expect([posted.status, await posted.json()]).toEqual([201, { accepted: { name: "first" } }]);
  });

  it("and gives a Response that can be read in every way", async () => {
    const { leader } = await startMember("a", {
      fetch: () => Response.json({ a: 1 }, { status: 202, headers: { "x-a": "1" } }),
    });
    const { fetch } = clientOf(leader).client;
    const get = () => fetch("/");
    const response = await get();
    expect(response).toBeInstanceOf(Response);
    expect([response.ok, response.status, response.headers.get("x-a"), response.bodyUsed]).toEqual([
      true,
      202,
      "1",
      false,
    ]);
    const copy = response.clone();
    expect([await response.json(), await copy.json(), response.bodyUsed]).toEqual([{ a: 1 }, { a: 1 }, true]);
    await expect(response.text()).rejects.toThrow(TypeError);
    const used = await get();
    expect(await used.text()).toBe('{"a":1}');
    expect(used.bodyUsed).toBe(true);
    await expect(used.json()).rejects.toThrow(TypeError);
    expect(() => used.clone()).toThrow(TypeError);
    expect(new TextDecoder().decode(await (await get()).arrayBuffer())).toBe('{"a":1}');
    expect(await (await (await get()).blob()).text()).toBe('{"a":1}');
    const chunks: Uint8Array[] = [];
    for await (const chunk of (await get()).body ?? []) chunks.push(chunk);
    expect(new TextDecoder().decode(chunks[0])).toBe('{"a":1}');
    const passedOn = await get();
    expect(await new Response(passedOn.body, passedOn).text()).toBe('{"a":1}');
    const empty = await fetch("/", { method: "HEAD" });
    expect([empty.status, await empty.text()]).toEqual([202, ""]);
  });
});

describe("the leader client finds the leader", () => {
  it("sends 1000 at once over one connection, and each gets its own answer", async () => {
    const connections = new Set<number>();
    const { leader } = await startMember("a", {
      fetch: async (request, info) => {
        connections.add(info.remotePort);
        return new Response(await request.text());
      },
    });
    const { client } = clientOf(leader);
    const ask = async (id: number) => (await client.fetch("/", { method: "POST", body: `${id}` })).text();
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, id) => ask(id)));
    expect(answers).toEqual(Array.from({ length: 1000 }, (_, id) => `${id}`));
    expect(connections.size).toBe(1);
  });

  it("waits for one, as soon as it is there", async () => {
    const { leader: next } = await startMember("a");
    const { client, leader } = clientOf(undefined);
    const waiting = Array.from({ length: 100 }, () => client.fetch("/"));
    await settle();
    leader.set(next);
    for (const response of await within("the answers", Promise.all(waiting))) expect(await response.text()).toBe("a");
  });

  it("asks again, signed anew, who does not lead or is another node, and who refuses connections", async () => {
    const notLeading = (header: string, status: number) => () =>
      new Response("no", { status, headers: { [header]: "1" } });
    const refusals = { "x-lbc-not-leader": 503, "x-lbc-misdirected": 421 };
    for (const [header, status] of [...Object.entries(refusals), ["", 0] as const]) {
      const old =
        header === ""
          ? { leader: await startDead("old"), arrived: ["POST /"] }
          : await startMember("old", { fetch: notLeading(header, status) });
      const next = await startMember("next", { fetch: echo });
      const { client, leader } = clientOf({ ...old.leader, az: "A" });
      const asking = client.fetch("/jobs", { method: "POST", body: "once", authenticate: true });
      await until("the old one is asked", () => old.arrived.length > 0);
      await settle();
      leader.set(next.leader);
      const { headers, body } = (await (await within("the answer", asking)).json()) as Echo;
      expect(body).toBe("once");
      expect(headers["x-signed"]).toMatch(/^\d+ POST \/jobs once next$/);
      expect(Number(headers["x-signed"]?.split(" ")[0])).toBeGreaterThan(1);
      expect(next.arrived).toEqual(["POST /jobs"]);
    }
  });

  it("signs only what shall be signed", async () => {
    const { leader } = await startMember("a", { fetch: echo });
    const { headers } = (await (await clientOf(leader).client.fetch("/")).json()) as Echo;
    expect(headers).not.toHaveProperty("x-signed");
  });
});

describe("a request that was sent and lost", () => {
  /** Drops the connection of the first request, answers the rest. */
  async function dropsFirst(uuid: string) {
    let requests = 0;
    return await startMember(uuid, {
      fetch: (_request, { incoming }) => {
        if (requests++ > 0) return new Response("again");
        incoming.socket?.destroy();
        return new Promise<Response>(() => {});
      },
    });
  }

  it("is repeated if that is safe", async () => {
    for (const init of [{}, { method: "PUT" }, { method: "DELETE" }, { method: "POST", idempotent: true }]) {
      const { leader, arrived } = await dropsFirst("a");
      expect(await (await clientOf(leader).client.fetch("/", init)).text()).toBe("again");
      expect(arrived).toHaveLength(2);
    }
  });

  it("has an unknown outcome if it is not", async () => {
    for (const init of [{ method: "POST" }, { method: "PATCH" }, { method: "PUT", idempotent: false }]) {
      const { leader, arrived } = await dropsFirst("a");
      const error = await failureOf(clientOf(leader).client.fetch("/", init));
      expect(error).toMatchObject({ kind: "outcome_unknown", code: "peer_lost" });
      expect(arrived).toHaveLength(1);
    }
  });
});

describe("a request ends", () => {
  it("by its time-out: unavailable when it was not sent, or may be sent again; unknown when it was", async () => {
    const hangs = await startMember("hangs", { fetch: () => new Promise<Response>(() => {}) });
    const here = clientOf(
      { ...hangs.leader, uuid: SELF },
      clientParts(() => new Promise<Response>(() => {})),
    ).client;
    const there = clientOf(hangs.leader).client;
    const nobody = clientOf(undefined).client;
    const dead = clientOf({ ...(await startDead("dead")) }).client;
    const unavailable = { kind: "unavailable", code: "no_leader" };
    const unknown = { kind: "outcome_unknown", code: "peer_lost" };
    const outcome = (client: LeaderClient, method: string) => failureOf(client.fetch("/", { method, timeoutMs: 100 }));
    expect(await outcome(nobody, "POST")).toMatchObject(unavailable);
    expect(await outcome(dead, "POST")).toMatchObject(unavailable);
    for (const client of [here, there]) {
      expect(await outcome(client, "GET")).toMatchObject(unavailable);
      expect(await outcome(client, "POST")).toMatchObject(unknown);
    }
  });

  it("by its signal, with its reason: before, while nobody leads, while it is sent", async () => {
    const reason = new Error("enough");
    const hangs = await startMember("hangs", { fetch: () => new Promise<Response>(() => {}) });
    let servedAborted = false;
    const parts = clientParts((request) => {
      request.signal.addEventListener("abort", () => {
        servedAborted = true;
      });
      return new Promise<Response>(() => {});
    });
    const here = clientOf({ ...hangs.leader, uuid: SELF }, parts).client;
    for (const client of [clientOf(undefined).client, clientOf(hangs.leader).client, here]) {
      await expect(client.fetch("/", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      const abort = new AbortController();
      const asking = client.fetch("/", { signal: abort.signal });
      asking.catch(() => {});
      await settle();
      abort.abort(reason);
      await expect(within("the request", asking)).rejects.toBe(reason);
    }
    expect(servedAborted).toBe(true);
  });

  it("when the client is closed", async () => {
    const { client } = clientOf(undefined);
    const waiting = failureOf(client.fetch("/"));
    await settle();
    await client.close();
    await client.close();
    expect(await within("the request", waiting)).toMatchObject({ kind: "closed" });
    expect(await failureOf(client.fetch("/"))).toMatchObject({ kind: "closed", code: "node_closed" });
  });
});
