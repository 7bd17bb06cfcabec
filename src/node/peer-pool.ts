/** One connection per address, shared by everything that a node sends to others. */
import type { Clock } from "../base/clock.ts";
import type { Random } from "../base/random.ts";
import { ClusterError } from "../errors.ts";
import { PEER_CLOSE_GRACE_MS, Peer } from "../net/peer.ts";
import type { ClientTls } from "../net/tls.ts";
import type { Transport } from "../net/transport.ts";

/** Settings and components of a {@link PeerPool}. */
export interface PeerPoolOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly scheme: "http" | "https";
  /** For `https`. */
  readonly tls?: ClientTls | undefined;
}

/**
 * The peers of a node, by address. Ask anew for every request: `keep` may have closed the peer that was given before,
 * and a request that still waited there for a connection fails with `closed` `peer_closed`, unsent.
 */
export class PeerPool {
  readonly #options: PeerPoolOptions;
  readonly #peers: Map<string, Peer> = new Map();
  /** Peers that only wait for their last answers. */
  readonly #leaving: Map<Peer, Promise<void>> = new Map();
  /** Peers that are not shared. */
  readonly #apart: Set<Peer> = new Set();
  #isClosed = false;

  constructor(options: PeerPoolOptions) {
    this.#options = options;
  }

  /**
   * The peer of an address, made on demand.
   *
   * @param address `host:port`
   * @throws ClusterError `closed` `node_closed`, `invalid` `bad_address`
   */
  of(address: string): Peer {
    if (this.#isClosed) throw new ClusterError("closed", "node_closed", "the node was shut down");
    const known = this.#peers.get(address);
    if (known !== undefined) return known;
    const peer = this.#make(address);
    this.#peers.set(address, peer);
    return peer;
  }

  /**
   * What `ask` gives with a peer that is not shared, for who is not talked to again. It is closed after that, and its
   * answers in flight have `graceMs`; at once when the pool is closed.
   *
   * @throws ClusterError `closed` `node_closed`, `invalid` `bad_address`, and what `ask` throws
   */
  async apart<T>(address: string, graceMs: number, ask: (peer: Peer) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new ClusterError("closed", "node_closed", "the node was shut down");
    const peer = this.#make(address);
    this.#apart.add(peer);
    try {
      return await ask(peer);
    } finally {
      await peer.close(graceMs);
      this.#apart.delete(peer);
    }
  }

  #make(address: string): Peer {
    const { clock, random, transport, scheme, tls } = this.#options;
    return new Peer(`${scheme}://${address}`, { clock, random, transport, ...(tls === undefined ? {} : { tls }) });
  }

  /** Closes the peers of all other addresses, once their answers in flight are there. */
  keep(addresses: ReadonlySet<string>): void {
    for (const [address, peer] of this.#peers) {
      if (addresses.has(address)) continue;
      this.#peers.delete(address);
      const left = peer.close().finally(() => this.#leaving.delete(peer));
      this.#leaving.set(peer, left);
    }
  }

  /** Closes every peer, for ever; answers in flight have `graceMs`. Safe twice, the shorter time counts. */
  async close(graceMs: number = PEER_CLOSE_GRACE_MS): Promise<void> {
    this.#isClosed = true;
    const shared = [...this.#peers.values(), ...this.#leaving.keys()].map((peer) => peer.close(graceMs));
    const apart = [...this.#apart].map((peer) => peer.close(0));
    await Promise.all([...shared, ...apart]);
  }
}
