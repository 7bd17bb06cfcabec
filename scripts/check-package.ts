/**
 * The package as users get it: packs it, serves it from a registry of its own
 * on loopback, installs it into an empty project with npm, Deno and Bun, type
 * checks a small program there and runs it; and the command.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const BIN = join(ROOT, "node_modules", ".bin");
const EXPECTED = "1 row in epoch 2: lol";

type Environment = Readonly<Record<string, string>>;

const PROGRAM = `import { LittleBigCluster, MemoryStore } from "littlebigcluster";
import { storeConformance } from "littlebigcluster/testing";
const cluster = new LittleBigCluster({ id: "jobs", store: new MemoryStore() });
await cluster.init();
const node = await cluster.joinAsLeader({ address: "127.0.0.1:0" });
await node.waitForLeadership();
const ack = node.transaction((tx) => {
  tx.exec("CREATE TABLE jobs(name TEXT)");
  return tx.run("INSERT INTO jobs VALUES (?)", ["lol"]).changes;
});
const { epoch }: { readonly epoch: number } = await ack.durable;
const names: string[] = node.db.query<{ name: string }>("SELECT name FROM jobs").map((row) => row.name);
if (storeConformance.length === 0) throw new Error("no conformance suite");
console.log(\`\${ack.value} row in epoch \${epoch}: \${names.join()}\`);
await node.shutdown();
`;

/** What `tsc --init` writes, with the library's own declarations checked as well where `@types/node` is there. */
function tsconfig(hasNodeTypes: boolean): object {
  const types = hasNodeTypes ? ["node"] : [];
  const compilerOptions = { module: "nodenext", target: "esnext", strict: true, types, skipLibCheck: !hasNodeTypes };
  return { compilerOptions: { ...compilerOptions, noEmit: true }, files: ["main.ts"] };
}

const work = mkdtempSync(join(tmpdir(), "lbc-package-"));
try {
  const tarball = pack();
  const registry = await serve(tarball);
  const projects: readonly [string, () => void][] = [
    ["npm", () => checkNpm(project("npm"), registry.url)],
    ["deno", () => checkDeno(project("deno"), registry.url)],
    ["bun", () => checkBun(project("bun"), registry.url)],
  ];
  for (const [name, check] of projects) {
    check();
    process.stdout.write(`package: installed, type-checked and run with ${name}\n`);
  }
  await registry.close();
} finally {
  rmSync(work, { recursive: true, force: true });
}

function pack(): string {
  const output = run("npm", ["pack", "--json", "--pack-destination", work], ROOT);
  const [{ filename }] = JSON.parse(output.slice(output.indexOf("["))) as [{ filename: string }];
  return join(work, filename);
}

/** The registry is a thread of its own: what installs from it is waited for. */
async function serve(tarball: string): Promise<{ url: string; close(): Promise<unknown> }> {
  const upstream = run("npm", ["config", "get", "registry"], ROOT).trim();
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { name: string; version: string };
  const bytes = readFileSync(tarball);
  const integrity = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  const shasum = createHash("sha1").update(bytes).digest("hex");
  const workerData = { upstream, manifest, bytes, integrity, shasum };
  const worker = new Worker(`(${registryThread.toString()})()`, { eval: true, workerData });
  worker.unref();
  const port = await new Promise<number>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  return { url: `http://127.0.0.1:${port}/`, close: () => worker.terminate() };
}

