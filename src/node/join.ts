/** Joining a cluster: puts the parts of a node together. */
import { z } from "zod";
import { toHex } from "../base/bytes.ts";
import { type ClusterSettings, parseWith } from "../config.ts";
import { ClusterError } from "../errors.ts";
import { completeInit } from "../history/init.ts";
import { type JoinProgress, restore, restoreLimits } from "../history/restore.ts";
import { advertisedAddress, parseAddress } from "../net/address.ts";
import type { Listener } from "../net/server.ts";
import { Replica } from "../sqlite/replica.ts";
import { MeteredStore } from "../store/metered-store.ts";
import { type NodeApps, roleNames } from "./apps.ts";
import { NodeMetrics } from "./metrics.ts";
import { type MetricsSink, noMetrics } from "./metrics-sink.ts";
import { NodeNetwork } from "./network.ts";
import { ClusterNode, type NodeIdentity } from "./node.ts";
import type { NodeParts } from "./parts.ts";
import { RequestGate } from "./request-gate.ts";
import { clientTls, type NodeTls, serverTls, tlsShape } from "./tls-options.ts";

/** How a node joins. */
export interface JoinOptions extends NodeApps {
  /** Availability zone, *default* `AZ0`. */
  readonly az?: string | undefined;
  /**
   * `HOST:PORT` to listen on, *default* `0.0.0.0:0`: any free port, on every interface. A host that means every
   * interface is advertised as the machine's best address.
   */
  readonly address?: string | undefined;
  /** `HOST:PORT` that other nodes use, where it is not the one listened on (behind a NAT, in a container). */
  readonly advertise?: string | undefined;
  /** HTTP/2 and HTTP/1.1 over TLS, here and towards the other nodes: all nodes of a cluster, or none. */
  readonly tls?: NodeTls | undefined;
  /** Told how far reading the database from the store has come. */
  readonly onProgress?: ((progress: JoinProgress) => void) | undefined;
  /** Gives up joining. */
  readonly signal?: AbortSignal | undefined;
}

const isApp = (value: unknown) => typeof value === "object" && value !== null && "fetch" in value && "routes" in value;
const app = z.custom(isApp, "must be a Hono application");
const joinShape = z.strictObject({
  az: z.string().min(1).max(100).default("AZ0"),
  address: z.string().default("0.0.0.0:0"),
  advertise: z.string().optional(),
  app: app.optional(),
  leaderApp: app.optional(),
  roles: z.record(z.string(), app.nullable()).optional(),
  tls: tlsShape.optional(),
  onProgress: z.custom((value) => typeof value === "function", "must be a function").optional(),
  signal: z.custom((value) => value instanceof AbortSignal, "must be an AbortSignal").optional(),
});

/** Counts the store's calls for one node, and names the cluster's settings. */
export function nodeParts(settings: ClusterSettings, metrics: MetricsSink = noMetrics): NodeParts {
  const { store, clock, log } = settings;
  const meter = new MeteredStore(store, { clock, onRequest: (kind, request) => metrics.storeRequest(kind, request) });
  return { settings, store: meter, meter, metrics, log };
}

/** Joins as a candidate for leadership, or as a follower. */
export async function join(settings: ClusterSettings, options: JoinOptions, candidate: boolean): Promise<ClusterNode> {
  const what = candidate ? "joinAsLeader" : "joinAsFollower";
  const { az, address: addressText, tls } = parseWith(joinShape, options, what);
  const roles = roleNames(options);
  const metrics = new NodeMetrics(settings.clock);
  const parts = nodeParts(settings, metrics);
  const gate = new RequestGate(settings);
  const address = parseAddress(addressText);
  const { advertise } = options;
  if (advertise !== undefined && parseAddress(advertise).port === 0) {
    throw new ClusterError("invalid", "bad_address", `advertise ${advertise}: other nodes need a port to connect to`);
  }
  const { requestBytesMax: bodyBytesMax, clock, random, transport, log } = settings;
  const secure = tls === undefined ? {} : { tls: serverTls(tls) };
  const listener = await transport.listen({
    ...address,
    fetch: gate.fetch,
    limits: { bodyBytesMax },
    clock,
    log,
    ...secure,
  });
  let replica: Replica | undefined;
  try {
    const identity: NodeIdentity = {
      uuid: uuidFrom(random.bytes(16)),
      az,
      address: advertise ?? advertisedAddress(listener.host, listener.port),
      roles,
      startedAt: new Date(clock.wallMs()).toISOString(),
      candidate,
    };
    replica = await Replica.create(clock, random, settings.openSqlite);
    const restored = await readReplica(replica, parts, options);
    replica.expectCluster(settings.id);
    const secret = secretOf(replica, settings);
    const network = new NodeNetwork({
      parts,
      identity,
      listener,
      gate,
      apps: options,
      tls: tls === undefined ? undefined : clientTls(tls),
      metrics,
      secret,
    });
    const node = new ClusterNode({ parts, replica, identity, network, metrics, restored });
    node.begin();
    log({ level: "info", event: "joined", uuid: identity.uuid, address: identity.address, epoch: replica.epoch });
    return node;
  } catch (error) {
    await abandon(listener, replica);
    throw error;
  }
}

async function abandon(listener: Listener, replica: Replica | undefined): Promise<void> {
  await listener.close(0);
  replica?.close();
}

async function readReplica(replica: Replica, parts: NodeParts, options: JoinOptions): ReturnType<typeof restore> {
  const { store, log, settings } = parts;
  const { signal, onProgress } = options;
  const result = await restore({ ...restoreLimits(settings), store, system: replica.system, log, signal, onProgress });
  replica.replace(result.state);
  // Epoch 0's WAL is used only where there is no snapshot: an init stopped half way.
  if (result.base.kind === "wal") await completeInit(parts, signal);
  return result;
}

function secretOf(replica: Replica, settings: ClusterSettings): () => string | undefined {
  return () => replica.rows.secret ?? settings.secret;
}

/** RFC 9562 §5.4 */
function uuidFrom(random: Uint8Array): string {
  const bytes = random.slice();
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
