/** `lbc status`: the cluster as the bucket shows it, or a node as it shows itself. */
import type { Command } from "commander";
import { z } from "zod";
import { ClusterError, isClusterError } from "../../errors.ts";
import type { EpochObjectKind } from "../../format/keys.ts";
import { snapshotKey } from "../../format/keys.ts";
import type { Leader } from "../../format/system-rows.ts";
import { PAGE_BYTES } from "../../format/wal.ts";
import { listPages } from "../../history/listing.ts";
import { formatAddress, parseAddress } from "../../net/address.ts";
import type { ClientTls } from "../../net/tls.ts";
import type { ObjectStore } from "../../store/store.ts";
import { expectId, headOf, makeCluster } from "../cluster.ts";
import { type CliContext, globalOptions } from "../context.ts";
import type { Head } from "../head.ts";
import { askMembers, askNode, type NodeAddress, nodeAddress, secretOf } from "../node-client.ts";
import { addTlsOptions, tlsOf } from "../options.ts";
import { printJson, printRecord } from "../output.ts";
import { bytesText, countText, durationText } from "../text.ts";

const STATUS_PATH = "/.lbc/status";

export function addStatus(program: Command, context: CliContext): void {
  const command = program
    .command("status")
    .description("the cluster as the bucket shows it; with --node, a node as it shows itself")
    .option("--node <address>", "HOST:PORT of a node, or its http:// or https:// URL")
    .option("--no-sizes", "do not list the bucket's objects to add up their sizes");
  addTlsOptions(command).action(async (options: { node?: string; sizes: boolean }, self: Command) => {
    if (options.node === undefined) await showCluster(context, self, options.sizes);
    else await showNode(context, self, options.node);
  });
}

/** Objects of one kind. */
interface Stored {
  count: number;
  bytes: number;
}

/** What `--json` prints of the cluster. */
interface ClusterStatus {
  readonly id: string;
  readonly store: string;
  readonly newestEpoch: number;
  /** The earliest epoch that can be restored. */
  readonly earliestEpoch: number;
  /** By the clock of the leader that wrote the epoch. */
  readonly lastUpdate: string | null;
  /** By the store's clock. */
  readonly lastUpdateAgeMs: number;
  readonly leader: Leader | null;
  readonly databaseBytes: number;
  readonly databasePages: number;
  readonly lastSnapshot: {
    readonly epoch: number;
    readonly bytes: number | null;
    readonly ageMs: number | null;
  } | null;
  /** `null` if the objects were not to be listed. */
  readonly objects: Readonly<Record<"epochs" | "snapshots" | "packs", Stored>> | null;
}

async function showCluster(context: CliContext, command: Command, withSizes: boolean): Promise<void> {
  const { store: url, id, json } = globalOptions(command);
  const store = context.openStore(url);
  const head = await headOf(context, store);
  expectId(id, head.rows.clusterId, store);
  const status = await clusterStatus(context, store, head, withSizes);
  if (json) await printJson(context, status);
  else await printCluster(context, status);
}

async function clusterStatus(
  context: CliContext,
  store: ObjectStore,
  head: Head,
  withSizes: boolean,
): Promise<ClusterStatus> {
  const { signal } = context;
  const { rows, epoch, databaseBytes, ageMs, snapshotEpoch } = head;
  const [extent, snapshot, objects] = await Promise.all([
    makeCluster(rows.clusterId, store).extent({ signal }),
    snapshotEpoch === undefined ? undefined : store.head(snapshotKey(snapshotEpoch), { signal }),
    withSizes ? addUp(store, signal) : null,
  ]);
  return {
    id: rows.clusterId,
    store: store.url,
    newestEpoch: Math.max(epoch, extent.newest),
    earliestEpoch: extent.earliest,
    lastUpdate: rows.lastUpdate ?? null,
    lastUpdateAgeMs: ageMs,
    leader: rows.leader ?? null,
    databaseBytes,
    databasePages: databaseBytes / PAGE_BYTES,
    lastSnapshot:
      snapshotEpoch === undefined
        ? null
        : {
            epoch: snapshotEpoch,
            bytes: snapshot?.size ?? null,
            ageMs: snapshot === undefined ? null : Math.max(0, Math.round(snapshot.nowMs - snapshot.lastModifiedMs)),
          },
    objects,
  };
}

const NAMES: Readonly<Record<EpochObjectKind, "epochs" | "snapshots" | "packs">> = {
  wal: "epochs",
  snapshot: "snapshots",
  pack: "packs",
};

async function addUp(
  store: ObjectStore,
  signal: AbortSignal,
): Promise<Record<"epochs" | "snapshots" | "packs", Stored>> {
  const sums = { epochs: { count: 0, bytes: 0 }, snapshots: { count: 0, bytes: 0 }, packs: { count: 0, bytes: 0 } };
  for await (const objects of listPages(store, undefined, signal)) {
    for (const { kind, size } of objects) {
      const sum = sums[NAMES[kind]];
      sum.count++;
      sum.bytes += size;
    }
  }
  return sums;
}

async function printCluster(context: CliContext, status: ClusterStatus): Promise<void> {
  const { leader, lastSnapshot, objects } = status;
  const sized = ({ count, bytes }: Stored, noun: string) => `${countText(count, noun)}, ${bytesText(bytes)}`;
  const written = `${status.lastUpdate ?? "at an unknown time"}, ${durationText(status.lastUpdateAgeMs)} ago`;
  await printRecord(context, [
    ["cluster", status.id],
    ["store", status.store],
    ["newest epoch", `${status.newestEpoch} (${written})`],
    ["earliest epoch", `${status.earliestEpoch}`],
    ["leader", leader === null ? "nobody" : `${leader.address} in ${leader.az} (${leader.uuid})`],
    ["database", `${bytesText(status.databaseBytes)}, ${countText(status.databasePages, "page")}`],
    ["last snapshot", lastSnapshot === null ? "none" : snapshotText(lastSnapshot)],
    ["stored", objects === null ? undefined : sized(objects.epochs, "epoch")],
    ["", objects === null ? undefined : sized(objects.snapshots, "snapshot")],
    ["", objects === null ? undefined : sized(objects.packs, "pack")],
  ]);
}

