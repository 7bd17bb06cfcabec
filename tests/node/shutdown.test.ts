/** The end of a node: bounded, complete, safe twice. */
import { execFile } from "node:child_process";
import { createServer, type Server } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished } from "vitest";
import { LittleBigCluster } from "../../src/mod.ts";
import { FaultyStore } from "../../src/testing/mod.ts";
import { failureOf } from "../store/failure.ts";
import { createTable, FAST, insert, isWalPut, join, lead, namesIn, newStore, QUIET } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { settle, until, within } from "../support/wait.ts";

const run = promisify(execFile);
const quiet = { settings: QUIET };
const hang = { kind: "delay", delayMs: 3_600_000 } as const;

describe("shutdown", () => {
  it("is safe twice, and closes what the node offers", async () => {
    const { node } = await lead(await newStore(), quiet);
    await createTable(node);
    await Promise.all([node.shutdown(), node.shutdown(), node[Symbol.asyncDispose]()]);
    await node.shutdown();
    expect((await failureOf(() => node.transaction(() => {}))).kind).toBe("closed");
    expect((await failureOf(() => namesIn(node))).kind).toBe("closed");
    expect((await failureOf(() => node.waitForLeadership())).kind).toBe("closed");
    expect((await failureOf(() => node.stepDown())).kind).toBe("closed");
    expect((await failureOf(() => node.leaderClient.fetch("/"))).kind).toBe("closed");
    expect(node.status().cluster_id).toBe("test");
    await expect(fetch(`http://${node.address}/.lbc/status`)).rejects.toThrow();
  });

  it("of a leader writes what is pending and hands over", async () => {
    const store = await newStore();
    const { node } = await lead(store, quiet);
    await createTable(node);
    const standby = await join("leader", store, quiet);
    const acks = ["a", "b", "c"].map((name) => insert(node, name));
    await node.shutdown();
    await Promise.all(acks);
    await standby.node.waitForLeadership({ timeoutMs: 10_000 });
    expect(namesIn(standby.node)).toEqual(["a", "b", "c"]);
  });

  it("while the store hangs takes no longer than allowed, and every ack says what is known", async () => {
    const store = await newStore();
    const { node, faults } = await lead(store, { settings: { ...QUIET, shutdownTimeoutMs: 150 } });
    await createTable(node);
    faults.onCall = () => hang;
    const sealed = failureOf(insert(node, "sealed"));
    await settle();
    const open = failureOf(insert(node, "open"));
    await within("the shutdown", node.shutdown(), 3000);
    expect((await within("the sealed ack", sealed, 100)).kind).toBe("outcome_unknown");
    expect((await within("the open ack", open, 100)).kind).toBe("closed");
  });

  it("takes no longer than allowed with a store that ignores its signal", async () => {
    const store = await newStore();
    const settings = { ...QUIET, shutdownTimeoutMs: 150, snapshot: { epochsMax: 1, intervalMinMs: 0 } };
    const { node, faults } = await lead(store, { settings });
    await createTable(node);
    const { put } = faults;
    let hanging = 0;
    faults.put = (key, body, options) => {
      if (!key.endsWith(".db") && hanging === 0) return put.call(faults, key, body, options);
      hanging++;
      return new Promise(() => {});
    };
    let count = 0;
    await until("the snapshot that hangs", () => {
      void insert(node, `${count++}`);
      return hanging > 0;
    });
    await within("the shutdown", node.shutdown(), 3000);
  });

  it("takes no longer than allowed when the leader does not answer the goodbye", async () => {
    const store = await newStore();
    // A leader that accepts connections and says nothing.
    const sockets = new Set<{ destroy(): void }>();
    const silent: Server = createServer((socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const port = (silent.address() as { port: number }).port;
    await lead(store, { settings: QUIET, join: { advertise: `127.0.0.1:${port}` } });
    const follower = await join("follower", store, { settings: { ...QUIET, shutdownTimeoutMs: 200 } });
    await within("the shutdown", follower.node.shutdown(), 2000);
  });

  it("during a join is the join's signal: it ends at once and leaves the address free", async () => {
    const store = await newStore();
    for (const hangs of ["get", "list"]) {
      const faults = new FaultyStore(store, { onCall: ({ operation }) => (operation === hangs ? hang : undefined) });
      const cluster = new LittleBigCluster({ id: "test", store: faults, ...FAST });
      const probe = createServer();
      await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
      const { port } = probe.address() as { port: number };
      await new Promise((resolve) => probe.close(resolve));
      const abort = new AbortController();
      const reason = new Error("changed my mind");
      const joining = cluster.joinAsLeader({ address: `127.0.0.1:${port}`, signal: abort.signal });
      joining.catch(() => {});
      await settle(50);
      abort.abort(reason);
      await expect(within("the join", joining, 3000)).rejects.toBe(reason);
      await join("follower", store, { settings: QUIET, join: { address: `127.0.0.1:${port}` } });
    }
  });

  it("during a claim and during a re-read ends them", async () => {
    const store = await newStore();
    const claiming = await join("leader", store, {
      settings: { ...QUIET, shutdownTimeoutMs: 150 },
      onCall: (call) => (isWalPut(call) ? hang : undefined),
    });
    await settle(50);
    await within("the shutdown", claiming.node.shutdown(), 3000);
    expect(claiming.node.role.current).toBe("standby");
  });

  it.each(["joins-and-leaves.ts", "leaves-unheard.ts"])(
    "leaves nothing that keeps the process alive: %s",
    async (name) => {
      const script = fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
      const args = ["--import", "tsx", script, testDirectory()];
      const { stdout } = await run(process.execPath, args, { timeout: 15_000 });
      expect(stdout).toBe("[]\n");
    },
  );
});
