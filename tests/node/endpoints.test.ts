/** What a node puts up with from outside (P10), and what it says about options that are wrong. */
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { Hono } from "hono";
import { describe, expect, it, onTestFinished } from "vitest";
import { type ClusterOptions, type JoinOptions, LittleBigCluster, MemoryStore, type NodeEnv } from "../../src/mod.ts";
import { SERVER_LIMITS } from "../../src/net/server-limits.ts";
import { failureOf } from "../store/failure.ts";
import { makeAuthority } from "../support/certificates.ts";
import { FAST, join, lead, newStore, QUIET, type Subject } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { settle, until, within } from "../support/wait.ts";
import { send, strangerOf, urlOf } from "../support/wire.ts";

const REFUSED_STREAM = 7;
const FRAME_HEADERS = 1;
const FRAME_RST_STREAM = 3;
const FRAME_SETTINGS = 4;
const END_OF_STREAM_AND_HEADERS = 5;
const ACK = 1;

/** A client that speaks HTTP/2 by hand, and keeps to no limit (RFC 9113 §4.1, §6). */
class RawHttp2 {
  readonly socket: Socket;
  /** Streams that the node refused. */
  refused = 0;
  isClosed = false;
  #next = 1;
  #rest: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => this.#take(bytes));
    socket.on("close", () => {
      this.isClosed = true;
    });
    socket.on("error", () => {});
  }

  static async connect({ node }: Subject): Promise<RawHttp2> {
    const [host = "", port] = node.address.split(":");
    const socket = connect(Number(port), host);
    onTestFinished(() => void socket.destroy());
    await once(socket, "connect");
    const raw = new RawHttp2(socket);
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw.frame(FRAME_SETTINGS, 0, 0, Buffer.alloc(0));
    return raw;
  }

  frame(type: number, flags: number, stream: number, body: Uint8Array): void {
    const header = Buffer.alloc(9);
    header.writeUIntBE(body.length, 0, 3);
    header[3] = type;
    header[4] = flags;
    header.writeUInt32BE(stream, 5);
    this.socket.write(Buffer.concat([header, body]));
  }

  /** `GET path`: indexed method and scheme, literal path and authority (RFC 7541 §6). */
  get(path: string): number {
    const stream = this.#next;
    this.#next += 2;
    const literal = (index: number, text: string) => Buffer.from([index, text.length, ...Buffer.from(text)]);
    const block = Buffer.concat([Buffer.from([0x82, 0x86]), literal(4, path), literal(1, "x")]);
    this.frame(FRAME_HEADERS, END_OF_STREAM_AND_HEADERS, stream, block);
    return stream;
  }

  reset(stream: number): void {
    this.frame(FRAME_RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]));
  }

  #take(bytes: Uint8Array): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      const [type, flags] = [this.#rest[3], this.#rest[4]];
      if (type === FRAME_SETTINGS && flags !== ACK) this.frame(FRAME_SETTINGS, ACK, 0, Buffer.alloc(0));
      if (type === FRAME_RST_STREAM && this.#rest.readUInt32BE(9) === REFUSED_STREAM) this.refused++;
      this.#rest = this.#rest.subarray(9 + length);
    }
  }
}

/** A node with a handler that never answers. */
async function hanging() {
  const load = { running: 0, most: 0, began: 0 };
  const app = new Hono<NodeEnv>()
    .get("/hang", async (c) => {
      load.began++;
      load.running++;
      load.most = Math.max(load.most, load.running);
      const { signal } = c.req.raw;
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      load.running--;
      return c.text("late");
    })
    .get("/quick", (c) => c.text("here"));
  // Nobody is asked whether it is still there.
  const settings = { ...QUIET, gossipIntervalMs: 60_000 };
  const subject = await lead(await newStore(), { settings, join: { app } });
  return { subject, load };
}

async function expectAlive({ node }: Subject): Promise<void> {
  expect(await (await within("an answer", fetch(urlOf(node, "/quick")))).text()).toBe("here");
  expect((await within("health", fetch(urlOf(node, "/.lbc/health/live")))).status).toBe(200);
}

