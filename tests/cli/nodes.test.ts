import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { join as joinPath } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import type { Member, NodeStatus } from "../../src/mod.ts";
import { FileSystemStore } from "../../src/mod.ts";
import { makeAuthority } from "../support/certificates.ts";
import { createTable, FAST, insert, join, lead, newStore, UNREACHABLE } from "../support/cluster.ts";
import { testDirectory } from "../support/directory.ts";
import { lbcHere, lbcJson } from "../support/lbc.ts";
import { sqliteCliVersion } from "../support/sqlite-cli.ts";
import { until } from "../support/wait.ts";

/** A cluster in a directory, named `test`. */
async function newCluster(): Promise<{ readonly store: string; readonly files: FileSystemStore }> {
  const store = testDirectory();
  const files = new FileSystemStore(store);
  await newStore(files);
  return { store, files };
}

it("status shows who leads and how far the cluster is, from the bucket alone", async () => {
  const { store, files } = await newCluster();
  const { node } = await lead(files);
  await createTable(node);
  const { epoch } = await insert(node, "one");
  const status = await lbcJson<Record<string, unknown>>(["status"], { store });
  expect(status).toMatchObject({ id: "test", earliestEpoch: 0, leader: { uuid: node.uuid, address: node.address } });
  expect(status["newestEpoch"]).toBeGreaterThanOrEqual(epoch);
  expect(status["databaseBytes"]).toBe(node.status().db.size);
  const { stdout, stderr } = await lbcHere(["status", "--no-sizes"], { store });
  expect(stderr).toBe("");
  expect(stdout).toContain(`leader          ${node.address} in AZ0 (${node.uuid})`);
  expect(stdout).not.toContain("stored");
});

it("status reads the one WAL, not the database", async () => {
  const { store, files } = await newCluster();
  const { node } = await lead(files, { settings: { ...FAST, snapshot: { epochsMax: 1_000_000 } } });
  await createTable(node);
  for (let index = 0; index < 3; index++) await insert(node, `item ${index}`, new Uint8Array(1_000_000));
  await node.shutdown();
  // The epochs with the rows are unreadable: whoever read them would say so.
  for (const epoch of [2, 3, 4]) writeFileSync(`${store}/.lbc/${String(epoch).padStart(20, "0")}.wal`, "damaged");
  expect(await lbcJson(["status"], { store })).toMatchObject({ id: "test", leader: null });
  expect((await lbcHere(["sql", "SELECT 1"], { store })).code).toBe(1);
});

it.skipIf(sqliteCliVersion === undefined)("a user's copy of the system table does not stand for it", async () => {
  const store = testDirectory();
  const file = joinPath(testDirectory(), "copy.db");
  execFileSync("sqlite3", [
    file,
    "CREATE TABLE copy(key, value); INSERT INTO copy VALUES ('cluster_id', 'impostor'), ('last_update', '2099-01-01T00:00:00Z')",
  ]);
  expect((await lbcHere(["import", file, "--id", "real"], { store })).code).toBe(0);
  expect(await lbcJson(["status"], { store })).toMatchObject({ id: "real", newestEpoch: 0 });
});

it("members are those of the leader's roster, asked with the secret from the bucket", async () => {
  const { store, files } = await newCluster();
  const leader = await lead(files);
  const follower = await join("follower", files, { join: { az: "AZ1", roles: { worker: null } } });
  await until("both are members", () => leader.node.members.current.length === 2);
  const members = await lbcJson<Member[]>(["members"], { store });
  expect(members.map(({ uuid, role, az, roles }) => ({ uuid, role, az, roles }))).toEqual([
    { uuid: leader.node.uuid, role: "leader", az: "AZ0", roles: [] },
    { uuid: follower.node.uuid, role: "follower", az: "AZ1", roles: ["worker"] },
  ]);
  // It asked without joining.
  expect(leader.node.members.current).toHaveLength(2);
  const { stdout } = await lbcHere(["members", "--csv"], { store });
  expect(stdout.split("\n")[0]).toBe("role,address,az,serves,epoch,lag ms,runtime,version,started,uuid");
  expect(stdout).toContain(`follower,${follower.node.address},AZ1,worker,`);
});

