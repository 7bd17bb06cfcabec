/** What a member serves: the workload, and what it knows of itself. */
import { type Context, Hono } from "hono";
import { type ClusterNode, isClusterError, type NodeEnv, notLeading, type SyncLevel } from "../../src/mod.ts";
import { AbortedWrite, readWorkload, runWork } from "../../src/testing/workloads/workload.ts";
import {
  PATHS,
  type ReadAnswer,
  type ReadRequest,
  type StateAnswer,
  type WriteAnswer,
  type WriteRequest,
} from "./member-protocol.ts";
import { epochShown, pagesDigest } from "./pages-digest.ts";

const FORWARD_MAX_MS = 2500;
const SYNC_MAX_MS = 2500;
const STEP_DOWN_MAX_MS = 3000;
/** Errors that say that nothing was written; with every other one that is not known. */
const NOT_WRITTEN: ReadonlySet<string> = new Set([
  "not_leader",
  "unavailable",
  "overloaded",
  "fenced",
  "invalid",
  "closed",
]);
/** The id is in the log of this leader: the first execution may be durable by now or not. */
const EXECUTED_TWICE = "SQLITE_CONSTRAINT_UNIQUE";

export function memberApp(): Hono<NodeEnv> {
  const app = new Hono<NodeEnv>();
  app.post(PATHS.write, async (c) => {
    const request: WriteRequest = await c.req.json();
    return c.json(await (request.via === "local" ? writeHere : writeAtLeader)(c.var.node, request));
  });
  app.post(PATHS.read, async (c) => c.json(await read(c.var.node, await c.req.json())));
  app.get(PATHS.state, (c) => c.json(stateOf(c.var.node, c.req.query("digest") !== undefined)));
  app.post(PATHS.stepDown, async (c) => {
    await c.var.node.stepDown({ timeoutMs: STEP_DOWN_MAX_MS });
    return c.json({});
  });
  return app;
}

export function memberLeaderApp(): Hono<NodeEnv> {
  return new Hono<NodeEnv>().post(PATHS.apply, async (c: Context<NodeEnv>) => {
    const answer = await writeHere(c.var.node, await c.req.json());
    // Whoever was told that it is not written may have it written by the next leader; if that was not true, the id shows it.
    return answer.code === "not_leader" || answer.code === "fenced" ? notLeading(c) : c.json(answer);
  });
}

async function writeHere(node: ClusterNode, { id, work }: WriteRequest): Promise<WriteAnswer> {
  try {
    const { value: swapped, durable } = node.transaction((tx) => runWork(tx, id, work));
    const { epoch } = await durable;
    return { outcome: "ok", epoch, by: node.uuid, ...(swapped === undefined ? {} : { swapped }) };
  } catch (error) {
    return failure(node, error);
  }
}

async function writeAtLeader(node: ClusterNode, request: WriteRequest): Promise<WriteAnswer> {
  try {
    // A POST, so it is sent again only where it certainly had no effect.
    const init = { method: "POST", body: JSON.stringify(request), timeoutMs: FORWARD_MAX_MS };
    const response = await node.leaderClient.fetch(PATHS.apply, init);
    if (response.ok) return (await response.json()) as WriteAnswer;
    const message = `${response.status} ${await response.text()}`;
    return { outcome: "unknown", by: node.uuid, code: "not_answered", message };
  } catch (error) {
    return failure(node, error);
  }
}

function failure(node: ClusterNode, error: unknown): WriteAnswer {
  const by = node.uuid;
  if (error instanceof AbortedWrite) return { outcome: "not_written", by, code: "aborted" };
  if (!isClusterError(error)) return { outcome: "unknown", by, code: "error", message: String(error) };
  const { kind, code, message } = error;
  const isCertain = NOT_WRITTEN.has(kind) && code !== EXECUTED_TWICE;
  return { outcome: isCertain ? "not_written" : "unknown", by, code, message };
}

async function read(node: ClusterNode, request: ReadRequest): Promise<ReadAnswer> {
  const by = node.uuid;
  try {
    const level = levelOf(request);
    if (level !== undefined) await node.sync(level, { timeoutMs: SYNC_MAX_MS });
    return node.db.snapshot((reads) => ({
      outcome: "ok" as const,
      by,
      epoch: epochShown(reads),
      announcedEpoch: node.epoch.current,
      reading: readWorkload(reads, request),
    }));
  } catch (error) {
    if (!isClusterError(error)) throw error;
    return { outcome: "not_written", by, code: error.code };
  }
}

function levelOf({ level, atLeast = 0, maxStalenessMs = 0 }: ReadRequest): SyncLevel | undefined {
  switch (level) {
    case "any":
      return undefined;
    case "atLeast":
      return { atLeast };
    case "maxStaleness":
      return { maxStalenessMs };
    case "linearizable":
      return "linearizable";
  }
}

function stateOf(node: ClusterNode, withDigest: boolean): StateAnswer {
  const { uuid } = node;
  return node.db.snapshot((reads) => ({
    uuid,
    epoch: epochShown(reads),
    isLeader: node.role.current === "leader",
    leader: node.leader.current?.uuid,
    isStreaming: node.status().replica.is_streaming,
    memberCount: node.members.current.length,
    ...(withDigest ? { digest: pagesDigest(reads) } : {}),
  }));
}