describe("P10: a node stays up", () => {
  it("in a flood of headers: 431, over both protocols, before anything of ours looks at them", async () => {
    const { subject, load } = await hanging();
    const headers = { "x-flood": "x".repeat(SERVER_LIMITS.headerBytesMax) };
    expect((await fetch(urlOf(subject.node, "/quick"), { headers })).status).toBe(431);
    const session = connectHttp2(`http://${subject.node.address}`);
    onTestFinished(() => session.destroy());
    session.on("error", () => {});
    for (const many of [
      headers,
      Object.fromEntries(Array.from({ length: 2000 }, (_, at) => [`x-${at}`, "y".repeat(20)])),
    ]) {
      const stream = session.request({ ":path": "/hang", ...many });
      const status = await within(
        "the refusal",
        new Promise<unknown>((resolve) => {
          stream.on("response", (head) => resolve(head[":status"]));
          stream.on("error", () => resolve("ended"));
          stream.on("close", () => resolve("ended"));
        }),
      );
      expect([431, "ended"]).toContain(status);
    }
    expect(load.began).toBe(0);
    await expectAlive(subject);
  });

  it("in a flood of streams: those above the limit of a connection are refused, or it is closed", async () => {
    const { subject, load } = await hanging();
    const raw = await RawHttp2.connect(subject);
    for (let count = 0; count < SERVER_LIMITS.streamsMax + 500; count++) raw.get("/hang");
    await until("the end of the flood", () => raw.isClosed || raw.refused >= 500);
    await settle(50);
    expect(load.most).toBeLessThanOrEqual(SERVER_LIMITS.streamsMax);
    await expectAlive(subject);
    raw.socket.destroy();
    await until("nothing is left of it", () => load.running === 0);
  });

  it("in a flood of streams that are given up at once", async () => {
    const { subject, load } = await hanging();
    const raw = await RawHttp2.connect(subject);
    for (let count = 0; count < 20_000 && !raw.isClosed; count++) {
      raw.reset(raw.get("/hang"));
      if (count % 1000 === 0) await settle(1);
    }
    await settle(50);
    expect(load.most).toBeLessThanOrEqual(SERVER_LIMITS.streamsMax);
    await expectAlive(subject);
    raw.socket.destroy();
    await until("nothing is left of it", () => load.running === 0);
  });

  it("when bytes come that are no HTTP", async () => {
    const { subject } = await hanging();
    const [host = "", port] = subject.node.address.split(":");
    for (const bytes of [
      "\u0000".repeat(100),
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense".repeat(20),
      "GET / HTTP/9.9\r\n\r\n",
    ]) {
      const socket = connect(Number(port), host);
      socket.on("error", () => {});
      socket.resume();
      socket.write(bytes);
      await within("its end", once(socket, "close"));
    }
    await expectAlive(subject);
  });

  it("with a member that says it is a thousand", async () => {
    const { subject } = await hanging();
    for (let count = 0; count < 50; count++) {
      const body = JSON.stringify({
        member: strangerOf(subject.node, { uuid: `many-${count}`, roles: Array<string>(100).fill("r".repeat(64)) }),
        isLeaving: false,
        wantsRoster: false,
      });
      expect((await send(subject.node, { path: "/.lbc/gossip", body })).status).toBe(200);
    }
    expect(subject.node.members.current.length).toBe(51);
    const imposter = JSON.stringify({
      member: strangerOf(subject.node, { uuid: subject.node.uuid, address: "127.0.0.1:1" }),
      isLeaving: true,
      wantsRoster: false,
    });
    await send(subject.node, { path: "/.lbc/gossip", body: imposter });
    const self = subject.node.members.current.find(({ uuid }) => uuid === subject.node.uuid);
    expect(self, "nobody tells a node about itself").toMatchObject({ address: subject.node.address, role: "leader" });
    await expectAlive(subject);
  });
});

