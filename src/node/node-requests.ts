/** Requests of one node to another, signed with the cluster's secret. */
import { toBase64Url } from "../base/bytes.ts";
import { ClusterError } from "../errors.ts";
import { NONCE_HEADER, signRequest } from "../net/auth.ts";
import { PEER_CLOSE_GRACE_MS, type Peer } from "../net/peer.ts";
import { refusalOf } from "../net/peer-error.ts";
import type { NodeParts } from "./parts.ts";
import type { PeerPool } from "./peer-pool.ts";

/** Uuid of the node that sends. */
export const FROM_HEADER = "x-lbc-from";
/** Uuid of the node that is meant. */
export const TO_HEADER = "x-lbc-to";
const NONCE_BYTES = 18;

/** Which node, and where it listens. */
export interface NodeTarget {
  readonly uuid: string;
  readonly address: string;
}

export interface RequestLimits {
  readonly timeoutMs: number;
  /** `Infinity` for an answer without end. */
  readonly bodyTimeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface NodeRequestsOptions {
  readonly parts: NodeParts;
  /** Of this node. */
  readonly uuid: string;
  readonly pool: PeerPool;
  /** The cluster's secret; `undefined` in a cluster of the original without a configured one. */
  secret(): string | undefined;
}

export class NodeRequests {
  readonly #options: NodeRequestsOptions;

  constructor(options: NodeRequestsOptions) {
    this.#options = options;
  }

  /**
   * Headers that say who asks whom, and prove it; good for one request.
   *
   * @throws ClusterError `invalid` `no_secret`
   */
  sign(method: string, path: string, body: Uint8Array | string, to: string): Record<string, string> {
    const { clock, random } = this.#options.parts.settings;
    const secret = this.secret();
    const nonce = toBase64Url(random.bytes(NONCE_BYTES));
    const signature = signRequest({ method, path, body, to, secret, nowMs: clock.wallMs(), nonce });
    return { ...signature, [FROM_HEADER]: this.#options.uuid, [TO_HEADER]: to };
  }

  secret(): string {
    const secret = this.#options.secret();
    if (secret !== undefined) return secret;
    throw new ClusterError("invalid", "no_secret", "the cluster has no secret: configure one to talk to its members");
  }

  /** Posts JSON; gives the answer, whatever its status, and the nonce that names the request. */
  async post(
    target: NodeTarget,
    path: string,
    value: unknown,
    limits: RequestLimits,
  ): Promise<{ readonly response: Response; readonly nonce: string }> {
    return await this.#postBy(this.#options.pool.of(target.address), target, path, value, limits);
  }

  /** The same over a connection of its own, for who is not talked to again. */
  async postOnce(target: NodeTarget, path: string, value: unknown, limits: RequestLimits): Promise<void> {
    await this.#options.pool.apart(target.address, PEER_CLOSE_GRACE_MS, async (peer) => {
      const { response } = await this.#postBy(peer, target, path, value, limits);
      await response.body?.cancel();
    });
  }

  /** Whether an address refuses connections. */
  async isRefusing(address: string): Promise<boolean> {
    try {
      await this.#options.pool.apart(address, 0, (peer) => peer.connect());
      return false;
    } catch (error) {
      return refusalOf(error) !== undefined;
    }
  }

  async #postBy(
    peer: Peer,
    target: NodeTarget,
    path: string,
    value: unknown,
    limits: RequestLimits,
  ): Promise<{ readonly response: Response; readonly nonce: string }> {
    const body = JSON.stringify(value);
    const signed = this.sign("POST", path, body, target.uuid);
    const headers = { ...signed, "content-type": "application/json" };
    const response = await peer.fetch(path, { method: "POST", body, headers, ...limits });
    return { response, nonce: signed[NONCE_HEADER] ?? "" };
  }
}
