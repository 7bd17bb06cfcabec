import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { VERSION } from "../src/version.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, string>>;
}

const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8")) as Manifest;
const npm = read("package.json");
const deno = read("deno.json");

const OF_THE_COMMAND = ["@clack/prompts", "cli-progress", "cli-table3", "commander", "csv-stringify", "picocolors"];

describe("package.json and deno.json say the same", () => {
  it("version, which is also that of the code", () => {
    expect(npm.version).toBe(VERSION);
    expect(deno.version).toBe(VERSION);
  });

  it("exports", () => {
    const built = (path: string) => path.replace("./src/", "./dist/").replace(/\.ts$/, ".js");
    const ofNpm = Object.entries(npm.exports).flatMap(([name, target]) =>
      typeof target === "string" ? [] : [[name, target.default]],
    );
    const ofDeno = Object.entries(deno.exports).map(([name, target]) => [name, built(String(target))]);
    // A program is run by its name in one registry, by its export in the other.
    expect([...ofNpm, ["./cli", npm.bin["lbc"]]]).toEqual(ofDeno);
  });

  it("the library without the libraries of the command", () => {
    const imported = (file: string): string => readFileSync(new URL(`../src/${file}`, import.meta.url), "utf8");
    const seen = new Set<string>();
    const packages = new Set<string>();
    const visit = (file: string): void => {
      if (seen.has(file)) return;
      seen.add(file);
      for (const [, target = ""] of imported(file).matchAll(/from "([^"]+)"/g)) {
        if (target.startsWith(".")) visit(new URL(target, `file:///${file}`).pathname.slice(1));
        else if (!target.startsWith("node:")) packages.add(target.replace(/^(@[^/]+\/[^/]+|[^/]+).*$/, "$1"));
      }
    };
    for (const entry of ["mod.ts", "testing/mod.ts"]) visit(entry);
    expect(seen.size).toBeGreaterThan(100);
    expect([...seen].filter((file) => file.startsWith("cli/"))).toEqual([]);
    for (const name of OF_THE_COMMAND) {
      expect(Object.keys(npm.dependencies)).toContain(name);
      expect(packages).not.toContain(name);
    }
  });

  it("dependencies and their versions", () => {
    const all = { ...npm.devDependencies, ...npm.dependencies };
    for (const name of Object.keys(npm.dependencies)) expect(Object.keys(deno.imports)).toContain(name);
    for (const [name, specifier] of Object.entries(deno.imports)) expect(specifier).toBe(`npm:${name}@${all[name]}`);
  });
});