describe("options that are wrong", () => {
  const problemsOf = async (options: object): Promise<string> => {
    const error = await failureOf(() => new LittleBigCluster({ id: "test", store: new MemoryStore(), ...options }));
    expect(`${error.kind}/${error.code}`).toBe("invalid/bad_configuration");
    return error.message;
  };

  it("of the cluster are named with what may be given, all at once", async () => {
    const text = await problemsOf({
      openEndpoints: ["nonsense"],
      fastFailover: "yes",
      readyLagMaxMs: 0,
      gossipIntervalMs: "often",
      secret: "short",
      requestBytesMax: -1,
    });
    expect(text).toMatch(/openEndpoints\.0: .*"status".*"health".*"metrics"/);
    expect(text).toMatch(/fastFailover: .*boolean/);
    for (const name of ["readyLagMaxMs", "gossipIntervalMs", "secret", "requestBytesMax"]) {
      expect(text).toContain(`${name}: `);
    }
    expect(await problemsOf({ openEndpoints: "status" })).toMatch(/openEndpoints: .*array/);
    expect(await problemsOf({ fastFailOver: true })).toContain("fastFailOver");
    expect(await problemsOf({ secret: "fifteen letters" })).not.toContain("fifteen letters");
  });

  const joining = async (options: unknown, settings: Partial<ClusterOptions> = FAST) => {
    const cluster = new LittleBigCluster({ id: "test", store: await newStore(), ...settings });
    const call = cluster.joinAsLeader({ address: "127.0.0.1:0", ...(options as JoinOptions) });
    // Shuts down what should not have joined.
    call.then((node) => node.shutdown()).catch(() => {});
    return await failureOf(call);
  };

  it("of TLS are told from PEM, and say what is missing", async () => {
    const { cert, key } = makeAuthority(testDirectory(), "authority").issue("node");
    const bad: [object, RegExp][] = [
      [
        { key: "/etc/key.pem", cert: "./cert.pem" },
        /tls\.key: .*not the name of its file[\s\S]*tls\.cert: .*not the name/,
      ],
      [{ key, cert, ca: "ca.pem" }, /tls\.ca: .*PEM text/],
      [{ key, cert, mutual: true }, /tls\.ca: .*mutual TLS needs the authority/],
      [{ key, cert, mutual: "yes" }, /tls\.mutual: /],
      [{ cert }, /tls\.key: /],
      [{ key }, /tls\.cert: /],
      [{ key, cert, cacert: cert }, /tls: .*cacert/],
      [{ key, cert, serverName: "" }, /tls\.serverName: /],
    ];
    for (const [tls, expected] of bad) {
      const error = await joining({ tls });
      expect([error.kind, error.code], error.message).toEqual(["invalid", "bad_configuration"]);
      expect(error.message).toMatch(expected);
      expect(error.message, "no key is shown").not.toContain(key.slice(60, 100));
    }
  });

  it("of TLS that look right and are not fail the join with an error of ours", async () => {
    const authority = makeAuthority(testDirectory(), "authority");
    const [one, other] = [authority.issue("one"), authority.issue("other")];
    const broken = "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----";
    for (const tls of [
      { key: broken, cert: one.cert },
      { key: one.key, cert: "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----" },
      { key: other.key, cert: one.cert },
      { key: one.cert, cert: one.key },
    ]) {
      const error = await joining({ tls });
      expect(`${error.kind}/${error.code}`, error.message).toBe("invalid/bad_tls");
      expect(error.message).toContain("private key of the first certificate");
    }
  });

  it("of roles and zones are named", async () => {
    const app = new Hono();
    expect((await joining({ roles: { "a b": null } })).code).toBe("bad_role");
    expect((await joining({ roles: { "": app } })).message).toContain("1 to 64 letters");
    expect((await joining({ roles: { ["r".repeat(65)]: null } })).code).toBe("bad_role");
    expect((await joining({ roles: { worker: "app" } })).message).toMatch(/roles\.worker: .*Hono application/);
    expect((await joining({ roles: ["worker"] })).message).toMatch(/roles: /);
    expect((await joining({ az: "z".repeat(101) })).message).toMatch(/az: /);
    expect((await joining({ advertise: "nonsense" })).kind, "what others are told to use").toBe("invalid");
  });

  it("of a client: a role that nobody has is waited for as long as the request may take", async () => {
    const follower = await join("follower", await newStore(), { settings: QUIET });
    const client = follower.node.connectToRole("nobody");
    const error = await failureOf(within("the request", client.fetch("/", { timeoutMs: 50 })));
    expect(error).toMatchObject({ kind: "unavailable", code: "no_member" });
    expect(error.message).toContain("nobody");
    const closing = failureOf(client.fetch("/", { timeoutMs: 10_000 }));
    await settle();
    await client.close();
    expect((await within("the end", closing)).kind).toBe("closed");
  });
});
