/** What clients of a simulation write, on the node that leads or through another one. */
import { Hono } from "hono";
import { ClusterError } from "../../errors.ts";
import type { NodeEnv, UserApp } from "../../node/apps.ts";
import type { ClusterNode } from "../../node/node.ts";
import { CHECK_LOG_TABLE } from "../workloads/check-log.ts";
import { AbortedWrite, createWorkload, runWork, type Work } from "../workloads/workload.ts";

const LARGE_BYTES = 300_000;
const WRITE_PATH = "/write";
const ABORTED_STATUS = 422;

/** What clients write, and what only makes epochs of another size. */
export type ClientWork = Work | { readonly kind: "large" } | { readonly kind: "schema"; readonly table: string };

/** A write that was acknowledged. */
export interface Written {
  readonly epoch: number;
  /** Of a swap: whether it was done. */
  readonly swapped: boolean | undefined;
  /** Uuid of the node that wrote it. */
  readonly node: string;
}

/** What of it the workload's tables show. */
export function loggedWork(work: ClientWork): Work {
  return work.kind === "large" || work.kind === "schema" ? { kind: "log" } : work;
}

/** What the members serve: writes that another one forwards. */
export function clientApp(): UserApp {
  const app = new Hono<NodeEnv>();
  app.post(WRITE_PATH, async (c) => {
    const { id, work } = await c.req.json<{ id: string; work: ClientWork }>();
    try {
      return c.json(await write(c.var.node, id, work));
    } catch (error) {
      if (error instanceof AbortedWrite) return c.body(null, ABORTED_STATUS);
      throw error;
    }
  });
  return app;
}

/**
 * Writes there if it leads, else where that node's client leads to.
 *
 * @throws AbortedWrite if the work is to be rolled back
 * @throws ClusterError as the node, or as the one that leads
 */
export async function send(node: ClusterNode, id: string, work: ClientWork, timeoutMs: number): Promise<Written> {
  if (node.role.current === "leader") return await write(node, id, work);
  const body = JSON.stringify({ id, work });
  const response = await node.leaderClient.fetch(WRITE_PATH, { method: "POST", body, timeoutMs });
  if (response.status === ABORTED_STATUS) throw new AbortedWrite("rolled back by the leader");
  const answer = (await response.json()) as Written & Partial<ReturnType<ClusterError["toJSON"]>>;
  if (response.ok) return answer;
  // A node that is not the leader answers without a kind, and so does one whose handler failed.
  const kind = answer.kind ?? (response.status === 503 ? "not_leader" : "outcome_unknown");
  throw new ClusterError(kind, answer.code ?? "answered", `${response.status}: ${JSON.stringify(answer)}`);
}

async function write(node: ClusterNode, id: string, work: ClientWork): Promise<Written> {
  const ack = node.transaction((tx) => {
    if (tx.get("SELECT 1 FROM sqlite_schema WHERE name = ?", [CHECK_LOG_TABLE]) === undefined) createWorkload(tx);
    if (work.kind === "schema") {
      tx.exec(`CREATE TABLE IF NOT EXISTS ${work.table} (key TEXT PRIMARY KEY, value) WITHOUT ROWID`);
      tx.run(`INSERT INTO ${work.table} VALUES (?, 1)`, [id]);
    } else if (work.kind === "large") {
      tx.exec("CREATE TABLE IF NOT EXISTS large (id TEXT, body BLOB); DELETE FROM large");
      tx.run("INSERT INTO large VALUES (?, zeroblob(?))", [id, LARGE_BYTES]);
    }
    return runWork(tx, id, loggedWork(work));
  });
  const { epoch } = await ack.durable;
  return { epoch, swapped: ack.value, node: node.uuid };
}
