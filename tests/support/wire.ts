/** The protocol between nodes as somebody else would speak it: members and leaders that are none. */
import { onTestFinished } from "vitest";
import { concatBytes } from "../../src/base/bytes.ts";
import { encodeFrameHeader, type Frame, type FrameKind, FrameParser } from "../../src/format/stream-frames.ts";
import type { ClusterNode, Member } from "../../src/mod.ts";
import { NONCE_HEADER, type RequestToSign, signRequest } from "../../src/net/auth.ts";
import { listen } from "../../src/net/server.ts";
import { StreamMac, type StreamName } from "../../src/net/stream-mac.ts";

let nonces = 0;

export function newNonce(): string {
  return `nonce-of-a-test-${++nonces}`;
}

/** The cluster's secret, as everyone who reads the database finds it. */
export function secretOf(node: ClusterNode): string {
  const row = node.db.get<{ value: string }>("SELECT value FROM _lbc WHERE key = 'secret'");
  if (row === undefined) throw new Error("there is no secret");
  return row.value;
}

export function urlOf(node: ClusterNode, path: string): string {
  return `http://${node.address}${path}`;
}

/** What a request claims and what is signed of it, where that is not the same. */
export interface SignedPost {
  readonly path: string;
  readonly body?: string;
  readonly method?: string;
  readonly signed?: Partial<RequestToSign>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** Headers that prove a request to `node`, with what the test has changed. */
export function signatureFor(node: ClusterNode, { path, body = "", method = "POST", signed }: SignedPost): Headers {
  const secret = signed?.secret ?? secretOf(node);
  const right = { method, path, to: node.uuid, body, secret, nowMs: Date.now(), nonce: newNonce() };
  return new Headers(signRequest({ ...right, ...signed }));
}

/** Sends a signed request to a node. */
export function send(node: ClusterNode, request: SignedPost): Promise<Response> {
  const { path, body = "", method = "POST", headers = {}, signal } = request;
  const all = signatureFor(node, request);
  for (const [name, value] of Object.entries(headers)) all.set(name, value);
  const content = method === "GET" || method === "HEAD" ? {} : { body };
  return fetch(urlOf(node, path), { method, headers: all, signal: signal ?? null, ...content });
}

/** A member that is none, at an address where nobody listens. */
export function strangerOf(node: ClusterNode, change: Partial<Member> = {}): Member {
  const own = node.members.current.find(({ uuid }) => uuid === node.uuid);
  if (own === undefined) throw new Error("the node does not know itself");
  return { ...own, uuid: "a-stranger", address: "127.0.0.1:1", role: "follower", ...change };
}

/** A stream of a leader, read as a member reads it. */
export interface ReadStream {
  readonly response: Response;
  /** Every authentic frame that has arrived. */
  readonly frames: readonly Frame[];
  /** Resolves when the stream has ended; true if between two frames. */
  readonly ended: Promise<boolean>;
  cancel(): void;
}

/** Subscribes as a member that has `epoch`. */
export async function subscribe(node: ClusterNode, member: Member, epoch: number): Promise<ReadStream> {
  const gone = new AbortController();
  onTestFinished(() => gone.abort());
  const nonce = newNonce();
  const body = JSON.stringify({ member, epoch });
  const response = await send(node, { path: "/.lbc/epochs", body, signed: { nonce }, signal: gone.signal });
  const mac = new StreamMac(secretOf(node), { nonce, from: node.uuid, to: member.uuid });
  const parser = new FrameParser();
  const frames: Frame[] = [];
  const read = async (): Promise<boolean> => {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      for (const frame of parser.push(chunk)) {
        if (!mac.verifyNext(frame.header, frame.body, frame.mac)) throw new Error(`a forged ${frame.kind}`);
        frames.push(frame);
      }
    }
    return parser.isAtBoundary;
  };
  const ended = response.ok ? read() : Promise.resolve(true);
  ended.catch(() => {});
  return { response, frames, ended, cancel: () => gone.abort() };
}

/** One follower's stream at a {@link FakeLeader}. */
export class FakeStream {
  readonly name: StreamName;
  readonly #mac: StreamMac;
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;

  constructor(secret: string, name: StreamName, controller: ReadableStreamDefaultController<Uint8Array>) {
    this.name = name;
    this.#mac = new StreamMac(secret, name);
    this.#controller = controller;
  }

  /** The bytes of the next frame, not sent. */
  frame(kind: FrameKind, epoch: number, body: Uint8Array = new Uint8Array(0), mac: StreamMac = this.#mac): Uint8Array {
    const header = encodeFrameHeader(kind, epoch, body.length);
    return concatBytes([header, body, mac.next(header, body)]);
  }

  /** Sends the next frame as it should be. */
  send(kind: FrameKind, epoch: number, body?: Uint8Array): void {
    this.write(this.frame(kind, epoch, body));
  }

  write(...pieces: readonly Uint8Array[]): void {
    for (const piece of pieces) this.#controller.enqueue(piece);
  }

  end(): void {
    this.#controller.close();
  }
}

/** Listens where a leader says that it does, and answers in its stead. */
export class FakeLeader {
  readonly address: string;
  /** Streams that were asked for, oldest first. */
  readonly streams: FakeStream[] = [];
  /** Requests for a stream. */
  attempts = 0;
  /** Answers a request for a stream with this status instead. */
  refusal: number | undefined;
  /** What the frames are signed with, and in whose name: of the leader that it plays. */
  play: { readonly secret: string; readonly uuid: string } | undefined;

  private constructor(address: string) {
    this.address = address;
  }

  static async start(): Promise<FakeLeader> {
    let fake: FakeLeader | undefined;
    const fetch = async (request: Request) => (await fake?.answer(request)) ?? new Response("", { status: 503 });
    const listener = await listen({ host: "127.0.0.1", port: 0, fetch });
    onTestFinished(() => listener.close(0));
    fake = new FakeLeader(`127.0.0.1:${listener.port}`);
    return fake;
  }

  async answer(request: Request): Promise<Response | undefined> {
    if (new URL(request.url).pathname !== "/.lbc/epochs") return Response.json({ members: null });
    this.attempts++;
    if (this.refusal !== undefined || this.play === undefined) return new Response("", { status: this.refusal ?? 503 });
    const { member } = (await request.json()) as { member: Member };
    const { secret, uuid: from } = this.play;
    const name = { nonce: request.headers.get(NONCE_HEADER) ?? "", from, to: member.uuid };
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => void this.streams.push(new FakeStream(secret, name, controller)),
    });
    return new Response(body);
  }
}
