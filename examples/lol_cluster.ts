/**
 * A small cluster: a replicated key-value store with an HTTP interface.
 *
 *   deno run -A examples/lol_cluster.ts leader
 *   bun examples/lol_cluster.ts leader
 *   npx tsx examples/lol_cluster.ts leader
 *
 * Start it several times, with `leader` or `follower`, in any of the three
 * runtimes: all nodes that name the same store are one cluster.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Command, InvalidArgumentError } from "commander";
import { type ClusterNode, LittleBigCluster, type ObjectStore, openStore } from "../src/mod.ts";
import { helloApp, kvApp } from "./lol/kv.ts";
import { logEvents, say, sayLeader, sayMembers } from "./lol/terminal.ts";

interface Options {
  readonly path: string;
  readonly store?: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly address: string;
  readonly az: string;
  readonly clusterId: string;
  readonly role: readonly string[];
  readonly heartbeatMs?: number;
  readonly sessionTimeoutMs?: number;
  readonly verbose?: boolean;
}

const program = new Command("lol_cluster")
  .description("a replicated key-value store: several nodes, one store, no other server")
  .option("-p, --path <dir>", "directory used as object store", join(tmpdir(), "lol"))
  .option(
    "-s, --store <url>",
    "object store instead of a directory: s3://bucket/prefix, credentials from AWS_ACCESS_KEY_ID and so on",
  )
  .option("--endpoint <url>", "of the S3 server, e.g. http://127.0.0.1:9000")
  .option("--region <name>", "of the bucket")
  .option(
    "-a, --address <host:port>",
    "to listen on; an unspecified host advertises the machine's best address",
    "0.0.0.0:0",
  )
  .option("--az <name>", "availability zone", "AZ0")
  .option("-c, --cluster-id <id>", "of the cluster", "lol")
  .option(
    "-r, --role <name>",
    "a role of this node (repeatable)",
    (name: string, names: readonly string[]) => [...names, name],
    [],
  )
  .option("--heartbeat-ms <n>", "an epoch every so often, also with nothing to write", parseMs)
  .option("--session-timeout-ms <n>", "without an epoch for so long, a standby takes over", parseMs)
  .option("-v, --verbose", "print the library's events on standard error")
  .showHelpAfterError();

program
  .command("init")
  .description("make the cluster")
  .action(() => run(initCluster));
program
  .command("leader")
  .description("join as a node that may lead")
  .action(() => run((options) => runNode(options, "leader")));
program
  .command("follower")
  .description("join as a node that only follows")
  .action(() => run((options) => runNode(options, "follower")));
await program.parseAsync();

async function run(action: (options: Options) => Promise<void>): Promise<void> {
  try {
    await action(program.opts<Options>());
  } catch (error) {
    process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  }
}

function parseMs(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("expected whole milliseconds");
  return Number(text);
}

function openCluster(options: Options): LittleBigCluster {
  const { clusterId: id, heartbeatMs: heartbeatIntervalMs, sessionTimeoutMs, verbose } = options;
  return new LittleBigCluster({
    id,
    store: storeOf(options),
    heartbeatIntervalMs,
    sessionTimeoutMs,
    log: verbose ? logEvents : undefined,
  });
}

function storeOf({ store, path, endpoint, region }: Options): ObjectStore {
  if (store === undefined) return openStore(path.startsWith("/") ? path : `./${path}`);
  const url = new URL(store);
  if (endpoint !== undefined) url.searchParams.set("endpoint", endpoint);
  if (region !== undefined) url.searchParams.set("region", region);
  return openStore(url.href);
}

async function initCluster(options: Options): Promise<void> {
  say("Initializing cluster...");
  await openCluster(options).init();
  say("Cluster initialized!");
}

async function runNode(options: Options, command: "leader" | "follower"): Promise<void> {
  const cluster = openCluster(options);
  if (!(await cluster.isInitialized())) {
    say("Initializing cluster...");
    if (await cluster.initIfNeeded()) say("Cluster initialized!");
  }
  say("Joining cluster...");
  const roles = Object.fromEntries(options.role.map((name) => [name, null]));
  const { az, address } = options;
  const apps = { app: kvApp(), leaderApp: helloApp(), roles };
  const node =
    command === "leader"
      ? await cluster.joinAsLeader({ az, address, ...apps })
      : await cluster.joinAsFollower({ az, address, ...apps });
  say(`Joined cluster! Listening on http://${node.address}`);
  shutDownOnSignals(node);
  await Promise.all([showMembers(node), showLeader(node), ...(command === "leader" ? [showLeadership(node)] : [])]);
}

async function showMembers(node: ClusterNode): Promise<void> {
  let text = "Initial members:";
  let shown = "";
  for await (const members of node.members) {
    // What a member does may change too; the table does not show it.
    const places = members.map(({ uuid, address }) => `${uuid} ${address}`).join("\n");
    if (places === shown) continue;
    shown = places;
    sayMembers(text, members, node.uuid);
    text = "Members changed:";
  }
}

async function showLeader(node: ClusterNode): Promise<void> {
  let shown = node.leader.current?.uuid;
  for await (const leader of node.leader) {
    if (leader?.uuid === shown) continue;
    shown = leader?.uuid;
    sayLeader(leader, node.members.current, node.uuid);
  }
}

async function showLeadership(node: ClusterNode): Promise<void> {
  let wasLeading: boolean | undefined;
  for await (const role of node.role) {
    const isLeading = role === "leader";
    if (isLeading === wasLeading) continue;
    wasLeading = isLeading;
    say(isLeading ? "We are the new leader!" : "Waiting for leadership...");
  }
}

/** The first signal ends gracefully, a second one at once. */
function shutDownOnSignals(node: ClusterNode): void {
  let isLeaving = false;
  const leave = (signal: string) => {
    if (isLeaving) process.exit(130);
    isLeaving = true;
    say(`${signal}: leaving the cluster...`);
    node.shutdown().then(
      () => {
        say("Goodbye!");
        process.exit(0);
      },
      (error: unknown) => {
        process.stderr.write(`Error: ${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGINT", () => leave("SIGINT"));
  process.on("SIGTERM", () => leave("SIGTERM"));
}
