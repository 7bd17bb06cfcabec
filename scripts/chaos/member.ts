/** A member in a process of its own: reads how to join from its first line of input, joins, serves, leaves on SIGTERM. */
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { type ClusterNode, isClusterError, LittleBigCluster, openStore } from "../../src/mod.ts";
import { memberApp, memberLeaderApp } from "./member-app.ts";
import type { MemberConfig } from "./member-protocol.ts";

const JOIN_PAUSE_MS = 200;
const PARENT_GONE = 2;
/** Longer than it takes to give up a write. */
const END_LIMIT_MS = 2000;

const lines = createInterface({ input: process.stdin });
const endWithParent = () => process.exit(PARENT_GONE);
lines.on("close", endWithParent);
const leaving = new AbortController();
let node: ClusterNode | undefined;
process.on("SIGTERM", () => void leave());

async function leave(): Promise<void> {
  if (leaving.signal.aborted) return;
  leaving.abort();
  await node?.shutdown();
  // Nothing of the node keeps the process alive; what the store was doing when it was given up is tidied up first.
  lines.removeListener("close", endWithParent);
  process.stdin.destroy();
  setTimeout(() => process.exit(0), END_LIMIT_MS).unref();
}

const [first] = (await once(lines, "line")) as [string];
const { store, kind, az, address, advertise, settings } = JSON.parse(first) as MemberConfig;
const cluster = new LittleBigCluster({
  ...settings,
  store: openStore(store),
  // Synchronously: what it said last must be there when it is killed.
  log: (event) => appendFileSync(2, `${JSON.stringify({ atMs: Date.now(), ...event })}\n`),
});

/** The store may be away just now; with everything else that is wrong the process ends, and the harness says so. */
async function joinPatiently(): Promise<ClusterNode> {
  const options = { az, address, advertise, app: memberApp(), leaderApp: memberLeaderApp(), signal: leaving.signal };
  for (;;) {
    try {
      return await (kind === "leader" ? cluster.joinAsLeader(options) : cluster.joinAsFollower(options));
    } catch (error) {
      if (leaving.signal.aborted) process.exit(0);
      if (!isClusterError(error) || error.kind !== "unavailable") throw error;
      await new Promise((resolve) => setTimeout(resolve, JOIN_PAUSE_MS));
    }
  }
}

node = await joinPatiently();
process.stdout.write(`${JSON.stringify({ ready: node.uuid })}\n`);
