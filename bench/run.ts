/**
 * `npm run bench -- SUITE`: prints a table, and writes the figures as JSON below `bench/results/`. `SUITE PART…`
 * measures a part, where the suite has parts, and writes nothing.
 */
import { mkdir, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { cluster } from "./cluster.ts";
import { core } from "./core.ts";
import { history } from "./history.ts";
import { type Figure, table } from "./report.ts";

const SUITES: Readonly<Record<string, (parts: readonly string[]) => Promise<Figure[]>>> = { core, cluster, history };

const [name = "", ...parts] = process.argv.slice(2);
const suite = SUITES[name];
if (suite === undefined) {
  process.stderr.write(`usage: npm run bench -- ${Object.keys(SUITES).join(" | ")}\n`);
  process.exit(1);
}
const figures = await suite(parts);
const directory = fileURLToPath(new URL("results", import.meta.url));
const json = JSON.stringify(
  { suite: name, at: new Date().toISOString(), runtime: process.version, figures },
  undefined,
  2,
);
if (parts.length === 0) {
  await mkdir(directory, { recursive: true });
  await writeFile(`${directory}/${name}.json`, `${json}\n`);
}
process.stdout.write(`${table(figures)}\n${json}\n`);
