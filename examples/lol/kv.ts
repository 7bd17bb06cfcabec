/** A key-value store with an HTTP interface, on a table of the replicated database. */
import { type Context, Hono } from "hono";
import {
  ClusterError,
  type DurableEpoch,
  isClusterError,
  type NodeEnv,
  notLeading,
  type Reads,
  type Transaction,
} from "../../src/mod.ts";

const CREATE_TABLE = "CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value TEXT)";
const UPSERT = "INSERT INTO kv(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
/** Set on a request that a node passes on, so that it is passed on once. */
const FORWARDED_HEADER = "x-lol-forwarded";

/** Served by every node: reads locally, writes through the leader. */
export function kvApp(): Hono<NodeEnv> {
  const app = new Hono<NodeEnv>();

  app.put("/kv/:key", async (c) => {
    const value = await c.req.text();
    return write(c, value, (tx) => {
      tx.run(UPSERT, [c.req.param("key"), value]);
      return {};
    });
  });

  app.delete("/kv/:key", (c) =>
    write(c, undefined, (tx) => ({ deleted: tx.run("DELETE FROM kv WHERE key = ?", [c.req.param("key")]).changes })),
  );

  app.post("/append/:key", async (c) => {
    const element = await c.req.text();
    return write(c, element, (tx) => {
      const key = c.req.param("key");
      const elements = [...parseList(readValue(tx, key)), element];
      tx.run(UPSERT, [key, JSON.stringify(elements)]);
      return { length: elements.length };
    });
  });

  app.get("/kv/:key", async (c) => {
    const { node } = c.var;
    const atLeast = c.req.query("atLeast");
    if (atLeast !== undefined && !/^\d{1,15}$/.test(atLeast))
      return c.json({ error: `atLeast is not an epoch: ${atLeast}` }, 400);
    const at = c.req.query("at");
    if (at !== undefined) return await readAt(c, at, c.req.param("key"));
    const level = c.req.query("level");
    if (level !== undefined && level !== "linearizable")
      return c.json({ error: `unknown level ${level}: only linearizable` }, 400);
    if (atLeast !== undefined) await node.sync({ atLeast: Number(atLeast) }, { signal: c.req.raw.signal });
    if (level === "linearizable") await node.sync("linearizable", { signal: c.req.raw.signal });
    return answer(c, node.db, node.epoch.current, c.req.param("key"));
  });

  return app;
}

/** Served while the node leads. */
export function helloApp(): Hono<NodeEnv> {
  return new Hono<NodeEnv>().get("/hello", (c) => c.text("Hello from the leader!"));
}

/** Runs the write here if this node leads, else on the node that does; answers once it is durable. */
async function write(
  c: Context<NodeEnv>,
  body: string | undefined,
  change: (tx: Transaction) => object,
): Promise<Response> {
  const { node } = c.var;
  if (node.role.current !== "leader" && c.req.header(FORWARDED_HEADER) === undefined) {
    const { pathname } = new URL(c.req.url);
    const headers = { [FORWARDED_HEADER]: node.uuid };
    const { method } = c.req;
    const response = await node.leaderClient.fetch(
      pathname,
      body === undefined ? { method, headers } : { method, headers, body },
    );
    return new Response(response.body, { status: response.status, headers: { "content-type": "application/json" } });
  }
  try {
    const ack = node.transaction((tx) => {
      tx.run(CREATE_TABLE);
      return change(tx);
    });
    const { epoch }: DurableEpoch = await ack.durable;
    return c.json({ epoch, ...ack.value });
  } catch (error) {
    // Nothing was written: who passed the request on can do so again, to whoever leads now.
    if (isClusterError(error) && (error.kind === "not_leader" || error.kind === "fenced")) return notLeading(c);
    throw error;
  }
}

/** As of a point in time: an epoch, or `5m ago`. Opens a second database for the one key; a real service would keep it. */
async function readAt(c: Context<NodeEnv>, point: string, key: string): Promise<Response> {
  const past = await c.var.node.db.at(point, { signal: c.req.raw.signal });
  try {
    return answer(c, past, past.epoch, key);
  } finally {
    past.close();
  }
}

function answer(c: Context<NodeEnv>, reads: Reads, epoch: number, key: string): Response {
  const value = hasTable(reads) ? readValue(reads, key) : undefined;
  return value === undefined ? c.json({ error: "no such key", epoch }, 404) : c.json({ value, epoch });
}

function hasTable(reads: Reads): boolean {
  return reads.get("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'kv'") !== undefined;
}

function readValue(reads: Reads, key: string): string | undefined {
  return reads.get<{ value: string }>("SELECT value FROM kv WHERE key = ?", [key])?.value;
}

/** The list that a key holds. */
function parseList(value: string | undefined): unknown[] {
  if (value === undefined) return [];
  const list = tryParse(value);
  if (Array.isArray(list)) return list;
  throw new ClusterError("invalid", "not_a_list", "the key holds a value that is not a list: it cannot be appended to");
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
