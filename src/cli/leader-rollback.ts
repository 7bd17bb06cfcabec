/**
 * Rolling back a cluster from outside of it: through the leader if one lives, else as a leader for one epoch.
 *
 * ```
 *   ask the leader that the newest epoch names ──► it answers: done
 *        │ nobody is named             │ no connection
 *        │                             ▼
 *        │            watch for new epochs ──► there is one: it lives, but not for us
 *        ▼                             ▼ none for the session time-out
 *   join as a leader on this machine, write the one epoch, step down
 * ```
 */
import type { LittleBigCluster } from "../cluster.ts";
import { ClusterError, isClusterError } from "../errors.ts";
import { walKey } from "../format/keys.ts";
import type { Leader } from "../format/system-rows.ts";
import { Peer, type PeerFetchInit } from "../net/peer.ts";
import type { ClientTls } from "../net/tls.ts";
import type { MemberFetch, MemberRequestInit } from "../node/member-request.ts";
import type { Rollback } from "../node/rollback.ts";
import { askRollback } from "../node/rollback-request.ts";
import { sleep } from "../platform/sleep.ts";
import { systemClock } from "../platform/system.ts";
import type { ObjectStore } from "../store/store.ts";
import { type CliContext, withProgress } from "./context.ts";
import type { Head } from "./head.ts";
import { nodeAddress, secretOf, signedHeaders } from "./node-client.ts";

/** How often the store is asked whether the leader lives. */
const WATCH_INTERVAL_MS = 500;
/** Beyond the session time-out, for who becomes leader. */
const LEAD_MARGIN_MS = 30_000;

export interface RollbackParts {
  readonly context: CliContext;
  readonly store: ObjectStore;
  readonly head: Head;
  readonly tls: ClientTls | undefined;
  /** A leader whose epochs cease for so long is gone: that of the cluster's nodes. */
  readonly sessionTimeoutMs: number;
  /** The cluster for joining it. */
  readonly cluster: LittleBigCluster;
}

/** A rollback, and who has done it. */
export interface RollbackDone extends Rollback {
  /** `undefined`: nobody led, so it was done from here. */
  readonly leader: Leader | undefined;
}

/** Rolls back to the epoch. */
export async function rollbackTo(parts: RollbackParts, epoch: number): Promise<RollbackDone> {
  const { leader } = parts.head.rows;
  if (leader !== undefined) {
    const done = await throughLeader(parts, leader, epoch);
    if (done !== undefined) return { ...done, leader };
    await expectSilence(parts, leader);
  }
  return { ...(await asLeader(parts, epoch)), leader: undefined };
}

/** `undefined` if the leader was not reached, so that it has not even begun. */
async function throughLeader(parts: RollbackParts, leader: Leader, epoch: number): Promise<Rollback | undefined> {
  const { context, tls } = parts;
  const peer = new Peer(nodeAddress(leader.address, tls).url, tls === undefined ? {} : { tls });
  const secret = secretOf(context, parts.head.rows);
  const fetch: MemberFetch = async (input, init: MemberRequestInit = {}) => {
    const path = String(input);
    const body = String(init.body ?? "");
    const headers = {
      ...(init.headers as Record<string, string>),
      ...signedHeaders({ path, signer: { secret, uuid: leader.uuid } }, "POST", body),
    };
    return await peer.fetch(path, { ...init, headers } as PeerFetchInit);
  };
  try {
    return await askRollback(fetch, epoch, { signal: context.signal }, { clock: systemClock, epoch: () => epoch });
  } catch (error) {
    if (isClusterError(error) && error.details["sent"] === false) return undefined;
    throw error;
  } finally {
    await peer.close(0);
  }
}

/** @throws ClusterError `unavailable`/`leader_unreachable` if the leader that was not reached lives */
async function expectSilence({ context, store, head, sessionTimeoutMs }: RollbackParts, leader: Leader): Promise<void> {
  const { signal, stderr } = context;
  const leftMs = sessionTimeoutMs - head.ageMs;
  if (leftMs > 0) await stderr.write(`No answer from the leader at ${leader.address}: waiting whether it lives …\n`);
  for (const endMs = performance.now() + leftMs; ; ) {
    if ((await store.head(walKey(head.epoch + 1), { signal })) !== undefined) break;
    if (performance.now() >= endMs) return;
    await sleep(systemClock, WATCH_INTERVAL_MS, signal);
  }
  throw new ClusterError(
    "unavailable",
    "leader_unreachable",
    `the leader at ${leader.address} lives, but cannot be reached from here: run this on a machine where it can`,
    { leader: leader.uuid, address: leader.address },
  );
}

async function asLeader({ context, cluster, sessionTimeoutMs }: RollbackParts, epoch: number): Promise<Rollback> {
  const { signal } = context;
  const node = await withProgress(context, "joining", (options) =>
    cluster.joinAsLeader({ ...options, address: "127.0.0.1:0" }),
  );
  try {
    await node.waitForLeadership({ signal, timeoutMs: sessionTimeoutMs + LEAD_MARGIN_MS });
    return await withProgress(context, `reading epoch ${epoch}`, (options) => node.rollback(epoch, options));
  } finally {
    await node.shutdown();
  }
}