/** Serves our package, and sends whoever asks for another one to the registry that npm is set to. */
function registryThread(): void {
  const http = require("node:http") as { createServer: typeof createServer };
  const { parentPort, workerData } = require("node:worker_threads") as typeof import("node:worker_threads");
  const { upstream, manifest, bytes, integrity, shasum } = workerData as {
    upstream: string;
    manifest: { name: string; version: string };
    bytes: Uint8Array;
    integrity: string;
    shasum: string;
  };
  const server = http.createServer((request, response) => {
    const { port } = server.address() as AddressInfo;
    const path = request.url ?? "/";
    if (path === `/${manifest.name}`) {
      const tarball = `http://127.0.0.1:${port}/${manifest.name}.tgz`;
      const version = { ...manifest, dist: { tarball, integrity, shasum } };
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({
          name: manifest.name,
          "dist-tags": { latest: manifest.version },
          versions: { [manifest.version]: version },
        }),
      );
    } else if (path === `/${manifest.name}.tgz`) {
      response.end(bytes);
    } else {
      response.writeHead(302, { location: new URL(path.slice(1), upstream).href }).end();
    }
  });
  server.listen(0, "127.0.0.1", () => parentPort?.postMessage((server.address() as AddressInfo).port));
}

function project(name: string): string {
  const directory = join(work, name);
  mkdirSync(directory);
  writeFileSync(join(directory, "main.ts"), PROGRAM);
  writeFileSync(join(directory, "package.json"), JSON.stringify({ private: true, type: "module" }));
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(tsconfig(name === "npm")));
  return directory;
}

function checkNpm(directory: string, registry: string): void {
  run("npm", ["install", "--registry", registry, "littlebigcluster"], directory);
  run("npm", ["install", "--registry", registry, "--save-dev", "@types/node@22"], directory);
  run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "."], directory);
  expectOutput(run(process.execPath, ["--import", import.meta.resolve("tsx"), "main.ts"], directory));
  checkCommand(directory, [join(directory, "node_modules", ".bin", "lbc")], {});
}

function checkDeno(directory: string, registry: string): void {
  const environment = { NPM_CONFIG_REGISTRY: registry, DENO_DIR: join(directory, ".deno") };
  const deno = join(BIN, "deno");
  run(deno, ["add", "npm:littlebigcluster"], directory, environment);
  run(deno, ["check", "main.ts"], directory, environment);
  expectOutput(run(deno, ["run", "-A", "main.ts"], directory, environment));
  checkCommand(directory, [deno, "run", "-A", "npm:littlebigcluster/lbc"], environment);
}

function checkBun(directory: string, registry: string): void {
  const environment = {
    NPM_CONFIG_REGISTRY: registry,
    BUN_CONFIG_REGISTRY: registry,
    BUN_INSTALL_CACHE_DIR: join(directory, ".cache"),
  };
  const bun = join(BIN, "bun");
  run(bun, ["add", "littlebigcluster"], directory, environment);
  run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "."], directory);
  expectOutput(run(bun, ["main.ts"], directory, environment));
  checkCommand(directory, [bun, "x", "--bun", "lbc"], environment);
}

/** `lbc` as it is installed: makes a cluster in a directory and shows it. */
function checkCommand(directory: string, command: readonly [string, ...string[]], environment: Environment): void {
  const [program, ...first] = command;
  const store = join(directory, "store");
  const lbc = (...args: string[]) => run(program, [...first, ...args], directory, { ...environment, LBC_STORE: store });
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };
  if (lbc("--version").trim() !== version) throw new Error(`lbc --version did not print ${version}`);
  lbc("init", "--id", "packed");
  const { id, newestEpoch } = JSON.parse(lbc("status", "--json")) as Record<string, unknown>;
  if (id !== "packed" || newestEpoch !== 0) throw new Error(`lbc status showed cluster ${id} at epoch ${newestEpoch}`);
}

function expectOutput(output: string): void {
  if (!output.includes(EXPECTED)) throw new Error(`expected "${EXPECTED}", the program printed:\n${output}`);
}

function run(command: string, args: readonly string[], cwd: string, environment: Environment = {}): string {
  const result = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, ...environment },
    timeout: 300_000,
  });
  if (result.status === 0) return result.stdout;
  throw new Error(
    `${command} ${args.join(" ")} failed (${result.status ?? result.signal}):\n${result.stdout}${result.stderr}`,
  );
}