it("members says what is wrong where nobody leads, or the leader is not reached, or has another secret", async () => {
  const { store, files } = await newCluster();
  expect(await lbcHere(["members"], { store })).toMatchObject({ code: 5, stdout: "" });
  await lead(files, { join: UNREACHABLE });
  const unreached = await lbcHere(["members"], { store });
  expect(unreached.code).toBe(5);
  expect(unreached.stderr).toContain("127.0.0.1:1 and has no answer");
});

it("status --node shows a node as it shows itself", async () => {
  const { store, files } = await newCluster();
  const { node } = await lead(files);
  const address = node.address;
  const status = await lbcJson<NodeStatus>(["status", "--node", address]);
  expect(status).toMatchObject({ cluster_id: "test", is_leader: true, this: { uuid: node.uuid } });
  expect(await lbcJson<NodeStatus>(["status", "--node", `http://${address}`], { store })).toMatchObject({
    role: "leader",
  });
  const { stdout } = await lbcHere(["status", "--node", address]);
  expect(stdout).toContain(`node           ${address} in AZ0 (${node.uuid})`);
  const nobody = await lbcHere(["status", "--node", "127.0.0.1:1"]);
  expect(nobody.code).toBe(5);
  expect(nobody.stderr).toContain("is the address right");
});

it("a node that keeps its status for members shows it to who knows the store", async () => {
  const { store, files } = await newCluster();
  const { node } = await lead(files, { settings: { ...FAST, openEndpoints: [] } });
  await until("it is a member", () => node.members.current.length === 1);
  const stranger = await lbcHere(["status", "--node", node.address]);
  expect(stranger.code).toBe(1);
  expect(stranger.stderr).toContain("give --store as well");
  expect(await lbcJson<NodeStatus>(["status", "--node", node.address], { store })).toMatchObject({ role: "leader" });
});

it("nodes that speak TLS are asked over TLS, with a certificate where they want one", async () => {
  const { store, files } = await newCluster();
  const directory = testDirectory();
  const authority = makeAuthority(directory, "authority");
  const tls = { ...authority.issue("node"), ca: authority.cert, mutual: true };
  const { node } = await lead(files, { join: { tls } });
  await until("it is a member", () => node.members.current.length === 1);
  authority.issue("client");
  const file = (name: string) => joinPath(directory, name);
  expect(readFileSync(file("client.key"), "utf8")).toContain("PRIVATE KEY");
  const certificates = ["--ca", file("authority.pem"), "--cert", file("client.pem"), "--key", file("client.key")];
  const [member] = await lbcJson<Member[]>(["members", ...certificates], { store });
  expect(member?.uuid).toBe(node.uuid);
  expect(await lbcJson<NodeStatus>(["status", "--node", node.address, ...certificates])).toMatchObject({
    role: "leader",
  });
  const without = await lbcHere(["members"], { store });
  expect(without.code).toBe(5);
  expect(without.stderr).toContain("does it speak TLS");
});

it("what a node answers cannot drive the terminal", async () => {
  const { node } = await lead((await newCluster()).files, { join: { az: "AZ\u001b[31m" } });
  const { stdout } = await lbcHere(["status", "--node", node.address]);
  expect(stdout).toContain("AZ\\x1b[31m");
  expect(stdout).not.toContain("\u001b");
});

it.each(["{}", "[]", "<html>", '{"this":null}'])("what answers %s is no node", async (answer) => {
  const server = createServer((_request, response) => {
    response.end(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const { port } = server.address() as AddressInfo;
  const { code, stderr } = await lbcHere(["status", "--node", `127.0.0.1:${port}`]);
  expect(code).toBe(1);
  expect(stderr).toContain("is it a node of");
});