function snapshotText({ epoch, bytes, ageMs }: NonNullable<ClusterStatus["lastSnapshot"]>): string {
  if (bytes === null || ageMs === null) return `epoch ${epoch}, but it is gone`;
  return `epoch ${epoch}, ${bytesText(bytes)}, ${durationText(ageMs)} ago`;
}

async function showNode(context: CliContext, command: Command, node: string): Promise<void> {
  const tls = await tlsOf(command);
  const address = readNode(node, tls);
  const answer = await askStatus(context, command, address);
  const { data: status } = shownShape.safeParse(answer);
  if (status === undefined) throw notNode(address);
  if (globalOptions(command).json) return await printJson(context, answer);
  const { replica, db, store, leader } = status;
  const { uuid, az } = status.this;
  await printRecord(context, [
    ["node", `${status.this.address} in ${az} (${uuid})`],
    ["cluster", status.cluster_id],
    ["role", status.role],
    ["serves", status.roles.length === 0 ? undefined : status.roles.join(", ")],
    ["leader", leader === null ? "nobody" : `${leader.address} in ${leader.az} (${leader.uuid})`],
    ["members", String(status.members.length)],
    ["epoch", `${replica.epoch} (${replica.last_update ?? "at an unknown time"})`],
    ["behind", durationText(replica.lag_ms)],
    ["stream", status.is_leader ? undefined : replica.is_streaming ? "open" : "closed: it reads the store"],
    ["trouble", replica.trouble ?? undefined],
    ["database", `${bytesText(db.size)}, ${countText(db.pages, "page")}`],
    ["last snapshot", `epoch ${replica.snapshot_epoch}`],
    ["verified", verifiedText(status.history?.verified ?? undefined)],
    ["store", store.url],
    ["costs", store.usd_per_month === null ? undefined : `$${store.usd_per_month.toFixed(2)} a month at this rate`],
    ["started", status.started_at],
  ]);
}

const leaderShape = z.object({ uuid: z.string(), az: z.string(), address: z.string() });
/** What is shown of a node's status: other versions may tell more. */
const shownShape = z.object({
  cluster_id: z.string(),
  this: leaderShape,
  roles: z.array(z.string()),
  role: z.string(),
  is_leader: z.boolean(),
  leader: leaderShape.nullable(),
  members: z.array(z.unknown()),
  replica: z.object({
    epoch: z.number(),
    last_update: z.string().nullable(),
    snapshot_epoch: z.number(),
    lag_ms: z.number(),
    is_streaming: z.boolean(),
    trouble: z.string().nullable(),
  }),
  db: z.object({ pages: z.number(), size: z.number() }),
  store: z.object({ url: z.string(), usd_per_month: z.number().nullable() }),
  history: z
    .object({ verified: z.object({ at: z.string(), to: z.number(), is_restorable: z.boolean() }).nullable() })
    .optional(),
  started_at: z.string(),
});

function verifiedText(verified: { at: string; to: number; is_restorable: boolean } | undefined): string | undefined {
  if (verified === undefined) return undefined;
  const { at, to, is_restorable: isRestorable } = verified;
  return `up to epoch ${to} at ${at}: ${isRestorable ? "everything" : "not everything"} can be restored`;
}

function notNode({ url }: NodeAddress): ClusterError {
  const message = `${url} answered ${STATUS_PATH} with something else than a node's status: is it a node of a cluster?`;
  return new ClusterError("invalid", "node_refused", message, { url });
}

function readNode(node: string, tls: ClientTls | undefined): NodeAddress {
  if (/^https?:\/\//.test(node)) return { url: node, tls: node.startsWith("https:") ? (tls ?? {}) : undefined };
  return nodeAddress(formatAddress(parseAddress(node)), tls);
}

/** A node that keeps its status for members is asked again, signed, if there is a store to know the secret from. */
async function askStatus(context: CliContext, command: Command, address: NodeAddress): Promise<unknown> {
  try {
    return await askNode(context, address, { path: STATUS_PATH });
  } catch (error) {
    if (!isClusterError(error) || error.code !== "not_authenticated") throw error;
    const { store: url } = globalOptions(command);
    if (url === undefined && context.environment["LBC_STORE"] === undefined) throw needsStore(address, error);
    const { rows } = await headOf(context, context.openStore(url));
    const members = await askMembers(context, rows, address.tls);
    const uuid = members.find((member) => address.url.endsWith(`//${member.address}`))?.uuid;
    if (uuid === undefined) throw notMember(address);
    return await askNode(context, address, { path: STATUS_PATH, signer: { secret: secretOf(context, rows), uuid } });
  }
}

function needsStore({ url }: NodeAddress, cause: unknown): ClusterError {
  const message = `${url} tells its status to members only: give --store as well, where the secret is`;
  return new ClusterError("invalid", "not_authenticated", message, { url }, { cause });
}

function notMember({ url }: NodeAddress): ClusterError {
  const message = `${url} tells its status to members only, and no member has that address: see lbc members`;
  return new ClusterError("invalid", "not_a_member", message, { url });
}
