/** `npm run bench -- SUITE`: prints a table, and writes the figures as JSON below `bench/results/`. */
import { mkdir, writeFile } from "node:fs/promises";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { core } from "./core.ts";
import { type Figure, table } from "./report.ts";

const SUITES: Readonly<Record<string, () => Promise<Figure[]>>> = { core };

const name = process.argv[2] ?? "";
const suite = SUITES[name];
if (suite === undefined) {
  process.stderr.write(`usage: npm run bench -- ${Object.keys(SUITES).join(" | ")}\n`);
  process.exit(1);
}
const figures = await suite();
const directory = fileURLToPath(new URL("results", import.meta.url));
const json = JSON.stringify(
  { suite: name, at: new Date().toISOString(), runtime: process.version, figures },
  undefined,
  2,
);
await mkdir(directory, { recursive: true });
await writeFile(`${directory}/${name}.json`, `${json}\n`);
process.stdout.write(`${table(figures)}\n${json}\n`);
