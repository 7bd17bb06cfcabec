/** Requests to the nodes of a cluster, signed as a member's: whoever reads the bucket knows the secret. */
import { toBase64Url } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";
import type { Leader, SystemRows } from "../format/system-rows.ts";
import { signRequest } from "../net/auth.ts";
import { Peer } from "../net/peer.ts";
import type { PeerResponse } from "../net/peer-response.ts";
import type { ClientTls } from "../net/tls.ts";
import { MISDIRECTED_HEADER, NOT_LEADER_HEADER } from "../node/apps.ts";
import { membersShape } from "../node/member-shape.ts";
import { TO_HEADER } from "../node/node-requests.ts";
import { systemRandom } from "../platform/system.ts";
import type { Member } from "../protocol/roster.ts";
import type { CliContext } from "./context.ts";

const NONCE_BYTES = 18;
/** A node that has not answered by then is not there. */
const ANSWER_TIMEOUT_MS = 10_000;
/** Of a cluster without a secret of its own, which nodes have configured. */
const SECRET_VARIABLE = "LBC_SECRET";

/** A node, and how it is reached. */
export interface NodeAddress {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  readonly tls: ClientTls | undefined;
}

/** What proves that a request comes from a member. */
export interface Signer {
  readonly secret: string;
  /** The node that is meant. */
  readonly uuid: string;
}

export interface NodeRequest {
  readonly method?: "GET" | "POST";
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Without it the request is not signed. */
  readonly signer?: Signer | undefined;
  readonly timeoutMs?: number;
}

/** Where a node that is known as `host:port` is asked. */
export function nodeAddress(address: string, tls: ClientTls | undefined): NodeAddress {
  return { url: `${tls === undefined ? "http" : "https"}://${address}`, tls };
}

/**
 * The JSON of a node's answer.
 *
 * @throws ClusterError `unavailable` if there is none, `invalid`/`not_authenticated`, `not_leader`
 */
export async function askNode(context: CliContext, address: NodeAddress, request: NodeRequest): Promise<unknown> {
  const { url, tls } = address;
  const { method = "GET", path, timeoutMs = ANSWER_TIMEOUT_MS } = request;
  const body = request.body === undefined ? "" : JSON.stringify(request.body);
  const headers = { "content-type": "application/json", ...signedHeaders(request, method, body) };
  const peer = new Peer(url, tls === undefined ? {} : { tls });
  try {
    const response = await peer.request({
      method,
      path,
      headers,
      signal: context.signal,
      timeoutMs,
      ...(method === "POST" ? { body } : {}),
    });
    return await readAnswer(response, url, path);
  } finally {
    await peer.close(0);
  }
}

/** The roster, as the leader tells it. */
export async function askMembers(
  context: CliContext,
  rows: SystemRows,
  tls: ClientTls | undefined,
): Promise<readonly Member[]> {
  const leader = expectLeader(rows);
  const signer = { secret: secretOf(context, rows), uuid: leader.uuid };
  const address = nodeAddress(leader.address, tls);
  return membersShape.parse(await askNode(context, address, { path: "/.lbc/members", signer }));
}

/** @throws ClusterError `unavailable`/`no_leader` */
export function expectLeader({ leader }: SystemRows): Leader {
  if (leader !== undefined) return leader;
  throw new ClusterError("unavailable", "no_leader", "nobody leads the cluster, so there is nobody to ask");
}

/** @throws ClusterError `invalid`/`no_secret` */
export function secretOf({ environment }: CliContext, rows: SystemRows): string {
  const secret = rows.secret ?? environment[SECRET_VARIABLE];
  if (secret !== undefined && secret !== "") return secret;
  throw new ClusterError(
    "invalid",
    "no_secret",
    `the cluster has no secret of its own: set ${SECRET_VARIABLE} to the one that its nodes are configured with`,
  );
}

/** What proves the request; nothing without a signer. */
export function signedHeaders(
  { path, signer }: Pick<NodeRequest, "path" | "signer">,
  method: string,
  body: string,
): Record<string, string> {
  if (signer === undefined) return {};
  const { secret, uuid: to } = signer;
  const nonce = toBase64Url(systemRandom.bytes(NONCE_BYTES));
  return { ...signRequest({ method, path, body, to, secret, nowMs: Date.now(), nonce }), [TO_HEADER]: to };
}

async function readAnswer(response: PeerResponse, url: string, path: string): Promise<unknown> {
  const { status } = response;
  const text = await response.text();
  const answer = parseJson(text);
  if (status === 200 && answer !== undefined) return answer;
  const said = textOf(answer, "error") ?? `HTTP ${status}`;
  if (status === 401) {
    const why = textOf(answer, "code") === "stale" ? "; this machine's clock is more than a minute off its own" : "";
    throw new ClusterError("invalid", "not_authenticated", `${url} refused ${path}: ${said}${why}`, { url, path });
  }
  if (response.has(MISDIRECTED_HEADER) || response.has(NOT_LEADER_HEADER)) {
    throw new ClusterError("not_leader", "not_leader", `${url} does not lead any more: ${said}`, { url, path });
  }
  const kind = status === 503 || status === 429 ? "unavailable" : "invalid";
  throw new ClusterError(kind, "node_refused", `${url} answered ${path} with ${said}: is it a node of the cluster?`, {
    url,
    path,
    status,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function textOf(value: unknown, name: string): string | undefined {
  const text = typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
  return typeof text === "string" ? text : undefined;
}
