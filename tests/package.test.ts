import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { VERSION } from "../src/version.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, string>>;
}

const read = (name: string) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8")) as Manifest;
const npm = read("package.json");
const deno = read("deno.json");

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
    expect(ofNpm).toEqual(ofDeno);
  });

  it("dependencies and their versions", () => {
    const all = { ...npm.devDependencies, ...npm.dependencies };
    for (const name of Object.keys(npm.dependencies)) expect(Object.keys(deno.imports)).toContain(name);
    for (const [name, specifier] of Object.entries(deno.imports)) expect(specifier).toBe(`npm:${name}@${all[name]}`);
  });
});
